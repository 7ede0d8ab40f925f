//! Topics: built from checked names once, compared whole, never put together elsewhere.
//!
//! AWS's own (fleet provisioning) and the daemon's (`device/<thing>/certrot/…`); answers always in JSON. It knows
//! AWS's limits for topics, because breaking one costs the connection.

/// Longest topic or filter in bytes (AWS IoT Core message broker quotas).
pub const MAX_TOPIC: usize = 256;

/// Most slashes in a topic or filter (AWS IoT Core message broker quotas).
pub const MAX_SLASHES: usize = 7;

/// Largest payload in bytes (AWS IoT Core message broker quotas).
pub const MAX_PAYLOAD: usize = 128 * 1024;

/// Why a name or topic was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Not a template name.
    #[error("{0:?} is not a template name: 1 to 36 of 0-9 A-Z a-z _ -")]
    Template(String),
    /// Not a thing name, or one that is kept for claims.
    #[error("{0:?} is not a thing name: 1 to 100 of 0-9 A-Z a-z : _ -, and not claim-…")]
    Thing(String),
    /// Longer than AWS allows.
    #[error("a topic of {0} bytes: AWS allows 256")]
    TooLong(usize),
    /// More slashes than AWS allows.
    #[error("a topic with {0} slashes: AWS allows 7")]
    TooDeep(usize),
    /// Empty, with a NUL, or with a wildcard where none may be.
    #[error("not a topic or filter that MQTT allows")]
    Malformed,
    /// A payload above AWS's limit.
    #[error("a payload of {0} bytes: AWS allows 131072")]
    PayloadTooLarge(usize),
}

impl TopicError {
    /// Says who can clear it.
    pub fn remedy(&self) -> &'static str {
        match self {
            TopicError::Template(_) => "correct the template's name in the configuration",
            TopicError::Thing(_) => "correct the serial or thing name in the configuration",
            TopicError::TooLong(_) | TopicError::TooDeep(_) | TopicError::Malformed => "use another topic",
            TopicError::PayloadTooLarge(_) => "send less at once",
        }
    }
}

/// Something asked by one topic and answered on two others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    request: String,
    accepted: String,
    rejected: String,
}

impl Operation {
    /// CreateCertificateFromCsr: the key stays here.
    pub fn create_from_csr() -> Self {
        Self::at("$aws/certificates/create-from-csr/json".to_owned())
    }

    /// CreateKeysAndCertificate: the cloud makes the key.
    pub fn create_keys() -> Self {
        Self::at("$aws/certificates/create/json".to_owned())
    }

    /// RegisterThing by a template.
    pub fn register(template: &str) -> Result<Self, TopicError> {
        check_template(template)?;
        Ok(Self::at(format!("$aws/provisioning-templates/{template}/provision/json")))
    }

    /// The commit of a thing: “retire my older certificates”.
    pub fn commit(thing: &str) -> Result<Self, TopicError> {
        check_thing(thing)?;
        Ok(Self::at(format!("device/{thing}/certrot/commit")))
    }

    /// Whether an answer does not say which request it is for: AWS's own do not, a commit's do (rule 14).
    pub(super) fn answers_are_anonymous(&self) -> bool {
        self.request.starts_with("$aws/")
    }

    fn at(request: String) -> Self {
        Self { accepted: format!("{request}/accepted"), rejected: format!("{request}/rejected"), request }
    }

    /// Where it is asked.
    pub fn request(&self) -> &str {
        &self.request
    }

    /// Where a good answer comes.
    pub fn accepted(&self) -> &str {
        &self.accepted
    }

    /// Where a refusal comes.
    pub fn rejected(&self) -> &str {
        &self.rejected
    }

    /// Both answer topics, to subscribe to before asking.
    pub fn answers(&self) -> [String; 2] {
        [self.accepted.clone(), self.rejected.clone()]
    }

    /// Reads a topic: `Some(true)` where it is the accepted one, `Some(false)` for the rejected one.
    pub fn verdict(&self, topic: &str) -> Option<bool> {
        if topic == self.accepted {
            Some(true)
        } else if topic == self.rejected {
            Some(false)
        } else {
            None
        }
    }
}

/// Where the cloud orders a rotation of a thing.
pub fn rotate(thing: &str) -> Result<String, TopicError> {
    check_thing(thing)?;
    Ok(format!("device/{thing}/certrot/rotate"))
}

/// The standing filters of a device: commit's answers and the rotate topic.
pub fn standing(thing: &str) -> Result<Vec<String>, TopicError> {
    let mut filters = Operation::commit(thing)?.answers().to_vec();
    filters.push(rotate(thing)?);
    Ok(filters)
}

/// Says whether a topic is the daemon's own, so never open to `publish` and `subscribe`.
pub fn is_reserved(topic: &str) -> bool {
    let mut levels = topic.split('/');
    match levels.next() {
        Some("device") => levels.nth(1) == Some("certrot"),
        Some(first) => first.starts_with('$'),
        None => false,
    }
}

/// Says whether a filter asks for topics of the daemon by name (a wildcard above them does not: what comes is sieved).
pub fn filter_names_reserved(filter: &str) -> bool {
    let mut levels = filter.split('/');
    match levels.next() {
        Some("device" | "+") => levels.nth(1) == Some("certrot"),
        Some(first) => first.starts_with('$'),
        None => false,
    }
}

/// Says whether a filter matches a topic (MQTT 3.1.1, 4.7); wildcards at the front do not match `$…`.
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && !filter.starts_with('$') {
        return false;
    }
    let mut topic = topic.split('/');
    let mut filter = filter.split('/');
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
}

