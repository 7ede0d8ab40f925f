//! Topics and filters: matching, and AWS's limits on them.

/// Bytes in a topic or filter (AWS IoT quota).
const MAX_BYTES: usize = 256;
/// Slashes in a topic or filter, reserved `$aws/` topics and their first three excepted (AWS IoT quota).
const MAX_SLASHES: usize = 7;

/// Says whether `filter` matches `topic` (MQTT 3.1.1, 4.7); wildcards do not match a leading `$`.
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && (filter.starts_with('+') || filter.starts_with('#')) {
        return false;
    }
    let mut topic = topic.split('/');
    let mut filter = filter.split('/');
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) => return true,
            (Some("+"), Some(_)) => {}
            (Some(f), Some(t)) if f == t => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

/// Says whether a filter is a topic's name: without wildcards it matches that one alone.
pub fn is_plain(filter: &str) -> bool {
    !filter.contains(['+', '#'])
}

/// Says whether a client may name this topic in a PUBLISH at all.
pub fn is_publishable(topic: &str) -> bool {
    !topic.is_empty() && !topic.contains(['+', '#', '\0']) && is_within_limits(topic)
}

/// Says whether this filter is well formed and within the limits.
pub fn is_subscribable(filter: &str) -> bool {
    let levels: Vec<&str> = filter.split('/').collect();
    let well_formed = levels.iter().enumerate().all(|(i, level)| match *level {
        "#" => i + 1 == levels.len(),
        "+" => true,
        other => !other.contains(['+', '#', '\0']),
    });
    !filter.is_empty() && well_formed && is_within_limits(filter)
}

fn is_within_limits(topic: &str) -> bool {
    let allowed = if topic.starts_with("$aws/") { MAX_SLASHES + 3 } else { MAX_SLASHES };
    topic.len() <= MAX_BYTES && topic.matches('/').count() <= allowed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_as_mqtt_says() {
        for (filter, topic, expected) in [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/+", "a/b", true),
            ("a/+", "a/b/c", false),
            ("a/+", "a", false),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("#", "a/b", true),
            ("#", "$aws/x", false),
            ("+/x", "$aws/x", false),
            ("$aws/+", "$aws/x", true),
            ("a//b", "a//b", true),
            ("a/+/b", "a//b", true),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn misplaced_wildcards_and_long_topics_are_refused() {
        assert!(is_subscribable("a/+/#"));
        for filter in ["", "a/#/b", "a/b#", "a+/b"] {
            assert!(!is_subscribable(filter), "{filter}");
        }
        assert!(!is_publishable("a/+"));
        assert!(is_publishable("1/2/3/4/5/6/7/8"));
        assert!(!is_publishable("1/2/3/4/5/6/7/8/9"));
        assert!(!is_publishable(&"x".repeat(257)));
    }
}
