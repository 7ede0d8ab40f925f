//! The names that AWS gives a meaning: serial, thing, template, endpoint, template parameters, topic filters.
//!
//! Each comes in by one `parse`, and what does not fit AWS's alphabet, or could be taken for something else, does not
//! come in: a serial becomes a thing name, a client id and a level of topics. Nothing here reads a file.

use super::problem::Fault;
use std::fmt;
use std::net::IpAddr;

/// The serial number of a device: 1 to 100 characters of `[a-zA-Z0-9:_-]`, never `claim-…`, never a placeholder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(String);

impl Serial {
    /// Reads a serial (rule 23: well formed, at most 100 characters, never `claim-…`).
    pub fn parse(text: &str) -> Result<Self, Fault> {
        if is_placeholder(text) {
            return Err(Fault::new(
                "this is what firmware says when the maker set no serial: every such machine would be one thing",
                "give the device a serial of its own, in device.serial or in a file that your factory writes",
            ));
        }
        check_name(text, 100, "a serial").map(Self)
    }

    /// The serial as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The thing name that the device has where the configuration names no other.
    pub fn to_thing_name(&self) -> ThingName {
        ThingName(self.0.clone())
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a thing: 1 to 128 characters of `[a-zA-Z0-9:_-]` (AWS IoT `CreateThing`), never `claim-…`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThingName(String);

impl ThingName {
    /// Reads a thing name, from the configuration or from an answer of the cloud.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        check_name(text, 128, "a thing name").map(Self)
    }

    /// The name as text; also the client id on device certificates.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ThingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a provisioning template: 1 to 36 characters of `[0-9A-Za-z_-]` (`CreateProvisioningTemplate`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Template(String);

impl Template {
    /// Reads a template name.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if (1..=36).contains(&text.len()) && text.bytes().all(fits) {
            return Ok(Self(text.to_owned()));
        }
        Err(Fault::new(
            "a template name is 1 to 36 letters, digits, _ and -",
            "write the name only (not the ARN), as `aws iot list-provisioning-templates` shows it",
        ))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The host of the broker: a DNS name (RFC 1123) or an address, without scheme, port and path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint(String);

impl Endpoint {
    /// Reads a host.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let ask = "write the host that `aws iot describe-endpoint --endpoint-type iot:Data-ATS` prints";
        if text.is_empty() {
            return Err(Fault::new("the endpoint is a host name", ask));
        }
        if let Some((_, rest)) = text.split_once("://") {
            let host = rest.split(['/', ':']).next().unwrap_or(rest);
            return Err(Fault::new(
                "the endpoint is a host name, without a scheme",
                format!("write \"{host}\""),
            ));
        }
        if let Some((host, _)) = text.split_once('/') {
            return Err(Fault::new(
                "the endpoint is a host name, without a path",
                format!("write \"{host}\""),
            ));
        }
        if text.parse::<IpAddr>().is_ok() {
            return Ok(Self(text.to_owned()));
        }
        if let Some((host, port)) = text.split_once(':') {
            return Err(Fault::new(
                "the endpoint is a host name, without a port",
                format!("write \"{host}\" here and {port} as aws.port"),
            ));
        }
        let label = |l: &str| {
            (1..=63).contains(&l.len())
                && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !l.starts_with('-')
                && !l.ends_with('-')
        };
        if text.len() > 253 || !text.split('.').all(label) {
            return Err(Fault::new(
                "a host name is labels of letters, digits and - between single dots",
                ask,
            ));
        }
        let first = text.split('.').next().unwrap_or(text).trim_end_matches("-ats");
        if !first.is_empty() && first.bytes().all(|b| b == b'x') {
            return Err(Fault::new("this is the placeholder of the shipped example", ask));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    /// The host as text, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Says whether it is one of AWS's old endpoints, whose server certificate AmazonRootCA1 does not sign.
    pub(super) fn is_legacy(&self) -> bool {
        let mut parts = self.0.split('.');
        let first = parts.next().unwrap_or_default();
        parts.next() == Some("iot") && self.0.contains(".amazonaws.com") && !first.ends_with("-ats")
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A filter of topics that applications may use; `{thing}` stands for the thing name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Filter(String);

impl Filter {
    /// Reads a filter by MQTT's rules (3.1.1, 4.7) and AWS's limits (256 bytes, 7 slashes).
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let refuse = |rule: &str, fix: &str| Err(Fault::new(rule, fix));
        if text.is_empty() || text.contains('\0') {
            return refuse(
                "a filter is at least one character and holds no NUL",
                "write \"device/{thing}/#\"",
            );
        }
        let levels: Vec<&str> = text.split('/').collect();
        if text.len() > 256 || levels.len() > 8 {
            return refuse("AWS allows 256 bytes and 7 slashes in a topic", "use # for what lies deeper");
        }
        let last = levels.len() - 1;
        for (i, level) in levels.iter().enumerate() {
            if level.contains('#') && (*level != "#" || i != last) {
                return refuse("# stands alone, as the last level", "write it as \"a/b/#\"");
            }
            if level.contains('+') && *level != "+" {
                return refuse("+ stands alone in its level", "write it as \"a/+/b\"");
            }
            if level.replace("{thing}", "").contains(['{', '}']) {
                return refuse(
                    "{thing} is the only thing that is filled in",
                    "write {thing}, or the text without braces",
                );
            }
        }
        if levels[0].starts_with('$') {
            return refuse(
                "topics that begin with $ are AWS's and the daemon's, never open to applications",
                "remove it; the daemon itself talks to AWS there",
            );
        }
        let own = matches!(levels[0], "device" | "+") && levels.get(2) == Some(&"certrot");
        if own {
            return refuse(
                "device/{thing}/certrot/# is the daemon's own: an application there could retire certificates",
                "remove it; device/{thing}/# is open except for that part",
            );
        }
        Ok(Self(text.to_owned()))
    }

    /// The filter as it is written, `{thing}` not filled in.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The filter for a thing.
    pub fn for_thing(&self, thing: &ThingName) -> String {
        self.0.replace("{thing}", thing.as_str())
    }
}

/// Checks the name of a template parameter; AWS's own and the daemon's are taken.
pub(super) fn check_parameter_name(name: &str) -> Result<(), Fault> {
    if OWN_PARAMETERS.contains(&name) || name.starts_with("AWS::") {
        return Err(Fault::new(
            "SerialNumber is device.serial's and AWS::… is AWS's",
            "remove it; further parameters have names of their own, such as Site",
        ));
    }
    if (1..=128).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
    {
        return Ok(());
    }
    Err(Fault::new(
        "a parameter's name is 1 to 128 letters, digits, _ and -",
        "use the template's name for it",
    ))
}

/// Checks the alphabet that AWS has for thing names, the length, and that the name cannot be taken for a claim.
fn check_name(text: &str, longest: usize, what: &str) -> Result<String, Fault> {
    let alphabet = format!("{what} is 1 to {longest} of the characters a-z A-Z 0-9 : _ -");
    if text.is_empty() {
        return Err(Fault::new(alphabet, "write the device's own, or remove the line"));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '-');
    if let Some(c) = text.chars().find(|c| !fits(*c)) {
        return Err(Fault::new(
            format!("{alphabet}; {c:?} is none of them"),
            "use - in its place, here and on the cloud's allow-list",
        ));
    }
    if text.len() > longest {
        return Err(Fault::new(alphabet, format!("shorten it: it has {} characters", text.len())));
    }
    // In any case, as the hook has it: it would deny such a device for ever.
    if text.get(..6).is_some_and(|head| head.eq_ignore_ascii_case("claim-")) {
        return Err(Fault::new(
            format!("{what} never begins with claim-: that is how claim certificates connect"),
            "rename the device",
        ));
    }
    Ok(text.to_owned())
}

/// Says whether firmware or a careless image says this for want of a serial; only letters and digits count, in any
/// case: punctuation alone, one of 0, x and f repeated, or an entry of the table.
pub(super) fn is_placeholder(text: &str) -> bool {
    let plain: String =
        text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    if plain.is_empty() {
        return !text.is_empty() && text.chars().all(|c| "._- ".contains(c));
    }
    let repeated = |c: char| plain.chars().all(|p| p == c);
    ['0', 'x', 'f'].into_iter().any(repeated) || PLACEHOLDERS.contains(&plain.as_str())
}

/// Parameters that the daemon itself gives to RegisterThing.
const OWN_PARAMETERS: [&str; 1] = ["SerialNumber"];

/// Placeholders, in lower case and without anything but letters and digits. Seen in DMI tables (`board_serial`,
/// `product_serial`, `chassis_serial`); add what you meet.
const PLACEHOLDERS: [&str; 36] = [
    "default",
    "defaultstring",
    "tobefilledbyoem",
    "filledbyoem",
    "oem",
    "oemstring",
    "none",
    "null",
    "nil",
    "na",
    "notapplicable",
    "notavailable",
    "notspecified",
    "notset",
    "notpresent",
    "unknown",
    "unspecified",
    "undefined",
    "empty",
    "invalid",
    "serial",
    "serialnumber",
    "systemserialnumber",
    "systemserial",
    "boardserialnumber",
    "baseboardserialnumber",
    "chassisserialnumber",
    "mbserialnumber",
    "assettag",
    "noassettag",
    "noassetinformation",
    "123456789",
    "1234567890",
    "0123456789",
    "12345678",
    "changeme",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_firmware_says_for_want_of_a_serial_is_refused() {
        for bad in [
            "Default string",
            "To Be Filled By O.E.M.",
            "to be filled by o.e.m",
            "None",
            "System Serial Number",
            "Not Specified",
            "0",
            "00000000",
            "123456789",
            "N/A",
            "XXXXXXXX",
            "............",
        ] {
            let fault = Serial::parse(bad).unwrap_err();
            assert!(fault.rule.contains("firmware"), "{bad:?}: {fault}");
        }
    }

    #[test]
    fn a_serial_with_topic_or_path_characters_is_refused() {
        for bad in ["", "a/b", "a+b", "#", "a b", "é", "a.b", "../x", "a\n", &"a".repeat(101)] {
            assert!(Serial::parse(bad).is_err(), "{bad:?} was read");
        }
        for good in ["SN-0001", "i-0abc123", "a:b_c", "0001", "F1", &"a".repeat(100)] {
            assert!(Serial::parse(good).is_ok(), "{good:?} was refused");
        }
    }

    #[test]
    fn nothing_that_begins_like_a_claim_becomes_a_name() {
        for bad in ["claim-", "claim-1", "claim-SN-0001-x", "Claim-1", "CLAIM-"] {
            assert!(Serial::parse(bad).is_err() && ThingName::parse(bad).is_err(), "{bad:?} was read");
        }
        assert!(ThingName::parse("claims").is_ok());
    }

    #[test]
    fn an_endpoint_is_a_host_and_nothing_more() {
        for bad in [
            "",
            "https://a.b",
            "a.b/c",
            "a.b:8883",
            "a..b",
            "-a.b",
            "a_b",
            "xxxxxxxx-ats.iot.eu-west-1.amazonaws.com",
        ] {
            assert!(Endpoint::parse(bad).is_err(), "{bad:?} was read");
        }
        for good in ["127.0.0.1", "::1", "localhost", "abc-ats.iot.eu-west-1.amazonaws.com"] {
            assert!(Endpoint::parse(good).is_ok(), "{good:?} was refused");
        }
        assert!(Endpoint::parse("mqtt://h.example:1883/x").unwrap_err().fix.contains("\"h.example\""));
        assert!(Endpoint::parse("abc.iot.eu-west-1.amazonaws.com").unwrap().is_legacy());
        assert!(!Endpoint::parse("abc-ats.iot.eu-west-1.amazonaws.com").unwrap().is_legacy());
    }

    #[test]
    fn the_daemons_own_topics_are_never_a_filter_of_applications() {
        for bad in [
            "$aws/#",
            "$share/g/device/{thing}/x",
            "device/{thing}/certrot/#",
            "device/{thing}/certrot",
            "device/+/certrot/rotate",
            "+/+/certrot/commit",
            "device/SN-1/certrot/commit",
            "a/#/b",
            "a/b#",
            "a+/b",
            "a/{serial}/b",
            "",
            "1/2/3/4/5/6/7/8/9",
        ] {
            assert!(Filter::parse(bad).is_err(), "{bad:?} was read");
        }
        let thing = ThingName::parse("SN-1").unwrap();
        assert_eq!(Filter::parse("device/{thing}/#").unwrap().for_thing(&thing), "device/SN-1/#");
    }

    #[test]
    fn a_parameter_never_takes_the_place_of_the_serial() {
        for bad in ["SerialNumber", "AWS::IoT::Certificate::Id", "", "a b"] {
            assert!(check_parameter_name(bad).is_err(), "{bad:?} was read");
        }
        assert!(check_parameter_name("Site").is_ok());
    }

    #[test]
    fn a_template_is_a_name_and_not_an_arn() {
        assert!(Template::parse("arn:aws:iot:eu-west-1:1:provisioningtemplate/x").is_err());
        assert!(Template::parse(&"t".repeat(37)).is_err());
        assert!(Template::parse("certrot-claim").is_ok());
    }
}