/// Checks what AWS would answer with a closed connection: length, depth, form.
pub fn check_topic(topic: &str) -> Result<(), TopicError> {
    if topic.contains(['+', '#']) {
        return Err(TopicError::Malformed);
    }
    check_size(topic)
}

/// Checks a filter as [`check_topic`] does, with wildcards where MQTT allows them.
pub fn check_filter(filter: &str) -> Result<(), TopicError> {
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let well_placed = match level {
            "+" => true,
            "#" => levels.peek().is_none(),
            plain => !plain.contains(['+', '#']),
        };
        if !well_placed {
            return Err(TopicError::Malformed);
        }
    }
    check_size(filter)
}

/// Checks a payload's size.
pub fn check_payload(payload: &[u8]) -> Result<(), TopicError> {
    if payload.len() > MAX_PAYLOAD { Err(TopicError::PayloadTooLarge(payload.len())) } else { Ok(()) }
}

fn check_size(topic: &str) -> Result<(), TopicError> {
    let slashes = topic.bytes().filter(|b| *b == b'/').count();
    if topic.is_empty() || topic.contains('\0') {
        Err(TopicError::Malformed)
    } else if topic.len() > MAX_TOPIC {
        Err(TopicError::TooLong(topic.len()))
    } else if slashes > MAX_SLASHES {
        Err(TopicError::TooDeep(slashes))
    } else {
        Ok(())
    }
}

/// Template names as CreateProvisioningTemplate takes them.
fn check_template(name: &str) -> Result<(), TopicError> {
    let good = (1..=36).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    if good { Ok(()) } else { Err(TopicError::Template(bounded(name))) }
}

/// Thing names as AWS takes them, shortened by rule 23, and never in the claims' space.
fn check_thing(name: &str) -> Result<(), TopicError> {
    let good = (1..=100).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b":_-".contains(&b))
        && !name.starts_with("claim-");
    if good { Ok(()) } else { Err(TopicError::Thing(bounded(name))) }
}

fn bounded(name: &str) -> String {
    name.chars().take(48).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_change_the_topic_are_refused() {
        for bad in ["", "a/b", "a+", "#", "a b", "ä", "claim-1", &"x".repeat(101)] {
            assert!(Operation::commit(bad).is_err(), "{bad}");
            assert!(rotate(bad).is_err(), "{bad}");
            assert!(standing(bad).is_err(), "{bad}");
        }
        for bad in ["", "a/b", "a:b", "+", &"x".repeat(37)] {
            assert!(Operation::register(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn topics_are_those_of_aws() {
        assert_eq!(Operation::create_keys().request(), "$aws/certificates/create/json");
        assert_eq!(
            Operation::create_from_csr().accepted(),
            "$aws/certificates/create-from-csr/json/accepted"
        );
        let register = Operation::register("certrot-claim").unwrap();
        assert_eq!(register.rejected(), "$aws/provisioning-templates/certrot-claim/provision/json/rejected");
        assert_eq!(Operation::commit("SN-1").unwrap().request(), "device/SN-1/certrot/commit");
    }

    #[test]
    fn an_answer_of_another_template_is_nobodys() {
        let register = Operation::register("a").unwrap();
        assert_eq!(register.verdict("$aws/provisioning-templates/a/provision/json/accepted"), Some(true));
        assert_eq!(register.verdict("$aws/provisioning-templates/a/provision/json/rejected"), Some(false));
        assert_eq!(register.verdict("$aws/provisioning-templates/b/provision/json/accepted"), None);
        assert_eq!(register.verdict(register.request()), None);
    }

    #[test]
    fn what_costs_the_connection_is_refused_before_it_is_sent() {
        assert_eq!(check_topic(&"x".repeat(257)), Err(TopicError::TooLong(257)));
        assert_eq!(check_topic("a/b/c/d/e/f/g/h/i"), Err(TopicError::TooDeep(8)));
        assert_eq!(check_topic("a/b/c/d/e/f/g/h"), Ok(()));
        assert_eq!(check_topic("a/+"), Err(TopicError::Malformed));
        assert_eq!(check_topic(""), Err(TopicError::Malformed));
        assert_eq!(check_filter("a/#/b"), Err(TopicError::Malformed));
        assert_eq!(check_filter("a+/b"), Err(TopicError::Malformed));
        assert_eq!(check_filter("a/+/b/#"), Ok(()));
        assert_eq!(
            check_payload(&vec![0; MAX_PAYLOAD + 1]),
            Err(TopicError::PayloadTooLarge(MAX_PAYLOAD + 1))
        );
        assert_eq!(check_payload(&vec![0; MAX_PAYLOAD]), Ok(()));
    }

    #[test]
    fn filters_match_as_mqtt_says() {
        assert!(matches("a/#", "a"));
        assert!(matches("a/#", "a/b/c"));
        assert!(matches("+/b", "a/b"));
        assert!(!matches("+", "a/b"));
        assert!(!matches("a/b", "a"));
        assert!(!matches("#", "$aws/x"));
        assert!(matches("$aws/+", "$aws/x"));
    }

    #[test]
    fn the_daemons_topics_are_seen_whoever_the_thing_is() {
        for topic in ["$aws/x", "$SYS", "device/a/certrot/commit", "device/b/certrot"] {
            assert!(is_reserved(topic), "{topic}");
        }
        for topic in ["device/a/x", "device/certrot/x", "certrot", "device/a/x/certrot"] {
            assert!(!is_reserved(topic), "{topic}");
        }
        assert!(filter_names_reserved("+/+/certrot/#"));
        assert!(filter_names_reserved("device/+/certrot/#"));
        assert!(!filter_names_reserved("device/a/#"));
    }
}
