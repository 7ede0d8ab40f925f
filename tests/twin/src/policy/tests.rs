//! The engine against AWS's words, against a naive matcher, and the two policies that are shipped.

use certrot_rules::documents::{self, Values};
use proptest::prelude::*;

use super::*;

const ID: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn arns() -> Arns {
    Arns::new("eu-west-1", "123456789012")
}

/// One Allow statement for publishing.
fn allow(resource: &str) -> Policy {
    one("Allow", "iot:Publish", &serde_json::json!(resource), None)
}

fn one(effect: &str, action: &str, resource: &Value, condition: Option<Value>) -> Policy {
    let mut statement = serde_json::json!({ "Effect": effect, "Action": action, "Resource": resource });
    if let Some(condition) = condition {
        statement["Condition"] = condition;
    }
    let document = serde_json::json!({ "Version": "2012-10-17", "Statement": statement });
    Policy::parse(&document.to_string()).unwrap()
}

fn publish(policies: &[Policy], topic: &str, context: &Context) -> Decision {
    decide(policies, "iot:Publish", &arns().topic(topic), context)
}

fn client(id: &str) -> Context {
    Context::new(id, ID)
}

fn attached(thing: &str) -> Context {
    client(thing).with_attached_thing(thing, None, &BTreeMap::new())
}

fn device() -> [Policy; 1] {
    [Policy::parse(&documents::device_policy(&Values::new("eu-west-1", "123456789012"))).unwrap()]
}

fn claim() -> [Policy; 1] {
    [Policy::parse(&documents::claim_policy(&Values::new("eu-west-1", "123456789012"))).unwrap()]
}

#[test]
fn nothing_is_allowed_without_a_statement_that_says_so() {
    assert_eq!(publish(&[], "a", &client("c")), Decision::ImplicitDeny);
    assert_eq!(
        publish(&[allow("arn:aws:iot:eu-west-1:123456789012:topic/b")], "a", &client("c")),
        Decision::ImplicitDeny
    );
    assert_eq!(publish(&[allow("*")], "a", &client("c")), Decision::Allow);
    let subscribe = decide(&[allow("*")], "iot:Subscribe", &arns().topic_filter("a"), &client("c"));
    assert_eq!(subscribe, Decision::ImplicitDeny);
}

#[test]
fn an_explicit_deny_wins_over_any_allow_in_any_document() {
    let deny = one("Deny", "iot:*", &serde_json::json!(["x", "*/secret"]), None);
    for order in [[allow("*"), deny.clone()], [deny, allow("*")]] {
        assert_eq!(publish(&order, "a/secret", &client("c")), Decision::ExplicitDeny);
        assert_eq!(publish(&order, "a/open", &client("c")), Decision::Allow);
    }
}

#[test]
fn a_star_crosses_levels_and_mqtt_wildcards_are_text() {
    let policy = [allow("arn:aws:iot:eu-west-1:123456789012:topic/a/*/z"), allow("*:topic/q?")];
    assert!(publish(&policy, "a/b/c/z", &client("c")).is_allowed());
    assert!(publish(&policy, "q1", &client("c")).is_allowed());
    assert!(!publish(&policy, "q", &client("c")).is_allowed());
    assert!(!publish(&policy, "q12", &client("c")).is_allowed());
    let plus = [allow("*:topic/x/+/y"), allow("*:topic/w/#")];
    assert!(publish(&plus, "x/+/y", &client("c")).is_allowed());
    assert!(!publish(&plus, "x/1/y", &client("c")).is_allowed());
    assert!(!publish(&plus, "w/1", &client("c")).is_allowed());
}

#[test]
fn the_value_of_a_variable_is_never_a_pattern() {
    let own = [allow("arn:aws:iot:eu-west-1:123456789012:topic/d/${iot:ClientId}/t")];
    assert!(publish(&own, "d/SN-1/t", &client("SN-1")).is_allowed());
    for id in ["*", "?", "S*", "${iot:CertificateId}", "+", "#"] {
        assert!(!publish(&own, "d/SN-1/t", &client(id)).is_allowed(), "{id}");
        assert!(!publish(&own, "d/S/t", &client(id)).is_allowed(), "{id}");
        assert!(publish(&own, &format!("d/{id}/t"), &client(id)).is_allowed(), "{id}");
    }
}

