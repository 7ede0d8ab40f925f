//! Golden screens: the status in every state that a person may meet, and whatever happens it fits 80 by 24.

use super::{Screen, status};
use crate::control::wire::*;
use crate::ctl::words::Paint;

/// 2026-11-24 10:00:00 UTC.
const NOW: i64 = 1_795_514_400;
const HOUR: i64 = 3600;
const DAY: i64 = 86_400;

fn at(offset: i64) -> Time {
    Time::from_seconds(NOW + offset)
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// A device that has nothing yet.
fn fresh(state: State, why: &str) -> Status {
    Status {
        now: at(0),
        version: "0.1.0".into(),
        state,
        since: at(-90),
        why: why.into(),
        serial: some("SN-0001"),
        clock: Clock { trusted: true, text: None },
        rotation: Rotation { enabled: true, ..Rotation::default() },
        ..Status::default()
    }
}

/// A device with everything in order.
fn steady() -> Status {
    Status {
        thing_name: some("SN-0001"),
        since: at(-3 * HOUR),
        connected: true,
        connection: Connection { since: Some(at(-3 * HOUR)), ..Connection::default() },
        certificate: Some(Certificate {
            id: "0123456789abcdef".repeat(4),
            not_before: at(-3 * DAY),
            not_after: Time::from_seconds(2_524_607_999),
            key_type: "ecdsa-p256".into(),
            generation: 7,
        }),
        rotation: Rotation {
            enabled: true,
            due_at: Some(at(87 * DAY)),
            rule: some("max-age"),
            last_result: Some(LastResult { ok: true, at: at(-3 * DAY), ..LastResult::default() }),
            ..Rotation::default()
        },
        hooks: Hooks {
            generation: Some(7),
            results: vec![HookResult { name: "10-nginx".into(), ok: true, ..HookResult::default() }],
            ..Hooks::default()
        },
        generations: vec![generation(6, Mark::Retired, false), generation(7, Mark::Clear, true)],
        ..fresh(State::Steady, "nothing to do until the next rotation")
    }
}

fn generation(number: u32, mark: Mark, current: bool) -> Generation {
    Generation { number, stage: Stage::Proved, certificate_id: some("ab"), not_before: None, mark, current }
}

fn shown(given: &Status) -> String {
    let text = status(given, Screen::standard(Paint(false)));
    assert!(text.lines().count() < 24, "{} lines:\n{text}", text.lines().count());
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{} wide: {line}", line.chars().count());
        assert_eq!(line.trim_end(), line, "blanks at the end");
    }
    text
}

#[track_caller]
fn golden(given: &Status, expected: &str) {
    let text = shown(given);
    assert!(text == expected, "shown:\n{text}\nexpected:\n{expected}");
}

#[test]
fn a_device_that_is_provisioning_says_which_step() {
    let mut given = fresh(State::Registering, "RegisterThing with template certrot-claim");
    given.until = Some(at(30));
    given.operation =
        Some(Operation { id: 1, kind: "provision".into(), step: "register".into(), started: at(-2) });
    golden(
        &given,
        "\
certrotd 0.1.0 · serial SN-0001

Provisioning: registering the new certificate
  since      2026-11-24 09:58:30 UTC (90 s)
  why        RegisterThing with template certrot-claim
  next       gives this step up at 2026-11-24 10:00:30 UTC (in 30 s)

session      not connected
certificate  none in use
rotation     on, none so far
retire       nothing pending
",
    );
}

#[test]
fn a_steady_device_says_when_the_next_rotation_is() {
    golden(
        &steady(),
        "\
certrotd 0.1.0 · thing SN-0001

Steady: provisioned and connected
  since      2026-11-24 07:00:00 UTC (3 h)
  why        nothing to do until the next rotation
  next       rotates at 2027-02-19 10:00:00 UTC (in 87 days), by max-age

session      connected since 2026-11-24 07:00:00 UTC (3 h)
certificate  generation 7, ecdsa-p256, issued 2026-11-21 (3 days ago)
             0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
             valid until 2049-12-31 23:59:59 UTC (in 23 years)
rotation     due 2027-02-19, last done 2026-11-21 (3 days ago)
retire       nothing pending
hooks        generation 7: 10-nginx ok
on disk      6 (proved, retired), 7 (proved, in use)
",
    );
}

