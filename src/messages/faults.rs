//! What the cloud's policy has forbidden, and to whom it happened: each such publish or subscription costs the session
//! (AWS closes it), so it is not tried again soon, and a user whose messages do it again and again is shut out.

use std::collections::{BTreeMap, VecDeque};

use tokio::time::{Duration, Instant};

/// What is remembered of forbidden messages.
#[derive(Debug, Default)]
pub struct Faults {
    forbidden: VecDeque<(Act, String, Instant)>,
    of_user: BTreeMap<u32, VecDeque<Instant>>,
}

/// What was forbidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Publishing on a topic.
    Publish,
    /// Subscribing to a filter.
    Subscribe,
}

impl Faults {
    /// Notes that the policy forbids it, and who asked for it.
    pub fn forbid(&mut self, now: Instant, act: Act, name: &str, users: impl Iterator<Item = u32>) {
        self.forbidden.retain(|(a, n, until)| *until > now && (*a, n.as_str()) != (act, name));
        if self.forbidden.len() == MOST_NAMES {
            self.forbidden.pop_front();
        }
        self.forbidden.push_back((act, name.to_owned(), now + REMEMBERED));
        for user in users {
            let faults = self.of_user.entry(user).or_default();
            faults.push_back(now);
            if faults.len() > FAULTS {
                faults.pop_front();
            }
        }
    }

    /// Whether it is known to be forbidden.
    pub fn is_forbidden(&self, now: Instant, act: Act, name: &str) -> bool {
        self.forbidden.iter().any(|(a, n, until)| *until > now && (*a, n.as_str()) == (act, name))
    }

    /// Until when a user is shut out, where it is.
    pub fn shut_out(&self, now: Instant, user: u32) -> Option<Instant> {
        let faults = self.of_user.get(&user).filter(|faults| faults.len() == FAULTS)?;
        faults.front().map(|first| *first + WINDOW).filter(|until| *until > now)
    }

    /// Forgets everything: the configuration, and with it perhaps the policy, is another.
    pub fn forget(&mut self) {
        *self = Faults::default();
    }
}

/// How long a topic or filter is remembered as forbidden.
const REMEMBERED: Duration = Duration::from_secs(600);
/// This many faults of a user …
const FAULTS: usize = 3;
/// … within this time shut it out until the first of them is this old.
const WINDOW: Duration = Duration::from_secs(3600);
/// Names that are remembered; with fewer faults than this a user is shut out.
const MOST_NAMES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_topic_is_remembered_for_a_while_and_as_what_it_was() {
        let (now, mut faults) = (Instant::now(), Faults::default());
        faults.forbid(now, Act::Publish, "a", [7].into_iter());
        assert!(faults.is_forbidden(now, Act::Publish, "a"));
        assert!(
            !faults.is_forbidden(now, Act::Subscribe, "a") && !faults.is_forbidden(now, Act::Publish, "b")
        );
        assert!(!faults.is_forbidden(now + REMEMBERED, Act::Publish, "a"));
        assert_eq!(faults.shut_out(now, 7), None, "one mistake is a mistake");
    }

    #[test]
    fn a_user_whose_messages_are_forbidden_again_and_again_is_shut_out_for_an_hour_and_nobody_else() {
        let (now, mut faults) = (Instant::now(), Faults::default());
        let minutes = |n: u64| now + Duration::from_secs(60 * n);
        for n in 0..3 {
            faults.forbid(minutes(n), Act::Publish, &n.to_string(), [7].into_iter());
        }
        assert_eq!(faults.shut_out(minutes(3), 7), Some(minutes(60)));
        assert_eq!(faults.shut_out(minutes(3), 8), None);
        assert_eq!(faults.shut_out(minutes(60), 7), None);
        for n in 0..200 {
            faults.forbid(minutes(1), Act::Subscribe, &n.to_string(), [7].into_iter());
        }
        assert!(faults.forbidden.len() <= MOST_NAMES, "memory is bounded");
    }
}
