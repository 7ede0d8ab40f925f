//! How often a device knocks where nobody lets it in: attempts in the first minute, and in the hour after it.

use std::thread::{scope, sleep};
use std::time::Duration;

use certrot_twin::{Effect, Fault};

use crate::proxy::Proxy;
use crate::support::Device;
use crate::support::matrix::tell;

/// How the device is kept out.
#[derive(Clone, Copy, Debug)]
enum Kept {
    /// Every TCP connection is reset before a byte has passed.
    Reset,
    /// Nobody listens behind: an orderly end.
    Closed,
    /// CONNACK says no.
    Refused,
    /// The connection is closed in place of a CONNACK, as AWS does.
    Unanswered,
    /// CONNACK says that the server is busy.
    Throttled,
}

#[test]
fn a_device_that_is_kept_out_knocks_less_and_less() {
    scope(|scope| {
        for kept in [Kept::Reset, Kept::Closed, Kept::Refused, Kept::Unanswered, Kept::Throttled] {
            for fresh in [true, false] {
                scope.spawn(move || knocks(kept, fresh));
            }
        }
    });
}

fn knocks(kept: Kept, fresh: bool) {
    let mut device = Device::new().rate(RATE).allow_errors(&[""]).prepare();
    let proxy = Proxy::to(device.twin().port());
    device.edit_config(&format!("[aws]\nport = {}", proxy.port()));
    if !fresh {
        device.start();
        device.wait_steady(1);
    }
    let effect = match kept {
        Kept::Reset => {
            proxy.refuse(true);
            None
        }
        Kept::Closed => {
            device.stop_twin();
            None
        }
        Kept::Refused => Some(Effect::Refuse { status_code: 5, error_code: String::new() }),
        Kept::Unanswered => Some(Effect::CloseBefore),
        Kept::Throttled => Some(Effect::Throttle),
    };
    if let Some(effect) = effect {
        device.twin().fault(Fault::once("connect", effect).forever());
    }
    let before = proxy.accepted();
    if fresh {
        device.start();
    } else if !matches!(kept, Kept::Closed) {
        device.twin().kick(device.thing());
    }
    sleep(MINUTE);
    let first = proxy.accepted() - before;
    sleep(MINUTE * HOUR);
    let hour = proxy.accepted() - before - first;
    let who = if fresh { "a fresh device" } else { "a provisioned one" };
    tell(&format!("{kept:?}, {who}: {first} attempts in the first minute, {hour} in the {HOUR} after it"));
    assert!(first >= 1, "it does try\n{}", device.log());
    assert!(first <= AT_FIRST, "{first} attempts in a minute\n{}", device.log());
    assert!(hour <= LATER, "{hour} attempts in {HOUR} minutes\n{}", device.log());
    // Nothing was given up meanwhile. Started again, for the next try may be an hour away by now.
    proxy.refuse(false);
    if matches!(kept, Kept::Closed) {
        device.start_twin();
    }
    device.twin().clear_faults();
    assert!(device.terminate().success(), "{}", device.log());
    device.start();
    device.recovers();
}

/// A minute of the device in a second and a half of ours.
const RATE: u32 = 40;
const MINUTE: Duration = Duration::from_millis(1_500);
const HOUR: u32 = 60;
/// Both bounds are far above what the backoff allows, and far below a storm.
const AT_FIRST: usize = 12;
const LATER: usize = 40;