#[test]
fn a_rotating_device_says_which_step() {
    let mut given = steady();
    given.state = State::Proving;
    given.since = at(-4);
    given.why = "ordered by user 0".into();
    given.until = Some(at(56));
    given.operation =
        Some(Operation { id: 9, kind: "rotation".into(), step: "prove".into(), started: at(-6) });
    given.rotation.last_result = None;
    given.generations.push(Generation { stage: Stage::Registered, ..generation(8, Mark::Clear, false) });
    golden(
        &given,
        "\
certrotd 0.1.0 · thing SN-0001

Rotating: proving the new certificate in a session
  since      2026-11-24 09:59:56 UTC (4 s)
  why        ordered by user 0
  next       gives this step up at 2026-11-24 10:00:56 UTC (in 56 s)

session      connected since 2026-11-24 07:00:00 UTC (3 h)
certificate  generation 7, ecdsa-p256, issued 2026-11-21 (3 days ago)
             0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
             valid until 2049-12-31 23:59:59 UTC (in 23 years)
rotation     due 2027-02-19, none so far
retire       nothing pending
hooks        generation 7: 10-nginx ok
on disk      6 (proved, retired), 7 (proved, in use), 8 (registered)
",
    );
}

#[test]
fn a_waiting_device_says_until_when_and_why() {
    let mut given = fresh(
        State::Waiting,
        "RegisterThing was answered ACCESS_DENIED: the hook denies it, fails or is throttled (rule 6)",
    );
    given.until = Some(at(300));
    given.alerts = vec![Alert {
        level: Level::Warn,
        code: "register-denied".into(),
        text: "the claim was denied 4 times".into(),
        remedy: some(
            "see that the serial is on the allow-list; if the thing holds a certificate: certrot-fleet reclaim SN-0001",
        ),
    }];
    golden(
        &given,
        "\
certrotd 0.1.0 · serial SN-0001

Not provisioned yet, and waiting
  since      2026-11-24 09:58:30 UTC (90 s)
  why        RegisterThing was answered ACCESS_DENIED: the hook denies it, fails
             or is throttled (rule 6)
  next       goes on at 2026-11-24 10:05:00 UTC (in 5 min)

session      not connected
certificate  none in use
rotation     on, none so far
retire       nothing pending

WARN         the claim was denied 4 times
             → see that the serial is on the allow-list; if the thing holds a
             certificate: certrot-fleet reclaim SN-0001
",
    );
}

#[test]
fn a_contested_device_says_that_another_has_its_client_id() {
    let mut given = steady();
    given.state = State::Contested;
    given.connected = false;
    given.why = "5 sessions were closed within 10 minutes of their start".into();
    given.until = Some(at(600));
    given.connection = Connection {
        since: Some(at(-20)),
        cause: some("contested"),
        text: some("another client connects with the client id SN-0001"),
        failures: 5,
        remedy: some("find the copied disk or the second agent and stop it"),
        retry_at: Some(at(580)),
    };
    given.alerts = vec![Alert {
        level: Level::Error,
        code: "contested".into(),
        text: "no rotation while another client has our client id".into(),
        remedy: None,
    }];
    golden(
        &given,
        "\
certrotd 0.1.0 · thing SN-0001

Contested: another client uses this device's client id
  since      2026-11-24 07:00:00 UTC (3 h)
  why        5 sessions were closed within 10 minutes of their start
  next       connects again at 2026-11-24 10:09:40 UTC (in 9 min)

session      not connected since 2026-11-24 09:59:40 UTC (20 s), 5 failures:
             another client connects with the client id SN-0001
             → find the copied disk or the second agent and stop it
certificate  generation 7, ecdsa-p256, issued 2026-11-21 (3 days ago)
             0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
             valid until 2049-12-31 23:59:59 UTC (in 23 years)
rotation     due 2027-02-19, last done 2026-11-21 (3 days ago)
retire       nothing pending
hooks        generation 7: 10-nginx ok
on disk      6 (proved, retired), 7 (proved, in use)

ERROR        no rotation while another client has our client id
",
    );
}