#[test]
fn an_undefined_variable_grants_nothing_and_denies_everything_it_could_stand_for() {
    let own = "arn:aws:iot:eu-west-1:123456789012:topic/d/${iot:Connection.Thing.ThingName}/t";
    assert!(!publish(&[allow(own)], "d//t", &client("SN-1")).is_allowed());
    assert!(!publish(&[allow(own)], "d/${iot:Connection.Thing.ThingName}/t", &client("SN-1")).is_allowed());
    let deny = one("Deny", "iot:Publish", &serde_json::json!(own), None);
    assert_eq!(publish(&[allow("*"), deny.clone()], "d/SN-9/t", &client("SN-1")), Decision::ExplicitDeny);
    assert_eq!(publish(&[allow("*"), deny], "d/SN-9/t", &attached("SN-1")), Decision::Allow);
}

#[test]
fn escapes_stand_for_the_characters_themselves_and_defaults_for_what_is_missing() {
    let escaped = [allow("*:topic/${*}/${?}/${$}")];
    assert!(publish(&escaped, "*/?/$", &client("c")).is_allowed());
    assert!(!publish(&escaped, "a/b/$", &client("c")).is_allowed());
    let default = [allow("*:topic/${iot:Connection.Thing.Attributes[site], 'none'}/t")];
    assert!(publish(&default, "none/t", &client("c")).is_allowed());
    let site = [("site".to_owned(), "oslo".to_owned())].into();
    let context = client("c").with_attached_thing("c", Some("lamp"), &site);
    assert!(publish(&default, "oslo/t", &context).is_allowed());
}

#[test]
fn conditions_hold_only_where_their_key_has_a_value() {
    let table = [
        (serde_json::json!({ "Bool": { "iot:Connection.Thing.IsAttached": "true" } }), false, true),
        (serde_json::json!({ "Bool": { "iot:Connection.Thing.IsAttached": [true] } }), false, true),
        (serde_json::json!({ "StringEquals": { "iot:ClientId": ["x", "SN-1"] } }), true, true),
        (serde_json::json!({ "StringEquals": { "iot:ClientId": "SN-*" } }), false, false),
        (serde_json::json!({ "StringLike": { "iot:ClientId": "SN-*" } }), true, true),
        (serde_json::json!({ "StringNotEquals": { "iot:ClientId": "SN-1" } }), false, false),
        (serde_json::json!({ "StringEqualsIgnoreCase": { "iot:ClientId": "sn-1" } }), true, true),
        (serde_json::json!({ "StringNotEquals": { "iot:Connection.Thing.ThingName": "x" } }), false, true),
        (
            serde_json::json!({ "StringEqualsIfExists": { "iot:Connection.Thing.ThingName": "SN-1" } }),
            true,
            true,
        ),
        (serde_json::json!({ "Null": { "iot:Connection.Thing.ThingName": "true" } }), true, false),
        (
            serde_json::json!({ "StringEquals": { "iot:ClientId": "${iot:Connection.Thing.ThingName}" } }),
            false,
            true,
        ),
    ];
    for (condition, loose, held) in table {
        let policy = [one("Allow", "iot:Publish", &serde_json::json!("*"), Some(condition.clone()))];
        assert_eq!(publish(&policy, "t", &client("SN-1")).is_allowed(), loose, "{condition}");
        assert_eq!(publish(&policy, "t", &attached("SN-1")).is_allowed(), held, "{condition}");
    }
}

#[test]
fn a_deny_whose_condition_cannot_be_answered_denies() {
    let condition = serde_json::json!({ "StringEquals": { "iot:Connection.Thing.ThingTypeName": "lamp" } });
    let policy = [allow("*"), one("Deny", "iot:Publish", &serde_json::json!("*"), Some(condition))];
    assert_eq!(publish(&policy, "t", &attached("SN-1")), Decision::ExplicitDeny);
    let context = attached("SN-1").with("iot:Connection.Thing.ThingTypeName", "pump");
    assert_eq!(publish(&policy, "t", &context), Decision::Allow);
}

