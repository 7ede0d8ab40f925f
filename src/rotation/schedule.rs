//! When a certificate is due: the earliest of age, expiry and orders, spread by a hash (rule 28).
//!
//! Pure arithmetic on wall times; who is asked, and what the clock is worth, is `plan`'s.

use super::identity::{Certificate, Wall};
use super::language::Policy;

/// Which rule makes a certificate due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// `max-age` from notBefore.
    MaxAge,
    /// `renew-before` to notAfter.
    RenewBefore,
    /// `certrotctl rotate-now`.
    Operator,
    /// A message on the rotate topic.
    Cloud,
    /// The device fell back to an older generation (rule 19).
    Fallback,
}

/// When, and by which rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Due {
    /// Wall time.
    pub at: Wall,
    /// The rule that is earliest.
    pub rule: Rule,
}

/// Computes when the schedule makes a certificate due; `None` where no rule ever fires.
pub fn due(certificate: &Certificate, policy: &Policy) -> Option<Due> {
    let life = certificate.not_after.saturating_sub(certificate.not_before).max(0);
    let splay = own_share(policy.splay.min(lifetime(certificate, policy) / 10), policy.spread);
    let by_age = policy.max_age.map(|age| Due {
        at: certificate.not_before.saturating_add(age).saturating_sub(splay),
        rule: Rule::MaxAge,
    });
    // A certificate that lives shorter than `renew-before` would be due at birth, for ever: two thirds of its life.
    let lead = policy.renew_before.min(life / 3);
    let by_expiry = (certificate.not_after < NEVER).then(|| Due {
        at: certificate.not_after.saturating_sub(lead).saturating_sub(splay),
        rule: Rule::RenewBefore,
    });
    [by_age, by_expiry].into_iter().flatten().min()
}

/// A certificate that is due when it is issued: the clock that says so is far ahead, and its successor would be due too,
/// one after the other for ever. Around its issue by that clock it waits a tenth of its lifetime, a day at most: so little
/// that one which is really due, because the clock was set right since, is late by no more.
pub fn not_at_birth(
    due: Due,
    certificate: &Certificate,
    policy: &Policy,
    issued_at: Wall,
    wall: Wall,
) -> Due {
    let spacing = (lifetime(certificate, policy) / 10).min(DAY);
    if due.at > issued_at || wall.saturating_sub(issued_at).saturating_abs() > spacing {
        return due;
    }
    Due { at: issued_at.saturating_add(spacing), ..due }
}

/// How long a certificate is to be used, seconds.
fn lifetime(certificate: &Certificate, policy: &Policy) -> i64 {
    let life = certificate.not_after.saturating_sub(certificate.not_before).max(0);
    policy.max_age.map_or(life, |age| age.min(life))
}

/// This device's part of `splay`: stable over restarts, since it comes from the thing name.
fn own_share(splay: i64, spread: u32) -> i64 {
    let share = i128::from(splay.max(0)) * i128::from(spread) / i128::from(u32::MAX);
    i64::try_from(share).unwrap_or(0)
}

/// FNV-1a of the thing name, 32 bits: which part of `splay` is this device's.
pub fn spread_of(thing: &str) -> u32 {
    let fnv = thing.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    // Names that differ in the last digit only must still spread: mix the high bits.
    let mixed = (fnv ^ (fnv >> 16)).wrapping_mul(0x85eb_ca6b);
    mixed ^ (mixed >> 13)
}

/// An end of validity from here on never makes a certificate due (9999-12-31, RFC 5280's “no end”).
const NEVER: Wall = 253_402_300_799;
const DAY: i64 = 86_400;

#[cfg(test)]
mod tests {
    use super::super::language::{MachineChange, RetireMode};
    use super::*;

    const BORN: Wall = 1_800_000_000;
    const AWS_END: Wall = 2_524_607_999;

