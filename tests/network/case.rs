//! One case: a device, a byte of its traffic, and what the network does there; then what must be true.

use std::fmt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::proxy::{Deed, Place, Proxy, Way};
use crate::support::matrix::{End, Scene};
use crate::support::{Device, PATIENCE, nothing_to_do};

/// One case of the matrix.
#[derive(Clone, Debug)]
pub struct Case {
    /// What the daemon does.
    pub scene: Scene,
    /// What the network does.
    pub deed: Deed,
    /// Where.
    pub place: Place,
}

impl Case {
    /// All of a scene: a reset at each byte that passes in a whole run, and one of the others, in turn.
    pub fn all(scene: Scene) -> Vec<Case> {
        let mut cases = Vec::new();
        for (connection, passed) in whole_run(scene).into_iter().enumerate() {
            for way in [Way::Up, Way::Down] {
                for byte in 0..passed[way as usize] {
                    let place = Place { connection, way, byte };
                    let other = OTHERS[usize::try_from(byte).unwrap_or(0) % OTHERS.len()];
                    cases.extend([Deed::Reset, other].map(|deed| Case { scene, deed, place }));
                }
            }
        }
        cases
    }

    /// Runs it; panics where a promise is broken.
    pub fn run(&self) -> End {
        let (device, proxy) = begun(self.scene, Some((self.place, self.deed)));
        let end = Instant::now() + PATIENCE;
        while !proxy.is_done() && !is_over(self.scene, &device) {
            assert!(Instant::now() < end, "neither met nor over\n{}{}", device.log(), device.story());
            sleep(LOOK);
        }
        let met = proxy.is_done();
        device.current_is_whole();
        // What the daemon was told at this byte it may not have heard yet.
        sleep(LOOK);
        device.recovers();
        if met { End::Injected } else { End::NotMet }
    }
}

/// The bytes of a run in which nothing happens, of each connection: up, down.
fn whole_run(scene: Scene) -> Vec<[u64; 2]> {
    let (device, proxy) = begun(scene, None);
    device.wait_until("the end of the scene", || is_over(scene, &device));
    let passed = proxy.passed();
    device.recovers();
    passed
}

fn begun(scene: Scene, deed: Option<(Place, Deed)>) -> (Device, Proxy) {
    let builder = Device::new().rate(RATE).toml("[rotation]\nsplay = \"0s\"\n").allow_errors(&[""]);
    let mut device = builder.prepare();
    let proxy = Proxy::to(device.twin().port());
    device.edit_config(&format!("[aws]\nport = {}", proxy.port()));
    match scene {
        Scene::First => {
            proxy.arm(deed);
            device.start();
        }
        Scene::Rotation => {
            device.start();
            device.wait_steady(1);
            proxy.arm(deed);
            // An order whose request is cut off may end with an error: the rotation goes on all the same.
            let _answer = device.request("POST", "/v1/rotate", Some(&json!({})));
        }
    }
    (device, proxy)
}

fn is_over(scene: Scene, device: &Device) -> bool {
    let generation = scene.generation();
    device.retire_json().is_some_and(|r| r["settled"] == generation)
        && device.current_generation() == Some(generation)
        && device.try_status().is_some_and(|s| nothing_to_do(&s))
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:?}/{}", self.scene, self.deed, self.place)
    }
}

const OTHERS: [Deed; 6] = [Deed::Close, Deed::Flip, Deed::Trickle, Deed::HalfOpen, Deed::Late, Deed::Silence];
/// Fifteen minutes in five seconds.
const RATE: u32 = 180;
/// How often the scene is looked at.
const LOOK: Duration = Duration::from_millis(20);