#[test]
fn documents_that_aws_would_not_take_are_refused_whole() {
    let refused = |json: &str| Policy::parse(json).unwrap_err();
    assert!(matches!(refused("{"), PolicyError::Json(_)));
    assert!(matches!(refused("[]"), PolicyError::Shape { .. }));
    assert!(matches!(refused(r#"{"Statement":[]}"#), PolicyError::Version));
    let with = |statement: &str| refused(&format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#));
    assert!(matches!(with(r#"{"Effect":"allow","Action":"*","Resource":"*"}"#), PolicyError::Effect));
    assert!(matches!(with(r#"{"Effect":"Allow","Resource":"*"}"#), PolicyError::Shape { element: "Action" }));
    assert!(matches!(with(r#"{"Effect":"Allow","Action":"*","Resource":[]}"#), PolicyError::Shape { .. }));
    assert!(matches!(with(r#"{"Effect":"Allow","NotAction":"*","Resource":"*"}"#), PolicyError::Element(_)));
    assert!(matches!(with(r#"{"Effect":"Allow","Action":"*","Resource":"${x"}"#), PolicyError::Variable(_)));
    let odd = r#"{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"DateLess":{"a":"b"}}}"#;
    assert!(matches!(with(odd), PolicyError::Operator(_)));
}

#[test]
fn the_device_policy_lets_a_thing_be_itself_and_nobody_else() {
    let may = |action: &str, resource: String| decide(&device(), action, &resource, &attached("SN-1"));
    assert!(may("iot:Connect", arns().client("SN-1")).is_allowed());
    for id in ["SN-2", "claim-SN-1", "*", "SN-1x"] {
        assert!(!may("iot:Connect", arns().client(id)).is_allowed(), "{id}");
    }
    for format in ["json", "cbor"] {
        for operation in ["certificates/create", "certificates/create-from-csr"] {
            let topic = format!("$aws/{operation}/{format}");
            assert!(may("iot:Publish", arns().topic(&topic)).is_allowed());
            for answer in ["accepted", "rejected"] {
                let topic = format!("{topic}/{answer}");
                assert!(may("iot:Subscribe", arns().topic_filter(&topic)).is_allowed());
                assert!(may("iot:Receive", arns().topic(&topic)).is_allowed());
                assert!(!may("iot:Publish", arns().topic(&topic)).is_allowed());
            }
        }
        let provision = |template: &str| format!("$aws/provisioning-templates/{template}/provision/{format}");
        assert!(may("iot:Publish", arns().topic(&provision("certrot-rotate"))).is_allowed());
        for template in ["certrot-claim", "certrot-rotate2", "x"] {
            assert!(!may("iot:Publish", arns().topic(&provision(template))).is_allowed());
            let answers = arns().topic_filter(&format!("{}/accepted", provision(template)));
            assert!(!may("iot:Subscribe", answers).is_allowed());
        }
    }
}

#[test]
fn the_device_policy_keeps_the_clouds_words_to_the_cloud() {
    let publish = |topic: &str| publish(&device(), topic, &attached("SN-1"));
    assert!(publish("device/SN-1/certrot/commit").is_allowed());
    assert!(publish("device/SN-1/telemetry/a").is_allowed());
    for topic in ["certrot/commit/accepted", "certrot/commit/rejected", "certrot/rotate"] {
        assert_eq!(publish(&format!("device/SN-1/{topic}")), Decision::ExplicitDeny, "{topic}");
        assert!(!publish(&format!("device/SN-2/{topic}")).is_allowed(), "{topic}");
    }
    for topic in
        ["device/SN-2/certrot/commit", "device/SN-1", "device", "x", "$aws/things/SN-1/shadow/update"]
    {
        assert!(!publish(topic).is_allowed(), "{topic}");
    }
}

#[test]
fn the_device_policy_opens_no_topic_filter_beyond_the_things_own() {
    let subscribe = |filter: &str, context: &Context| {
        decide(&device(), "iot:Subscribe", &arns().topic_filter(filter), context).is_allowed()
    };
    for filter in ["device/SN-1/#", "device/SN-1/certrot/rotate", "device/SN-1/+/x"] {
        assert!(subscribe(filter, &attached("SN-1")), "{filter}");
    }
    for filter in
        ["#", "+/#", "device/#", "device/+/x", "device/SN-2/#", "$aws/#", "$aws/things/#", "device/+/#"]
    {
        assert!(!subscribe(filter, &attached("SN-1")), "{filter}");
        // The documented hole: a client id that is a wildcard. It names no thing, so nothing resolves.
        assert!(!subscribe(filter, &client("+")) && !subscribe(filter, &client("#")), "{filter}");
    }
    assert!(!decide(&device(), "iot:Connect", &arns().client("+"), &client("+")).is_allowed());
    assert!(
        !decide(&device(), "iot:RetainPublish", &arns().topic("device/SN-1/x"), &attached("SN-1"))
            .is_allowed()
    );
}

#[test]
fn a_certificate_that_is_not_attached_to_the_thing_of_its_client_id_may_do_nothing_of_the_things() {
    let context = client("SN-1");
    assert!(!decide(&device(), "iot:Connect", &arns().client("SN-1"), &context).is_allowed());
    assert!(!publish(&device(), "device/SN-1/certrot/commit", &context).is_allowed());
}

#[test]
fn the_claim_policy_reaches_the_claim_template_under_claim_client_ids_and_nothing_else() {
    let may = |action: &str, resource: String| {
        decide(&claim(), action, &resource, &client("claim-SN-1-x")).is_allowed()
    };
    assert!(may("iot:Connect", arns().client("claim-SN-1-x")));
    for id in ["SN-1", "claim", "Claim-x", "*", "xclaim-x"] {
        assert!(!may("iot:Connect", arns().client(id)), "{id}");
    }
    for format in ["json", "cbor"] {
        assert!(may("iot:Publish", arns().topic(&format!("$aws/certificates/create-from-csr/{format}"))));
        assert!(may("iot:Publish", arns().topic(&format!("$aws/certificates/create/{format}"))));
        let topic = |t: &str| arns().topic(&format!("$aws/provisioning-templates/{t}/provision/{format}"));
        assert!(may("iot:Publish", topic("certrot-claim")));
        assert!(!may("iot:Publish", topic("certrot-rotate")));
        assert!(may("iot:Receive", topic("certrot-claim") + "/accepted"));
        let filter = format!("$aws/provisioning-templates/certrot-claim/provision/{format}/rejected");
        assert!(may("iot:Subscribe", arns().topic_filter(&filter)));
    }
    for filter in ["#", "+/#", "device/#", "device/SN-1/#", "$aws/#", "$aws/provisioning-templates/#"] {
        assert!(!may("iot:Subscribe", arns().topic_filter(filter)), "{filter}");
    }
    assert!(!may("iot:Publish", arns().topic("device/SN-1/certrot/commit")));
    assert!(!may("iot:Publish", arns().topic("device/SN-1/certrot/rotate")));
}

/// The meaning of `*` and `?`, as plainly as it can be written.
fn naive(pattern: &[char], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('*', rest)) => (0..=text.len()).any(|n| naive(rest, &text[n..])),
        Some(('?', rest)) => !text.is_empty() && naive(rest, &text[1..]),
        Some((c, rest)) => text.first() == Some(c) && naive(rest, &text[1..]),
    }
}

proptest! {
    #[test]
    fn wildcards_mean_what_the_naive_matcher_says(pattern in "[ab/*?+#]{0,10}", text in "[ab/+#*?]{0,10}") {
        let (p, t): (Vec<_>, Vec<_>) = (pattern.chars().collect(), text.chars().collect());
        prop_assert_eq!(Pattern::parse(&pattern).unwrap().text_is(&text), naive(&p, &t));
    }

    #[test]
    fn a_client_id_matches_itself_alone(id in "[ab*?+#$]{0,6}", other in "[ab*?+#$]{0,6}") {
        let pattern = Pattern::parse("x/${iot:ClientId}/y").unwrap();
        let matches = pattern.matches(&format!("x/{other}/y"), &client(&id), Undefined::MatchesNothing);
        prop_assert_eq!(matches, id == other);
    }

    #[test]
    fn no_text_makes_the_parser_fall_over(text in ".{0,60}") {
        let _ = Policy::parse(&text);
        let _ = Pattern::parse(&text);
    }
}
