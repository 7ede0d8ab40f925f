//! The rule engine's SQL, as far as rules on commits need it: fields, `*`, four functions, one topic filter.
//!
//! `SELECT certificateId, principal() AS principal, topic(2) AS thing FROM 'device/+/certrot/commit'`. What it cannot
//! read is refused at CreateTopicRule, so that no rule runs here otherwise than it reads. A payload that is no JSON
//! object has no fields; what is undefined is left out, as AWS does.

use serde_json::{Map, Value};

use crate::broker::topic;

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sql {
    selects: Vec<(Term, String)>,
    filter: String,
}

/// A message, as the functions see it.
pub struct Message<'a> {
    /// `topic()`.
    pub topic: &'a str,
    /// `clientid()`.
    pub client: &'a str,
    /// `principal()`.
    pub principal: &'a str,
    /// `timestamp()`, milliseconds since the epoch.
    pub stamp_ms: i64,
    /// What was published.
    pub payload: &'a [u8],
}

/// The text is not SQL that this engine reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the twin's rule engine cannot read {0:?}")]
pub struct SqlError(String);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    All,
    Field(String),
    Principal,
    ClientId,
    Timestamp,
    Topic(Option<usize>),
}

impl Sql {
    /// Reads a statement.
    pub fn parse(text: &str) -> Result<Self, SqlError> {
        let refused = |what: &str| SqlError(what.chars().take(80).collect());
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let from = words.to_ascii_uppercase().find(" FROM ").ok_or_else(|| refused(text))?;
        let (head, tail) = (&words[..from], words[from + 6..].trim());
        let list = head.get(..7).filter(|h| h.eq_ignore_ascii_case("select ")).map(|_| &head[7..]);
        let filter = tail.strip_prefix('\'').and_then(|t| t.strip_suffix('\''));
        let (list, filter) = list.zip(filter).ok_or_else(|| refused(text))?;
        if !topic::is_subscribable(filter) {
            return Err(refused(tail));
        }
        let selects = list.split(',').map(|part| select(part.trim())).collect::<Option<_>>();
        Ok(Sql { selects: selects.ok_or_else(|| refused(list))?, filter: filter.to_owned() })
    }

    /// Says whether a message on this topic is the rule's.
    pub fn matches(&self, topic: &str) -> bool {
        topic::matches(&self.filter, topic)
    }

    /// The topic filter.
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// What the rule's actions are given.
    pub fn select(&self, message: &Message<'_>) -> Value {
        let written: Map<String, Value> = serde_json::from_slice(message.payload).unwrap_or_default();
        let mut out = Map::new();
        for (term, name) in &self.selects {
            let value = match term {
                Term::All => {
                    out.extend(written.clone());
                    continue;
                }
                Term::Field(field) => written.get(field).cloned(),
                Term::Principal => Some(message.principal.into()),
                Term::ClientId => Some(message.client.into()),
                Term::Timestamp => Some(message.stamp_ms.into()),
                Term::Topic(None) => Some(message.topic.into()),
                Term::Topic(Some(n)) => message.topic.split('/').nth(n - 1).map(Value::from),
            };
            if let Some(value) = value {
                out.insert(name.clone(), value);
            }
        }
        Value::Object(out)
    }
}

fn select(part: &str) -> Option<(Term, String)> {
    let at = part.to_ascii_uppercase().find(" AS ");
    let (expression, alias) = match at {
        Some(at) => (part[..at].trim(), Some(part[at + 4..].trim())),
        None => (part, None),
    };
    let word = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let term = match expression {
        "*" => return alias.is_none().then(|| (Term::All, String::new())),
        "principal()" => Term::Principal,
        "clientid()" => Term::ClientId,
        "timestamp()" => Term::Timestamp,
        "topic()" => Term::Topic(None),
        other => match other.strip_prefix("topic(").and_then(|o| o.strip_suffix(')')) {
            Some(n) => Term::Topic(Some(n.parse().ok().filter(|n| *n > 0)?)),
            None if word(other) => Term::Field(other.to_owned()),
            None => return None,
        },
    };
    let name = match (alias, &term) {
        (Some(alias), _) if word(alias) => alias.to_owned(),
        (None, Term::Field(field)) => field.clone(),
        _ => return None,
    };
    Some((term, name))
}

#[cfg(test)]
mod tests {
    use certrot_rules::documents::COMMIT_RULE_SQL;
    use certrot_rules::retire::Commit;
    use serde_json::json;

    use super::*;

    fn message(payload: &[u8]) -> Message<'_> {
        Message {
            topic: "device/T/certrot/commit",
            client: "c",
            principal: "p",
            stamp_ms: 1_700_000_000_000,
            payload,
        }
    }

    #[test]
    fn the_rule_on_commits_gives_the_event_that_the_handler_reads() {
        let sql = Sql::parse(COMMIT_RULE_SQL).unwrap();
        assert!(sql.matches("device/T/certrot/commit") && !sql.matches("device/T/certrot/commit/accepted"));
        let event = sql.select(&message(br#"{"certificateId":"x","principal":"forged","thing":"other"}"#));
        assert_eq!(
            event,
            json!({
                "certificateId": "x", "principal": "p", "clientId": "c", "thing": "T",
                "timestamp": 1_700_000_000_000_i64,
            })
        );
        let at = jiff::Timestamp::from_millisecond(1_700_000_000_000).unwrap();
        for payload in [&br#"{"certificateId":"x"}"#[..], b"", b"[]", b"\xff"] {
            let event = sql.select(&message(payload));
            assert_eq!(Commit::from_event(&event), Some(Commit::from_publish("T", "p", "c", payload, at)));
        }
    }

    #[test]
    fn sql_that_would_run_otherwise_than_it_reads_is_refused() {
        for text in [
            "",
            "SELECT * FROM device/+/x",
            "SELECT * FROM 'a' WHERE x > 1",
            "SELECT lower(x) AS y FROM 'a'",
            "SELECT principal() FROM 'a'",
            "SELECT topic(0) AS t FROM 'a'",
            "SELECT * FROM 'a/#/b'",
        ] {
            assert!(Sql::parse(text).is_err(), "{text}");
        }
    }
}
