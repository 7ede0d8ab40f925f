//! The names of everything that a fleet has in an account, all made from one word.
//!
//! Nothing else makes a name. Template names stand in the configuration of devices in the field and therefore never
//! change; policy names carry a hash of their document, so a changed document is another policy (`desired.rs`).

use certrot_rules::documents::Values;
use thiserror::Error;

/// The name that a fleet has when it was given none.
pub const DEFAULT: &str = "certrot";

/// The tag that every resource of a fleet carries; its value is the fleet's name.
pub const TAG: &str = "certrot-fleet";

/// A fleet's name: 1 to 29 of `a-z A-Z 0-9 _ -`, so that `<name>-rotate` is a template name (36 in AWS's model).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fleet(String);

impl Fleet {
    /// Checks a name.
    pub fn parse(word: &str) -> Result<Self, NameError> {
        let refused = |rule| Err(NameError { word: word.chars().take(60).collect(), rule });
        if word.is_empty() {
            return refused("it is empty");
        }
        if !word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')) {
            return refused("it has a character outside a-z A-Z 0-9 _ -");
        }
        if !word.as_bytes()[0].is_ascii_alphabetic() {
            return refused("it does not begin with a letter");
        }
        if word.len() > LONGEST {
            return refused("it has more than 29 characters");
        }
        Ok(Fleet(word.to_owned()))
    }

    /// The name itself; thing type, thing group and tag are called so.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The template for the claim.
    pub fn claim_template(&self) -> String {
        self.with("claim")
    }

    /// The template for rotations.
    pub fn rotation_template(&self) -> String {
        self.with("rotate")
    }

    /// What the names of device policies begin with; the hash of the document follows.
    pub fn device_policy_prefix(&self) -> String {
        self.with("device-")
    }

    /// What the names of claim policies begin with; the hash of the document follows.
    pub fn claim_policy_prefix(&self) -> String {
        self.with("claim-")
    }

    /// The hook of the claim template.
    pub fn claim_hook(&self) -> String {
        self.with("claim-hook")
    }

    /// The hook of the rotation template.
    pub fn rotate_hook(&self) -> String {
        self.with("rotate-hook")
    }

    /// The handler of commits.
    pub fn retire(&self) -> String {
        self.with("retire")
    }

    /// The queue for commits that the handler could not take.
    pub fn dead_letters(&self) -> String {
        self.with("retire-dead-letters")
    }

    /// The topic rule; AWS takes no `-` in it.
    pub fn rule(&self) -> String {
        self.with("retire").replace('-', "_")
    }

    /// A function's log group, as Lambda names it.
    pub fn log_group(function: &str) -> String {
        format!("/aws/lambda/{function}")
    }

    /// A role; IAM is one for all regions, so the region is in its name.
    pub fn role(&self, region: &str, what: &str) -> String {
        format!("{}-{region}-{what}", self.0)
    }

    /// The thing that a new device policy is tried with before it is used.
    pub fn probe(&self) -> String {
        self.with("policy-check")
    }

    fn with(&self, what: &str) -> String {
        format!("{}-{what}", self.0)
    }
}

impl std::fmt::Display for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A word that cannot name a fleet.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{word:?} cannot name a fleet: {rule}; a name has 1 to 29 of a-z A-Z 0-9 _ - and begins with a letter"
)]
pub struct NameError {
    word: String,
    rule: &'static str,
}

/// Where a fleet lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `aws`, `aws-cn`, `aws-us-gov`.
    pub partition: String,
    /// For example `eu-west-1`.
    pub region: String,
    /// Twelve digits.
    pub account: String,
}

impl Place {
    /// The place as it stands in the documents before they are filled in: what hashes are made of, so that one document
    /// has one name in every account.
    pub fn symbolic() -> Self {
        let word = |w: &str| w.to_owned();
        Place { partition: word("{partition}"), region: word("{region}"), account: word("{account}") }
    }

    /// An ARN of one of the region's services.
    pub fn arn(&self, service: &str, resource: &str) -> String {
        let Place { partition, region, account } = self;
        format!("arn:{partition}:{service}:{region}:{account}:{resource}")
    }

    /// A role's ARN: IAM's have no region.
    pub fn role_arn(&self, role: &str) -> String {
        format!("arn:{}:iam::{}:role/{role}", self.partition, self.account)
    }

    /// The values for the documents of `certrot-rules`.
    pub fn values(&self, fleet: &Fleet, device_policy: &str) -> Values {
        Values {
            partition: self.partition.clone(),
            region: self.region.clone(),
            account: self.account.clone(),
            claim_template: fleet.claim_template(),
            rotation_template: fleet.rotation_template(),
            device_policy: device_policy.to_owned(),
            thing_type: fleet.as_str().to_owned(),
            thing_group: fleet.as_str().to_owned(),
        }
    }
}

const LONGEST: usize = 29;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_template_or_a_role_could_not_have_are_refused() {
        for word in ["", "a/b", "a b", "-x", "7up", "ä", "x.y", &"x".repeat(30)] {
            assert!(Fleet::parse(word).is_err(), "{word:?}");
        }
        let longest = Fleet::parse(&"x".repeat(29)).unwrap();
        assert!(longest.rotation_template().len() <= 36);
        assert!(longest.role("ap-southeast-2", "provisioning").len() <= 64);
        assert!(longest.dead_letters().len() <= 80);
    }

    #[test]
    fn a_rule_has_no_hyphen() {
        assert_eq!(Fleet::parse("lab-2").unwrap().rule(), "lab_2_retire");
    }
}
