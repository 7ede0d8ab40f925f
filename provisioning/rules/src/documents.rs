//! The documents that AWS is given: two policies, two templates, one rule's SQL, filled in for one account.
//!
//! The files under `provisioning/` are the source; nothing else writes a policy. Placeholders `{region}` and the like
//! are filled in inside JSON strings only, so a value cannot change the shape of a document.
//!
//! Both templates keep an existing thing as it is. They say nothing of a certificate that is registered already, as
//! AWS's own examples do, so that a token cannot wake up one under quarantine; the claim hook denies that as well.

use serde_json::Value;

/// What differs between accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values {
    /// `aws`, `aws-cn`, `aws-us-gov`.
    pub partition: String,
    /// For example `eu-west-1`.
    pub region: String,
    /// Twelve digits.
    pub account: String,
    /// The template that claim certificates reach.
    pub claim_template: String,
    /// The template that device certificates reach.
    pub rotation_template: String,
    /// The policy that a template attaches to a new certificate.
    pub device_policy: String,
    /// The thing type of a new thing: by it a fleet knows its things.
    pub thing_type: String,
    /// The thing group of a new thing.
    pub thing_group: String,
}

impl Values {
    /// The contract's names for one account.
    pub fn new(region: &str, account: &str) -> Self {
        Values {
            partition: "aws".to_owned(),
            region: region.to_owned(),
            account: account.to_owned(),
            claim_template: CLAIM_TEMPLATE.to_owned(),
            rotation_template: ROTATION_TEMPLATE.to_owned(),
            device_policy: DEVICE_POLICY.to_owned(),
            thing_type: THING_TYPE.to_owned(),
            thing_group: THING_GROUP.to_owned(),
        }
    }
}

/// The policy of every device certificate, minified.
pub fn device_policy(values: &Values) -> String {
    filled(include_str!("../../policies/device.json"), values)
}

/// The policy of the claim certificate, minified.
pub fn claim_policy(values: &Values) -> String {
    filled(include_str!("../../policies/claim.json"), values)
}

/// The body of the claim template, minified.
pub fn claim_template(values: &Values) -> String {
    filled(include_str!("../../templates/claim.json"), values)
}

/// The body of the rotation template, minified.
pub fn rotation_template(values: &Values) -> String {
    filled(include_str!("../../templates/rotate.json"), values)
}

/// Name of the template for the claim (contract).
pub const CLAIM_TEMPLATE: &str = "certrot-claim";

/// Name of the template for rotations (contract).
pub const ROTATION_TEMPLATE: &str = "certrot-rotate";

/// Name of the policy of device certificates.
pub const DEVICE_POLICY: &str = "certrot-device";

/// Name of the policy of the claim certificate.
pub const CLAIM_POLICY: &str = "certrot-claim";

/// Name of the thing type of the fleet's things.
pub const THING_TYPE: &str = "certrot";

/// Name of the thing group that the fleet's things are in.
pub const THING_GROUP: &str = "certrot";

/// The template parameter that names the thing.
pub const SERIAL_PARAMETER: &str = "SerialNumber";

/// The parameter that AWS adds itself.
pub const CERTIFICATE_PARAMETER: &str = "AWS::IoT::Certificate::Id";

/// The SQL (version `2016-03-23`) of the rule that hands commits to the retire handler. It names each field, so
/// nothing that a device writes can stand for what the cloud knows (rule 11).
pub const COMMIT_RULE_SQL: &str = "SELECT certificateId, principal() AS principal, clientid() AS clientId, \
     topic(2) AS thing, timestamp() AS timestamp FROM 'device/+/certrot/commit'";

/// Longest policy that AWS takes, in characters without blanks (AWS IoT quotas).
pub const POLICY_LIMIT: usize = 2048;

/// Longest template body that AWS takes, in characters (AWS IoT quotas).
pub const TEMPLATE_LIMIT: usize = 10_240;

fn filled(source: &str, values: &Values) -> String {
    // The sources are compiled in and a test parses each: this cannot fail in the field.
    let mut document: Value = serde_json::from_str(source).expect("a document of this crate parses");
    fill(
        &mut document,
        &[
            ("{partition}", &values.partition),
            ("{region}", &values.region),
            ("{account}", &values.account),
            ("{claim-template}", &values.claim_template),
            ("{rotation-template}", &values.rotation_template),
            ("{device-policy}", &values.device_policy),
            ("{thing-type}", &values.thing_type),
            ("{thing-group}", &values.thing_group),
        ],
    );
    document.to_string()
}

/// Fills placeholders in, inside JSON strings only: a word cannot change the shape of a document.
pub fn fill(value: &mut Value, words: &[(&str, &str)]) {
    match value {
        Value::String(text) => {
            for (placeholder, word) in words {
                *text = text.replace(placeholder, word);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|v| fill(v, words)),
        Value::Object(fields) => fields.values_mut().for_each(|v| fill(v, words)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn widest() -> Values {
        let mut values = Values::new("ap-southeast-2", "123456789012");
        values.claim_template = "c".repeat(36);
        values.rotation_template = "r".repeat(36);
        values
    }

    #[test]
    fn every_document_keeps_within_the_quotas_of_aws_even_with_the_longest_names() {
        for policy in [device_policy(&widest()), claim_policy(&widest())] {
            assert!(policy.chars().count() <= POLICY_LIMIT, "{}", policy.len());
        }
        for body in [claim_template(&widest()), rotation_template(&widest())] {
            assert!(body.chars().count() <= TEMPLATE_LIMIT);
        }
    }

    #[test]
    fn no_placeholder_is_left_and_policy_variables_stay() {
        let values = Values::new("eu-west-1", "123456789012");
        for text in [
            device_policy(&values),
            claim_policy(&values),
            claim_template(&values),
            rotation_template(&values),
        ] {
            let bare = text.replace("${iot:Connection.Thing.ThingName}", "");
            assert!(!bare.contains("${"), "{bare}");
            for word in ["{partition}", "{region}", "{account}", "-template}", "-policy}", "{thing-"] {
                assert!(!text.contains(word), "{word} in {text}");
            }
        }
        assert!(device_policy(&values).contains("client/${iot:Connection.Thing.ThingName}"));
    }

    #[test]
    fn no_template_replaces_the_status_of_a_certificate_that_is_registered_already() {
        let values = Values::new("eu-west-1", "123456789012");
        for text in [claim_template(&values), rotation_template(&values)] {
            let body: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(body["Resources"]["certificate"]["OverrideSettings"], Value::Null);
            for setting in ["AttributePayload", "ThingTypeName", "ThingGroups"] {
                assert_eq!(body["Resources"]["thing"]["OverrideSettings"][setting], "DO_NOTHING");
            }
        }
    }

    #[test]
    fn a_value_cannot_change_the_shape_of_a_document() {
        let mut values = Values::new("eu-west-1", "123456789012");
        values.region = "x\",\"Effect\":\"Allow\",\"Action\":\"*".to_owned();
        let policy: Value = serde_json::from_str(&claim_policy(&values)).unwrap();
        assert_eq!(policy["Statement"][0]["Action"], "iot:Connect");
    }

    #[test]
    fn the_documents_in_the_repository_use_no_client_id_variable() {
        // The documented hole: a client id `+` turns `topicfilter/x/${iot:ClientId}/y` into a wildcard.
        for source in [include_str!("../../policies/device.json"), include_str!("../../policies/claim.json")]
        {
            assert!(!source.contains("iot:ClientId"));
        }
    }
}
