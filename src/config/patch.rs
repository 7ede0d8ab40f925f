//! The part of `[rotation]` that can be changed while the daemon runs, by the same rules as in the file.
//!
//! A change holds until the next reload; nothing is written. Whether a policy can fire at all is decided here, for the
//! file and for the change alike.

use super::defaults::{self, Span};
use super::{Duration, Fault, Problem, Rotation};
use serde::Deserialize;

/// `PATCH /v1/rotation`: what is named is changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RotationPatch {
    /// Whether rotations start by themselves or on the cloud's order.
    pub enabled: Option<bool>,
    /// As `rotation.check-interval`.
    pub check_interval: Option<String>,
    /// As `rotation.max-age`.
    pub max_age: Option<String>,
    /// As `rotation.renew-before`.
    pub renew_before: Option<String>,
}

impl Rotation {
    /// Makes the policy that the change asks for; `lifetime` is that of the certificate in use, where there is one.
    pub fn patched(&self, patch: &RotationPatch, lifetime: Option<Duration>) -> Result<Self, Vec<Problem>> {
        let (mut new, mut problems) = (self.clone(), Vec::new());
        if let Some(enabled) = patch.enabled {
            new.enabled = enabled;
        }
        let mut refuse = |key: &str, text: &str, fault: Fault| {
            let value = Some(format!("{text:?}"));
            problems.push(Problem {
                line: None,
                key: key.to_owned(),
                value,
                rule: fault.rule,
                fix: fault.fix,
            });
        };
        if let Some(text) = &patch.max_age {
            match parse_max_age(text) {
                Ok(value) => new.max_age = value,
                Err(fault) => refuse("maxAge", text, fault),
            }
        }
        for (key, text, span, place) in [
            ("renewBefore", &patch.renew_before, &defaults::RENEW_BEFORE, &mut new.renew_before),
            ("checkInterval", &patch.check_interval, &defaults::CHECK_INTERVAL, &mut new.check_interval),
        ] {
            match text.as_ref().map(|text| (text, Duration::parse_within(text, span.least, span.most))) {
                None => {}
                Some((_, Ok(value))) => *place = value,
                Some((text, Err(fault))) => refuse(key, text, fault),
            }
        }
        if let Some(fault) = cannot_fire(&new, lifetime) {
            let (key, Fault { rule, fix }) = ("maxAge".to_owned(), fault);
            problems.push(Problem { line: None, key, value: patch.max_age.clone(), rule, fix });
        }
        if problems.is_empty() { Ok(new) } else { Err(problems) }
    }
}

/// Reads `max-age`: a duration, or `never`.
pub(super) fn parse_max_age(text: &str) -> Result<Option<Duration>, Fault> {
    if text == "never" {
        return Ok(None);
    }
    let Span { least, most, .. } = defaults::MAX_AGE;
    Duration::parse_within(text, least, most).map(Some)
}

/// Says why a policy can never fire, if so, although each of its values is right.
///
/// AWS-issued certificates expire on 2049-12-31 whenever they are made, so `renew-before` alone never fires on one:
/// `never` is for certificates that were seen to be short-lived. A device that has none yet would learn of it too
/// late, and loses nothing by an age, for the rule that is due first wins.
pub(super) fn cannot_fire(rotation: &Rotation, lifetime: Option<Duration>) -> Option<Fault> {
    let seen = match (rotation.max_age, lifetime) {
        (Some(_), _) => return None,
        (None, Some(lifetime)) if lifetime <= defaults::MAX_AGE.most => return None,
        (None, Some(lifetime)) => format!("the certificate in use lives {lifetime}"),
        (None, None) => "no certificate is there yet".to_owned(),
    };
    Some(Fault::new(
        format!(
            "without an age only renew-before is left, and that waits for 2049 on a certificate of AWS; {seen}"
        ),
        "write \"90d\"; for short-lived certificates too: the rule that is due first wins",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Template;

    fn rotation() -> Rotation {
        Rotation {
            enabled: true,
            template: Template::parse("t").unwrap(),
            max_age: Some(defaults::MAX_AGE.default),
            renew_before: defaults::RENEW_BEFORE.default,
            check_interval: defaults::CHECK_INTERVAL.default,
            splay: defaults::SPLAY.default,
            min_interval: defaults::MIN_INTERVAL.default,
        }
    }

    const UNTIL_2049: Duration = Duration::from_secs(23 * 365 * 86_400);
    const SHORT: Duration = Duration::from_secs(7 * 86_400);

    #[test]
    fn a_policy_that_cannot_fire_on_an_aws_certificate_is_refused_live_too() {
        let never = RotationPatch { max_age: Some("never".into()), ..Default::default() };
        for lifetime in [None, Some(UNTIL_2049)] {
            let problems = rotation().patched(&never, lifetime).unwrap_err();
            assert!(problems[0].rule.contains("2049"), "{}", problems[0]);
        }
        assert_eq!(rotation().patched(&never, Some(SHORT)).unwrap().max_age, None);
    }

    #[test]
    fn a_bad_change_names_every_fault_and_changes_nothing() {
        let patch: RotationPatch = serde_json::from_str(
            r#"{"maxAge":"90","checkInterval":"1s","renewBefore":"soon","enabled":false}"#,
        )
        .unwrap();
        let keys: Vec<String> =
            rotation().patched(&patch, None).unwrap_err().into_iter().map(|p| p.key).collect();
        assert_eq!(keys, ["maxAge", "renewBefore", "checkInterval"]);
        assert!(serde_json::from_str::<RotationPatch>(r#"{"max-age":"90d"}"#).is_err());
    }

    #[test]
    fn what_a_change_does_not_name_stays() {
        let patch: RotationPatch = serde_json::from_str(r#"{"maxAge":"2h","checkInterval":"10m"}"#).unwrap();
        let new = rotation().patched(&patch, None).unwrap();
        let expected = Rotation {
            max_age: Some(Duration::from_secs(7_200)),
            check_interval: Duration::from_secs(600),
            ..rotation()
        };
        assert_eq!(new, expected);
    }
}
