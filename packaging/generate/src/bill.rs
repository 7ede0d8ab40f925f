//! The bill of materials: CycloneDX 1.5 in JSON, of what is linked into a package's programs.
//!
//! Not by cargo-cyclonedx, which was not tried: as documented it takes the features of the whole workspace together, so
//! the daemon's bill would name crates that only the AWS tools link, and it lists build tools and macros. `cargo tree`
//! answers for one package. CI checks the result against CycloneDX's own schema.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::man::DATE;
use crate::tree::{About, Crate, Tree};

/// Why there is no bill.
#[derive(Debug, thiserror::Error)]
pub enum BillError {
    /// The lock file is none.
    #[error("Cargo.lock: {0}")]
    Lock(#[from] toml::de::Error),
    /// No member of the workspace is in the tree.
    #[error("the tree has no root of this project")]
    NoRoot,
}

/// The bill; the first of the project's own roots is the component that it is about.
pub fn of(tree: &Tree, lock: &str) -> Result<String, BillError> {
    let sums = checksums(lock)?;
    let linked_by_others: Vec<_> = tree.links.values().flatten().collect();
    let mut roots = tree.about.iter().filter(|(which, about)| about.own && !linked_by_others.contains(which));
    let (root, about_root) = roots.next().ok_or(BillError::NoRoot)?;
    let components: Vec<Value> = tree
        .about
        .iter()
        .filter(|(which, _)| *which != root)
        .map(|(which, about)| component(which, about, "library", &sums))
        .collect();
    let dependencies: Vec<Value> = tree
        .links
        .iter()
        .map(|(which, links)| json!({"ref": purl(which), "dependsOn": links.iter().map(purl).collect::<Vec<_>>()}))
        .collect();
    let bill = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": format!("{}T00:00:00Z", *DATE),
            "component": component(root, about_root, "application", &sums),
        },
        "components": components,
        "dependencies": dependencies,
    });
    // Plain data with text keys always becomes JSON.
    Ok(serde_json::to_string_pretty(&bill).unwrap_or_default() + "\n")
}

fn component(which: &Crate, about: &About, kind: &str, sums: &BTreeMap<Crate, String>) -> Value {
    let mut value = json!({
        "type": kind,
        "bom-ref": purl(which),
        "name": which.name,
        "version": which.version,
        "licenses": [{"expression": about.licence}],
        "purl": purl(which),
    });
    if let Some(sum) = sums.get(which) {
        value["hashes"] = json!([{"alg": "SHA-256", "content": sum}]);
    }
    if let Some(repository) = &about.repository {
        value["externalReferences"] = json!([{"type": "vcs", "url": repository}]);
    }
    value
}

/// The package URL, which names a crate in a bill.
fn purl(which: &Crate) -> String {
    format!("pkg:cargo/{}@{}", which.name, which.version.replace('+', "%2B"))
}

/// The SHA-256 of each crate's archive, as Cargo.lock pins it.
fn checksums(lock: &str) -> Result<BTreeMap<Crate, String>, BillError> {
    let lock: toml::Table = toml::from_str(lock)?;
    let packages = lock.get("package").and_then(toml::Value::as_array).into_iter().flatten();
    Ok(packages
        .filter_map(|package| {
            let text = |key: &str| package.get(key).and_then(toml::Value::as_str).map(str::to_owned);
            Some((Crate { name: text("name")?, version: text("version")? }, text("checksum")?))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_linked_crate_is_in_the_bill_with_licence_hash_and_links() {
        let tree = crate::tree::linked(&["certrotd".to_owned()]).unwrap();
        let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock")).unwrap();
        let bill: Value = serde_json::from_str(&of(&tree, &lock).unwrap()).unwrap();
        assert_eq!(bill["metadata"]["component"]["name"], "certrotd");
        let components = bill["components"].as_array().unwrap();
        assert_eq!(components.len() + 1, tree.links.len());
        for component in components {
            assert!(!component["licenses"][0]["expression"].as_str().unwrap().is_empty(), "{component}");
            assert_eq!(component["hashes"][0]["content"].as_str().map(str::len), Some(64), "{component}");
        }
        let root = bill["metadata"]["component"]["bom-ref"].as_str().unwrap();
        let links = bill["dependencies"].as_array().unwrap();
        let of_root = links.iter().find(|d| d["ref"] == root).unwrap()["dependsOn"].as_array().unwrap();
        assert!(of_root.iter().any(|p| p.as_str().unwrap().starts_with("pkg:cargo/rustls@")), "{of_root:?}");
    }
}
