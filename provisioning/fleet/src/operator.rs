//! The least that an operator must be allowed: made from the list of calls, never by hand.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::calls::{ALL, Call, On};
use crate::names::{Fleet, Place};

/// The IAM policy of an operator who may do everything that this tool does, and nothing else.
pub fn policy(fleet: &Fleet, place: &Place) -> Value {
    let mut actions: BTreeMap<On, BTreeSet<&str>> = BTreeMap::new();
    for call in ALL.iter().filter(|c| c.on != On::Free) {
        actions.entry(call.on).or_default().extend(call.actions());
    }
    let statements: Vec<Value> =
        actions.into_iter().map(|(on, actions)| statement(on, actions, fleet, place)).collect();
    json!({ "Version": "2012-10-17", "Statement": statements })
}

/// The statement that would let one refused call through.
pub fn grant(call: &Call, fleet: &Fleet, place: &Place) -> Value {
    statement(call.on, call.actions().into_iter().collect(), fleet, place)
}

fn statement(on: On, actions: BTreeSet<&str>, fleet: &Fleet, place: &Place) -> Value {
    let mut statement = json!({
        "Effect": "Allow",
        "Action": actions,
        "Resource": on.resources(fleet, place),
    });
    if actions.contains("iam:PassRole") && actions.len() > 1 {
        // Handing a role on is allowed to the two services that this tool hands one to; nothing else reads the key.
        statement["Condition"] = json!({
            "StringEqualsIfExists": { "iam:PassedToService": ["iot.amazonaws.com", "lambda.amazonaws.com"] }
        });
    }
    statement
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::tests::{fleet, place};

    #[test]
    fn the_policy_of_the_operator_has_every_call_and_no_wildcard_in_an_action() {
        let policy = policy(&fleet(), &place());
        let text = policy["Statement"].to_string();
        for call in ALL.iter().filter(|c| c.on != On::Free) {
            for action in call.actions() {
                assert!(text.contains(&format!("\"{action}\"")), "{action}");
            }
        }
        for statement in policy["Statement"].as_array().unwrap() {
            assert!(!statement["Action"].to_string().contains('*'));
        }
    }

    #[test]
    fn the_policy_of_the_operator_fits_a_managed_policy() {
        // IAM: 6,144 characters without blanks.
        let fleet = Fleet::parse(&"x".repeat(29)).unwrap();
        assert!(policy(&fleet, &place()).to_string().len() <= 6144);
    }

    #[test]
    fn the_policy_in_the_repository_is_this_one() {
        let anywhere = Place { partition: "aws".into(), region: "*".into(), account: "*".into() };
        let here = serde_json::to_string_pretty(&policy(&fleet(), &anywhere)).unwrap() + "\n";
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../operator-policy.json");
        let there = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            here == there,
            "out of date: certrot-fleet operator-policy > provisioning/operator-policy.json"
        );
    }

    #[test]
    fn names_of_calls_are_unique() {
        let mut names: Vec<(&str, On)> = ALL.iter().map(|c| (c.name, c.on)).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
