//! The policy statement that a refused request asks for, as the cloud's operator would write it.
//!
//! The endpoint's name says region and partition; the account's number is not known here, so `ACCOUNT` stands for it.

use serde_json::{Map, Value};

/// Allows these actions on these resources, each given from behind the account (`topic/…`).
pub fn allow(endpoint: &str, actions: &[&str], resources: &[String]) -> Value {
    let (partition, region) = place(endpoint);
    let text = |word: &str| Value::String(word.to_owned());
    let arn = |resource: &String| Value::String(format!("arn:{partition}:iot:{region}:ACCOUNT:{resource}"));
    let mut statement = Map::new();
    statement.insert("Effect".to_owned(), text("Allow"));
    statement.insert("Action".to_owned(), actions.iter().copied().map(text).collect());
    statement.insert("Resource".to_owned(), resources.iter().map(arn).collect());
    Value::Object(statement)
}

/// Allows to hear these topics.
pub fn hear(endpoint: &str, topics: &[String]) -> Value {
    let resources: Vec<String> = ["topicfilter", "topic"]
        .iter()
        .flat_map(|kind| topics.iter().map(move |t| format!("{kind}/{t}")))
        .collect();
    allow(endpoint, &["iot:Subscribe", "iot:Receive"], &resources)
}

/// Allows to speak on this topic.
pub fn speak(endpoint: &str, topic: &str) -> Value {
    allow(endpoint, &["iot:Publish"], &[format!("topic/{topic}")])
}

/// Allows a device to connect as itself.
pub fn connect(endpoint: &str) -> Value {
    allow(endpoint, &["iot:Connect"], &["client/${iot:Connection.Thing.ThingName}".to_owned()])
}

/// Partition and region of `xxxx-ats.iot.REGION.amazonaws.com` (`….com.cn` is the partition `aws-cn`).
fn place(endpoint: &str) -> (&'static str, &str) {
    let mut labels = endpoint.split('.').skip_while(|label| *label != "iot").skip(1);
    let region = labels.next().filter(|_| labels.next() == Some("amazonaws")).unwrap_or("REGION");
    let partition = if endpoint.ends_with(".cn") {
        "aws-cn"
    } else if region.starts_with("us-gov-") {
        "aws-us-gov"
    } else {
        "aws"
    };
    (partition, region)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_as_aws_would_take_it_but_for_the_account() {
        let statement = speak("a1-ats.iot.eu-west-1.amazonaws.com", "device/SN-1/certrot/commit");
        let expected = r#"{"Action":["iot:Publish"],"Effect":"Allow","Resource":["arn:aws:iot:eu-west-1:ACCOUNT:topic/device/SN-1/certrot/commit"]}"#;
        assert_eq!(statement.to_string(), expected);
    }

    #[test]
    fn partition_and_region_are_those_of_the_endpoint() {
        for (endpoint, expected) in [
            ("a1-ats.iot.us-east-1.amazonaws.com", ("aws", "us-east-1")),
            ("a1.iot.cn-north-1.amazonaws.com.cn", ("aws-cn", "cn-north-1")),
            ("a1-ats.iot.us-gov-west-1.amazonaws.com", ("aws-us-gov", "us-gov-west-1")),
            ("iot.example.org", ("aws", "REGION")),
            ("127.0.0.1", ("aws", "REGION")),
        ] {
            assert_eq!(place(endpoint), expected, "{endpoint}");
        }
    }

    #[test]
    fn hearing_a_topic_takes_two_rights() {
        let statement = hear("h", &["a".to_owned()]);
        assert_eq!(statement["Action"], serde_json::json!(["iot:Subscribe", "iot:Receive"]));
        assert_eq!(statement["Resource"].as_array().map(Vec::len), Some(2));
    }
}