    fn policy() -> Policy {
        Policy {
            max_age: Some(90 * DAY),
            renew_before: 30 * DAY,
            check_interval: DAY / 2,
            splay: DAY,
            spread: 0,
            min_interval: 3_600,
            fallback_after: DAY,
            retire_delay: 0,
            retire: RetireMode::CommitTopic,
            keep_generations: 2,
            start_jitter: 0,
            machine_change: MachineChange::Report,
            built_at: 0,
            enabled: true,
        }
    }

    fn lives_until(not_after: Wall) -> Certificate {
        Certificate { id: [0; 32], not_before: BORN, not_after }
    }

    #[test]
    fn a_certificate_to_2049_is_due_by_age() {
        let due = due(&lives_until(AWS_END), &policy()).unwrap();
        assert_eq!(due, Due { at: BORN + 90 * DAY, rule: Rule::MaxAge });
    }

    #[test]
    fn a_short_lived_certificate_is_due_before_it_expires() {
        let due = due(&lives_until(BORN + 100 * DAY), &policy()).unwrap();
        assert_eq!(due, Due { at: BORN + 70 * DAY, rule: Rule::RenewBefore });
    }

    #[test]
    fn a_certificate_shorter_than_renew_before_is_not_due_at_birth() {
        let due = due(&lives_until(BORN + 9 * DAY), &policy()).unwrap();
        assert_eq!(due, Due { at: BORN + 6 * DAY, rule: Rule::RenewBefore });
    }

    #[test]
    fn a_clock_that_is_far_ahead_makes_one_certificate_due_a_day_and_a_right_one_is_believed_again() {
        for max_age in [Some(90 * DAY), None] {
            let policy = Policy { max_age, ..policy() };
            let certificate = lives_until(BORN + 365 * DAY);
            let right = due(&certificate, &policy).unwrap();
            let far = BORN + 70 * 365 * DAY;
            let at = |wall| not_at_birth(right, &certificate, &policy, far, wall).at;
            assert_eq!(at(far), far + DAY, "not again at once");
            assert_eq!(at(far - DAY / 2), far + DAY, "nor by a floor that was saved a little before");
            assert_eq!(at(far + 2 * DAY), right.at, "a day later it is");
            assert_eq!(at(BORN + DAY), right.at, "the clock was set right");
            assert_eq!(
                not_at_birth(right, &certificate, &policy, BORN + 120, BORN + DAY),
                right,
                "an ordinary one"
            );
        }
        // One that lives for an hour is not held up for a day.
        let certificate = lives_until(BORN + 3_600);
        let right = due(&certificate, &policy()).unwrap();
        let far = BORN + 7_200;
        assert_eq!(not_at_birth(right, &certificate, &policy(), far, far).at, far + 360);
    }

    #[test]
    fn splay_only_ever_comes_earlier_and_by_a_tenth_of_the_life_at_most_rule_28() {
        for spread in [0, 1, u32::MAX / 2, u32::MAX] {
            let policy = Policy { splay: 1_000 * DAY, spread, ..policy() };
            let at = due(&lives_until(AWS_END), &policy).unwrap().at;
            assert!((BORN + 81 * DAY..=BORN + 90 * DAY).contains(&at), "{spread}: {}", (at - BORN) / DAY);
        }
        let last = Policy { splay: DAY, spread: u32::MAX, ..policy() };
        assert_eq!(due(&lives_until(AWS_END), &last).unwrap().at, BORN + 89 * DAY, "it is really taken off");
    }

    #[test]
    fn names_that_differ_in_one_digit_spread_over_the_whole_splay() {
        let mut shares: alloc::vec::Vec<i64> =
            (0..1_000).map(|n| own_share(100, spread_of(&alloc::format!("SN-{n:04}")))).collect();
        shares.sort_unstable();
        for (part, chunk) in shares.chunks(100).enumerate() {
            let middle = chunk[50];
            let ideal = i64::try_from(part).unwrap() * 10 + 5;
            assert!((middle - ideal).abs() < 6, "part {part}: {middle}");
        }
    }
}
