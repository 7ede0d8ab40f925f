//! Rule 19: the certificate in use is refused and an older one is still alive: the device falls back to it, says so,
//! and rotates at once.

use certrot_twin::{Options, Refusal, Status};

use crate::support::{Builder, Device};
use crate::tools::{RATE, id_of, mark, refusals, refuse, two_alive, wait_in_use};

#[test]
fn a_refused_current_gives_way_to_the_older_one_which_rotates_at_once_and_the_refused_one_is_retired_rule_19()
{
    let mut device = two_alive(named());
    let status = device.status();
    let (first, second) = (id_of(&status, 1), id_of(&status, 2));
    // No new certificate for a while, so that what lies between is seen.
    device.twin().fault(refuse("create-from-csr", 429).forever());
    let since = device.twin().event_count();
    device.twin().set_status(&second, Status::Inactive).unwrap();

    let back = wait_in_use(&device, 1);
    assert!(refusals(&device, since, &second) >= 3, "{}", device.story());
    assert_eq!(mark(&back, 2), Some("refused"), "{back:#}");
    assert_eq!(device.current_generation(), Some(1));
    let waits = device.wait_for("the rotation that is due at once", |s| s["rotation"]["failures"] != 0);
    assert_eq!(waits["rotation"]["rule"], "fallback", "{waits:#}");

    // A restart reads the mark and does not go forward to the refused one again.
    let since = device.twin().event_count();
    device.kill9();
    device.start();
    wait_in_use(&device, 1);
    device.wait_for("the rotation that is still due", |s| s["rotation"]["failures"] != 0);
    assert_eq!(refusals(&device, since, &second), 0, "{}", device.story());
    assert_eq!(device.current_generation(), Some(1));

    device.twin().clear_faults();
    let new = device.wait_steady(3);
    assert_eq!(mark(&new, 1), Some("retired").filter(|_| mark(&new, 1).is_some()), "{new:#}");
    for dead in [first, second] {
        let status = device.twin().certificate(&dead).map(|c| c.status);
        assert_ne!(status, Some(Status::Active), "{}", device.story());
    }
    assert_eq!(device.active().len(), 1);
    device.allow_errors(&["certificate-refused"]);
    device.expect_errors(&["fallen-back"]);
    device.finish();
}

#[test]
fn a_commit_in_flight_holds_the_fallback_back_for_a_quarter_of_an_hour_rule_19() {
    // At this rate three refusals come long before the quarter of an hour is over.
    let device = two_alive(named());
    device.twin().fault(refuse("create-from-csr", 429).forever());
    let status = device.status();
    let committed = device.retire_json().unwrap()["committedAt"].as_i64().unwrap();
    device.twin().set_status(&id_of(&status, 2), Status::Inactive).unwrap();
    wait_in_use(&device, 1);
    let came = device
        .twin()
        .events()
        .into_iter()
        .rev()
        .find(|l| matches!(&l.event, certrot_twin::Event::Connect { principal, refused: None, .. } if *principal == id_of(&status, 1)))
        .unwrap();
    assert!(came.at_ms / 1000 - committed >= 15 * 60 - CLOCKS_APART, "{} s", came.at_ms / 1000 - committed);
    device.twin().clear_faults();
    device.wait_steady(3);
    device.allow_errors(&["certificate-refused"]);
    device.expect_errors(&["fallen-back"]);
    device.finish();
}

#[test]
fn both_certificates_refused_are_tried_in_turn_and_the_first_that_is_let_in_carries_on_rule_19() {
    let device = two_alive(named());
    device.twin().fault(refuse("create-from-csr", 429).forever());
    let status = device.status();
    let (first, second) = (id_of(&status, 1), id_of(&status, 2));
    let since = device.twin().event_count();
    device.twin().set_status(&second, Status::Inactive).unwrap();
    device.twin().set_status(&first, Status::Inactive).unwrap();
    device.wait_until("both refused, in turn", || {
        refusals(&device, since, &second) >= 4 && refusals(&device, since, &first) >= 2
    });
    assert_eq!(device.current_generation(), Some(2), "nothing is switched on a refusal");
    device.twin().set_status(&first, Status::Active).unwrap();
    wait_in_use(&device, 1);
    device.twin().clear_faults();
    device.wait_steady(3);
    device.expect_errors(&["certificate-refused", "fallen-back"]);
    device.finish();
}

/// The daemon's and the twin's clock start within a second of real time of each other. Seconds at [`RATE`].
const CLOCKS_APART: i64 = 180;

/// A twin that refuses after the handshake, so that its events name the certificate.
fn named() -> Builder {
    Device::new().rate(RATE).twin(|o: &mut Options| o.certificate_refusal = Refusal::Close)
}