#[test]
fn a_device_without_a_serial_says_how_to_give_it_one() {
    let mut given = fresh(State::AwaitingSerial, "neither the configuration nor the store has a serial");
    given.serial = None;
    golden(
        &given,
        "\
certrotd 0.1.0

Waiting for its serial: certrotctl provision SERIAL
  since      2026-11-24 09:58:30 UTC (90 s)
  why        neither the configuration nor the store has a serial

session      not connected
certificate  none in use
rotation     on, none so far
retire       nothing pending
",
    );
}

#[test]
fn a_device_that_cannot_reach_the_cloud_says_where_it_ends_and_what_clears_it() {
    let mut given = steady();
    given.connected = false;
    given.connection = Connection {
        since: Some(at(-40 * 60)),
        cause: some("dns"),
        text: some("the name abc-ats.iot.eu-west-1.amazonaws.com has no address"),
        failures: 1,
        remedy: some("see the network's name servers (resolvectl status)"),
        retry_at: Some(at(45)),
    };
    given.retire = Retire {
        pending: true,
        mode: "commit-topic".into(),
        generation: Some(7),
        attempts: 3,
        retry_at: Some(at(120)),
        text: None,
    };
    golden(
        &given,
        "\
certrotd 0.1.0 · thing SN-0001

Steady, but not connected
  since      2026-11-24 07:00:00 UTC (3 h)
  why        nothing to do until the next rotation
  next       connects again at 2026-11-24 10:00:45 UTC (in 45 s)

session      not connected since 2026-11-24 09:20:00 UTC (40 min), 1 failure:
             the name abc-ats.iot.eu-west-1.amazonaws.com has no address
             → see the network's name servers (resolvectl status)
certificate  generation 7, ecdsa-p256, issued 2026-11-21 (3 days ago)
             0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
             valid until 2049-12-31 23:59:59 UTC (in 23 years)
rotation     due 2027-02-19, last done 2026-11-21 (3 days ago)
retire       the commit of generation 7 is not accepted yet, sent 3 times
hooks        generation 7: 10-nginx ok
on disk      6 (proved, retired), 7 (proved, in use)
",
    );
}

#[test]
fn an_expired_certificate_is_the_first_thing_that_is_said() {
    let mut given = steady();
    given.connected = false;
    given.state = State::Waiting;
    given.why = "every generation was refused; the claim comes next".into();
    given.until = Some(at(2 * HOUR));
    given.clock = Clock { trusted: false, text: some("not synchronised for 12 min, going by the floor") };
    given.rotation.due_at = Some(at(-33 * DAY));
    given.rotation.failures = 12;
    given.rotation.last_result = Some(LastResult {
        ok: false,
        at: at(-HOUR),
        step: some("issue"),
        text: some("no answer within 30 s"),
    });
    if let Some(certificate) = &mut given.certificate {
        certificate.not_after = at(-2 * DAY);
    }
    golden(
        &given,
        "\
certrotd 0.1.0 · thing SN-0001

EXPIRED certificate. Not connected, and waiting
  since      2026-11-24 07:00:00 UTC (3 h)
  why        every generation was refused; the claim comes next
  next       goes on at 2026-11-24 12:00:00 UTC (in 2 h)

session      not connected since 2026-11-24 07:00:00 UTC (3 h)
certificate  generation 7, ecdsa-p256, issued 2026-11-21 (3 days ago)
             0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
             EXPIRED since 2026-11-22 10:00:00 UTC (2 days ago)
rotation     overdue since 2026-10-22, last failed at issue 60 min ago: no
             answer within 30 s, 12 in a row failed
retire       nothing pending
hooks        generation 7: 10-nginx ok
on disk      6 (proved, retired), 7 (proved, in use)
clock        not trusted: not synchronised for 12 min, going by the floor
",
    );
}

