//! The devices' `config.toml` and root certificate, ready to be copied: the shipped file with this account in it.

use crate::names::Fleet;

/// What the file says that differs from the shipped one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device<'a> {
    /// The fleet.
    pub fleet: &'a Fleet,
    /// The account's endpoint (`iot:Data-ATS`).
    pub endpoint: &'a str,
    /// The port; 8883 unless the operator says otherwise.
    pub port: u16,
}

/// The file's text.
pub fn text(device: &Device<'_>) -> String {
    let mut section = "";
    let mut out = String::new();
    for line in SHIPPED.lines() {
        if line.starts_with('[') {
            section = line;
        }
        let line = match (section, line) {
            ("[aws]", l) if l.starts_with("endpoint = ") => format!("endpoint = \"{}\"", device.endpoint),
            ("[aws]", "# port = 8883") if device.port != 8883 => format!("port = {}", device.port),
            ("[claim]", l) if l.starts_with("# template = ") => set(l, &device.fleet.claim_template()),
            ("[rotation]", l) if l.starts_with("# template = ") => set(l, &device.fleet.rotation_template()),
            (_, other) => other.to_owned(),
        };
        out.push_str(&line);
        out.push('\n');
    }
    out
}

/// A default stays a comment.
fn set(shipped: &str, template: &str) -> String {
    let line = format!("template = \"{template}\"");
    if shipped == format!("# {line}") { shipped.to_owned() } else { line }
}

/// Amazon's root certificate, which signs every `iot:Data-ATS` endpoint.
pub const ROOT_CA: &str = include_str!("../../../certs/AmazonRootCA1.pem");

const SHIPPED: &str = include_str!("../../../etc/config.toml");

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(name: &str, port: u16) -> Vec<String> {
        let fleet = Fleet::parse(name).unwrap();
        let text = text(&Device { fleet: &fleet, endpoint: "abc-ats.iot.eu-west-1.amazonaws.com", port });
        text.lines().filter(|l| !l.starts_with('#') && !l.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn the_shipped_file_gets_the_endpoint_and_keeps_its_defaults() {
        let lines = lines("certrot", 8883);
        assert!(lines.contains(&"endpoint = \"abc-ats.iot.eu-west-1.amazonaws.com\"".to_owned()));
        assert!(!lines.iter().any(|l| l.contains("template") || l.starts_with("port") || l.contains("xxxx")));
    }

    #[test]
    fn another_fleet_has_its_templates_in_it() {
        let lines = lines("lab", 443);
        for line in ["template = \"lab-claim\"", "template = \"lab-rotate\"", "port = 443"] {
            assert!(lines.contains(&line.to_owned()), "{line} in {lines:?}");
        }
    }
}
