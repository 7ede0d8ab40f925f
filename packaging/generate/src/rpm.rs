//! What cargo-generate-rpm is told: the same files, modes, scripts and dependencies that `[package.metadata.deb]` has
//! for cargo-deb, in its own words. So nothing of a package is written twice.

use std::path::Path;

use toml::{Table, Value};

/// Why a manifest cannot be carried over.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RpmError {
    /// It is not TOML.
    #[error("the manifest: {0}")]
    Toml(#[from] toml::de::Error),
    /// A key is missing or of another form.
    #[error("[package.metadata.deb] {0}: missing, or not of the form that is carried over")]
    Form(&'static str),
}

/// The text for `--metadata-overwrite`.
pub fn metadata(manifest: &str, scripts: &Path) -> Result<String, RpmError> {
    let manifest: Table = toml::from_str(manifest)?;
    let package = manifest.get("package").and_then(Value::as_table).ok_or(RpmError::Form("package"))?;
    let deb = package.get("metadata").and_then(|m| m.get("deb")).and_then(Value::as_table);
    let deb = deb.ok_or(RpmError::Form("itself"))?;
    let name = package.get("name").and_then(Value::as_str).ok_or(RpmError::Form("package.name"))?;

    let mut rpm = Table::new();
    let assets = deb.get("assets").and_then(Value::as_array).ok_or(RpmError::Form("assets"))?;
    let assets = assets.iter().filter(|asset| !only_debian(asset)).map(asset).collect::<Option<Vec<_>>>();
    rpm.insert("assets".into(), Value::Array(assets.ok_or(RpmError::Form("assets"))?));
    rpm.insert("requires".into(), Value::Table(requires(deb)?));
    let vendor = deb.get("maintainer").and_then(Value::as_str).and_then(|m| m.split(" <").next());
    rpm.insert("vendor".into(), Value::String(vendor.ok_or(RpmError::Form("maintainer"))?.to_owned()));
    for (script, key) in [
        ("post", "post_install_script"),
        ("preun", "pre_uninstall_script"),
        ("postun", "post_uninstall_script"),
        ("posttrans", "post_trans_script"),
    ] {
        let path = scripts.join(name).join(script);
        if path.is_file() {
            rpm.insert(key.into(), Value::String(path.to_string_lossy().into_owned()));
        }
    }
    Ok(rpm.to_string())
}

/// `["target/release/certrotd", "usr/bin/", "755"]`: below `/etc` it is configuration, which an upgrade leaves alone
/// where it was changed.
fn asset(asset: &Value) -> Option<Value> {
    let [source, dest, mode] = asset.as_array()?.as_slice() else { return None };
    let mut table = Table::new();
    // Where zsh looks on the systems that have rpm.
    let dest = format!("/{}", dest.as_str()?).replace("/zsh/vendor-completions/", "/zsh/site-functions/");
    if dest.starts_with("/etc/") {
        table.insert("config".into(), Value::String("noreplace".into()));
    }
    if dest.starts_with("/usr/share/doc/") || dest.starts_with("/usr/share/man/") {
        table.insert("doc".into(), Value::Boolean(true));
    }
    table.insert("source".into(), source.clone());
    table.insert("dest".into(), Value::String(dest));
    table.insert("mode".into(), mode.clone());
    Some(Value::Table(table))
}

/// Lintian's overrides mean nothing to rpm.
fn only_debian(asset: &Value) -> bool {
    asset.get(1).and_then(Value::as_str).is_some_and(|dest| dest.starts_with("usr/share/lintian/"))
}

/// `systemd (>= 249)` as `systemd = ">= 249"`; `$auto` is rpm's own search for libraries.
fn requires(deb: &Table) -> Result<Table, RpmError> {
    let depends = deb.get("depends").and_then(Value::as_array).ok_or(RpmError::Form("depends"))?;
    let mut requires = Table::new();
    for word in depends.iter().filter_map(Value::as_str).filter(|word| *word != "$auto") {
        let (name, version) = word
            .split_once(" (")
            .map_or((word, "*"), |(name, version)| (name, version.trim_end_matches(')')));
        requires.insert(name.to_owned(), Value::String(version.to_owned()));
    }
    Ok(requires)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_modes_and_dependencies_are_carried_over() {
        let text = metadata(
            r#"
            [package]
            name = "x"
            [package.metadata.deb]
            maintainer = "We <we@example.org>"
            depends = ["$auto", "systemd (>= 249)", "curl"]
            assets = [
                ["target/release/x", "usr/bin/", "755"],
                ["a.toml", "etc/x/", "644"],
                ["_x", "usr/share/zsh/vendor-completions/", "644"],
                ["lintian", "usr/share/lintian/overrides/x", "644"],
            ]
            "#,
            Path::new("/nowhere"),
        )
        .unwrap();
        let rpm: Table = toml::from_str(&text).unwrap();
        let expected: Table = toml::from_str(
            r#"
            vendor = "We"
            requires = { systemd = ">= 249", curl = "*" }
            assets = [
                { source = "target/release/x", dest = "/usr/bin/", mode = "755" },
                { source = "a.toml", dest = "/etc/x/", mode = "644", config = "noreplace" },
                { source = "_x", dest = "/usr/share/zsh/site-functions/", mode = "644" },
            ]
            "#,
        )
        .unwrap();
        assert_eq!(rpm, expected);
    }

    #[test]
    fn a_form_that_is_not_carried_over_is_refused_by_name() {
        let with = |deb: &str| {
            metadata(&format!("[package]\nname = \"x\"\n[package.metadata.deb]\n{deb}"), Path::new("/"))
        };
        assert_eq!(with("assets = [{ source = \"a\" }]\n"), Err(RpmError::Form("assets")));
        assert_eq!(with("assets = []\n"), Err(RpmError::Form("depends")));
    }
}
