//! Reads the statements of a policy document: what IoT policies do not have is refused, not skipped.

use serde_json::{Map, Value};

use super::condition::{Condition, Test};
use super::pattern::Pattern;
use super::{Effect, PolicyError, Statement};

/// Reads one statement.
pub(super) fn statement(value: &Value) -> Result<Statement, PolicyError> {
    let map = value.as_object().ok_or(PolicyError::Shape { element: "Statement" })?;
    known(map, &["Sid", "Effect", "Action", "Resource", "Condition"])?;
    let effect = match map.get("Effect").and_then(Value::as_str) {
        Some("Allow") => Effect::Allow,
        Some("Deny") => Effect::Deny,
        _ => return Err(PolicyError::Effect),
    };
    let actions = patterns(map.get("Action"), "Action")?.iter().map(Pattern::lower).collect();
    let resources = patterns(map.get("Resource"), "Resource")?;
    let conditions = match map.get("Condition") {
        None => Vec::new(),
        Some(Value::Object(operators)) => conditions(operators)?,
        Some(_) => return Err(PolicyError::Shape { element: "Condition" }),
    };
    Ok(Statement { effect, actions, resources, conditions })
}

fn conditions(operators: &Map<String, Value>) -> Result<Vec<Condition>, PolicyError> {
    let mut conditions = Vec::new();
    for (operator, keys) in operators {
        let keys = keys.as_object().ok_or(PolicyError::Shape { element: "Condition" })?;
        let bare = operator.strip_suffix("IfExists").unwrap_or(operator);
        let (test, negated) = match bare {
            "StringEquals" => (Test::Equals, false),
            "StringNotEquals" => (Test::Equals, true),
            "StringEqualsIgnoreCase" => (Test::EqualsIgnoreCase, false),
            "StringNotEqualsIgnoreCase" => (Test::EqualsIgnoreCase, true),
            "StringLike" | "ArnLike" | "ArnEquals" => (Test::Like, false),
            "StringNotLike" | "ArnNotLike" | "ArnNotEquals" => (Test::Like, true),
            "Bool" => (Test::Bool, false),
            "Null" => (Test::Null, false),
            _ => return Err(PolicyError::Operator(operator.clone())),
        };
        for (key, values) in keys {
            let values = patterns(Some(values), "Condition")?;
            let if_exists = bare.len() != operator.len();
            conditions.push(Condition { test, negated, if_exists, key: key.clone(), values });
        }
    }
    Ok(conditions)
}

/// Reads a string, a boolean or a list of them.
fn patterns(value: Option<&Value>, element: &'static str) -> Result<Vec<Pattern>, PolicyError> {
    let one = |v: &Value| match v {
        Value::String(text) => Pattern::parse(text),
        Value::Bool(b) if element == "Condition" => Pattern::parse(if *b { "true" } else { "false" }),
        _ => Err(PolicyError::Shape { element }),
    };
    match value {
        Some(Value::Array(list)) if !list.is_empty() => list.iter().map(one).collect(),
        Some(value @ (Value::String(_) | Value::Bool(_))) => Ok(vec![one(value)?]),
        _ => Err(PolicyError::Shape { element }),
    }
}

/// Refuses an object with a field that is not among `names`.
pub(super) fn known(map: &Map<String, Value>, names: &[&str]) -> Result<(), PolicyError> {
    match map.keys().find(|key| !names.contains(&key.as_str())) {
        Some(stranger) => Err(PolicyError::Element(stranger.clone())),
        None => Ok(()),
    }
}
