//! A device that is attacked, and the question whether anything of it was touched.

use certrot_twin::{Certificate, Event, Thing};

use crate::support::{Device, Identity, Lab, PATIENCE};

/// The victim's thing in every test.
pub const VICTIM: &str = "SN-V";
/// The attacker's own thing, where the attacker is a device.
pub const ATTACKER: &str = "SN-A";

/// A provisioned, connected device that listens to everything it may.
pub struct Victim {
    pub identity: Identity,
    device: Device,
    certificates: Vec<Certificate>,
    thing: Option<Thing>,
    since: usize,
    rounds: usize,
}

impl Victim {
    pub fn new(lab: &Lab) -> Self {
        let identity = lab.provision(VICTIM);
        let mut device = lab.connect(&identity, VICTIM).unwrap();
        device.subscribe(&[&format!("device/{VICTIM}/#")]).unwrap();
        let (certificates, thing) = (lab.twin.certificates_of(VICTIM), lab.twin.thing(VICTIM));
        Self { identity, device, certificates, thing, since: lab.twin.event_count(), rounds: 0 }
    }

    /// The certificate id.
    pub fn id(&self) -> String {
        self.identity.id()
    }

    /// Fails unless certificates, thing, session and inbox are what they were.
    pub fn is_untouched(&mut self, lab: &Lab) {
        assert_eq!(lab.twin.certificates_of(VICTIM), self.certificates, "the victim's certificates");
        assert_eq!(lab.twin.thing(VICTIM), self.thing, "the victim's thing");
        let of_victim = |e: &Event| match e {
            Event::Closed { client, .. } | Event::Connect { client, refused: None, .. } => client == VICTIM,
            _ => false,
        };
        let touched: Vec<_> =
            lab.twin.events_since(self.since).into_iter().filter(|l| of_victim(&l.event)).collect();
        assert!(touched.is_empty(), "the victim's session: {touched:?}");
        self.rounds += 1;
        let (topic, payload) = (format!("device/{VICTIM}/round"), self.rounds.to_string());
        assert!(self.device.publish(&topic, payload.as_bytes()), "the victim publishes");
        let back = self.device.message(PATIENCE).expect("the victim's own message");
        assert_eq!((back.topic, back.payload), (topic, payload.into_bytes()), "the victim's inbox");
    }
}

/// A device of the attacker's, provisioned as any other.
pub fn attacker(lab: &Lab) -> Identity {
    lab.provision(ATTACKER)
}