#[test]
fn an_overdue_rotation_is_said_as_such() {
    let mut given = steady();
    given.rotation.due_at = Some(at(-DAY * 3));
    assert!(shown(&given).contains(
        "  next       rotation is overdue since 2026-11-21 10:00:00 UTC (3 days ago), by\n             max-age\n"
    ));
}

#[test]
fn a_switched_off_rotation_is_not_announced() {
    let mut given = steady();
    given.rotation.enabled = false;
    let text = shown(&given);
    assert!(!text.contains("  next") && text.contains("rotation     switched off"), "{text}");
}

#[test]
fn the_worst_status_still_fits_one_screen_and_counts_what_is_left_off() {
    let long = "many words about what went wrong in the far away cloud ".repeat(20);
    let mut given = steady();
    given.connected = false;
    given.state = State::Waiting;
    given.why = long.clone();
    given.version = "0.1.0".into();
    given.connection.text = some(&long);
    given.connection.remedy = some(&long);
    given.retire = Retire { pending: true, text: some(&long), ..Retire::default() };
    given.hooks.results = (0..40)
        .map(|n| HookResult { name: format!("hook-{n}"), text: some(&long), ..HookResult::default() })
        .collect();
    given.generations = (0..90).map(|n| generation(n, Mark::Refused, false)).collect();
    given.clock = Clock { trusted: false, text: some(&long) };
    given.alerts = (0..9)
        .map(|_| Alert { level: Level::Error, code: "x".into(), text: long.clone(), remedy: some(&long) })
        .collect();
    let text = shown(&given);
    assert!(text.contains("9 alerts more in: certrotctl --json status"), "{text}");
}

#[test]
fn alerts_come_worst_first() {
    let mut given = steady();
    let alert = |level, text: &str| Alert { level, code: "x".into(), text: text.into(), remedy: None };
    given.alerts = vec![alert(Level::Info, "c"), alert(Level::Error, "a"), alert(Level::Warn, "b")];
    assert!(
        shown(&given).ends_with("\n\nERROR        a\nWARN         b\nINFO         c\n"),
        "{}",
        shown(&given)
    );
}

#[test]
fn names_of_the_cloud_cannot_steer_the_terminal() {
    let mut given = steady();
    given.thing_name = some("a\u{1b}]0;x\u{7}");
    given.why = "b\u{1b}[2J\nc".into();
    given.hooks.results[0].name = "\u{1b}c".into();
    let text = shown(&given);
    assert!(!text.contains(['\u{1b}', '\u{7}']), "{text:?}");
}

#[test]
fn colour_changes_no_letter() {
    let given = steady();
    let coloured = status(&given, Screen::standard(Paint(true)));
    assert!(coloured.contains("\u{1b}[1;32m"));
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain += before;
        rest = after.split_once('m').map_or("", |(_, rest)| rest);
    }
    assert_eq!(plain + rest, shown(&given));
}

#[test]
fn a_hook_whose_turn_has_not_come_has_not_failed() {
    let mut given = steady();
    let hook = |name: &str| HookResult { name: name.into(), ..HookResult::default() };
    given.hooks.results = vec![
        HookResult { ok: true, ..hook("10-nginx") },
        HookResult { text: some("ended with 3"), ..hook("20-mail") },
        HookResult { pending: true, ..hook("30-vpn") },
    ];
    let text = shown(&given);
    let told = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("10-nginx ok, 20-mail FAILED (ended with 3), 30-vpn still to run"), "{text}");
}
