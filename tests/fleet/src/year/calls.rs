//! What the cloud does with a device's effect: quotas first, then what the registry says.
//!
//! Where AWS's documents are silent, the unkind way: a throttled CONNECT is a bare close, which the device must take for a
//! refusal (rule 19); a throttled subscription ends the session; a request throttled a second time on one connection has
//! no answer at all (facts).

use certrotd::rotation::{Carrier, Effect, Origin, Outcome, State, Trouble, Verdict};

use super::device::slot;
use super::fleet::{Fleet, wall_of};
use super::quota::Api;
use super::thing::Status;
use super::wheel::{Event, Kind, Ms};

impl Fleet {
    /// An effect on the cloud begins.
    pub(super) fn begin(&mut self, d: u32, effect: Effect) {
        let away = self.is_away();
        let (shortest, longest) = match effect {
            Effect::Connect(_) => {
                // The one in hand is closed first.
                self.devices[d as usize].link = None;
                CONNECT
            }
            Effect::Prove(_) => PROVE,
            Effect::Issue(_) => ISSUE,
            Effect::Register(_) => REGISTER,
            Effect::Commit(n) => return self.begin_commit(d, n),
            _ => INSTANT,
        };
        let took = self.rng.u64(shortest..=longest) + if away { UNREACHABLE } else { 0 };
        self.later(d, took, Kind::Finish);
    }

    fn begin_commit(&mut self, d: u32, n: u32) {
        let device = &self.devices[d as usize];
        let serial = device.serial(n).filter(|_| device.link == Some(Carrier::Generation(n)));
        self.later(d, self.patience, Kind::Silence);
        if let Some(serial) = serial.filter(|_| !self.is_away()) {
            self.commit_sent(d, serial);
        }
    }

    fn later(&mut self, d: u32, pause: Ms, kind: Kind) {
        let number = self.devices[d as usize].turn;
        self.wheel.push(Event { at: self.now + pause, device: d, number, kind });
    }

    /// The handler's reply arrives; `rejected` holds its `retryAfter`. One that nobody waits for any more is nobody's.
    pub(super) fn replied(&mut self, d: u32, serial: Option<u32>, rejected: Option<Option<u32>>) {
        let device = &self.devices[d as usize];
        let State::Working(Effect::Commit(n)) = device.machine.state() else { return };
        if !device.on || device.link != Some(Carrier::Generation(n)) || device.serial(n) != serial {
            return;
        }
        self.ended(
            d,
            match rejected {
                None => Outcome::Committed,
                Some(after) => Outcome::Refused(Verdict::Denied, after),
            },
        );
    }

    /// An effect on the cloud ends.
    pub(super) fn finish(&mut self, d: u32) {
        let State::Working(effect) = self.devices[d as usize].machine.state() else { return };
        let late = self.devices[d as usize].late.take();
        let outcome = match (late, effect) {
            (Some(outcome), _) => *outcome,
            (None, Effect::Connect(carrier)) => self.connect(d, carrier),
            (None, Effect::Prove(n)) => self.prove(d, n),
            (None, Effect::Issue(_) | Effect::Register(_)) => match self.ask(d, effect) {
                Outcome::Refused(Verdict::Silence, after) if self.devices[d as usize].link.is_some() => {
                    self.devices[d as usize].late = Some(Box::new(Outcome::Refused(Verdict::Silence, after)));
                    return self.later(d, ANSWER, Kind::Finish);
                }
                outcome => outcome,
            },
            (None, _) => Outcome::Done,
        };
        let began = outcome == Outcome::Done && matches!(effect, Effect::Connect(_) | Effect::Prove(_));
        self.ended(d, outcome);
        if began && matches!(self.devices[d as usize].link, Some(Carrier::Generation(_))) {
            self.deliver(d);
        }
    }

    fn admits(&self, d: u32, n: u32) -> bool {
        let device = &self.devices[d as usize];
        let certificate = device.serial(n).and_then(|s| device.thing.find(s));
        certificate.is_some_and(|c| c.admits(self.now, wall_of(self.now)))
    }

    fn connect(&mut self, d: u32, carrier: Carrier) -> Outcome {
        if let Err(trouble) = self.dial(d, carrier) {
            return Outcome::Failed(trouble);
        }
        let filters = if carrier == Carrier::Claim { self.filters.answers } else { self.filters.standing };
        if !self.quotas.take(Api::Subscribe, filters, self.now) {
            self.seen.unfit += 1;
            return Outcome::Failed(Trouble::Unfit);
        }
        self.session_begins(d, carrier);
        Outcome::Done
    }

    /// Rule 7: standing filters, the answer topics of a rotation, and a question that is refused in any case.
    fn prove(&mut self, d: u32, n: u32) -> Outcome {
        let carrier = Carrier::Generation(n);
        if let Err(trouble) = self.dial(d, carrier) {
            return Outcome::Failed(trouble);
        }
        // The CONNACK has closed the old one.
        self.devices[d as usize].link = None;
        if !self.quotas.take(Api::Subscribe, self.filters.standing + self.filters.answers, self.now) {
            self.seen.unfit += 1;
            return Outcome::Failed(Trouble::Unfit);
        }
        self.quotas.take(Api::Csr, 1, self.now);
        self.session_begins(d, carrier);
        Outcome::Done
    }

    fn dial(&mut self, d: u32, carrier: Carrier) -> Result<(), Trouble> {
        if self.is_away() {
            return Err(Trouble::Unreachable);
        }
        // A certificate that is not ACTIVE is turned away in TLS, before there is a CONNECT.
        if let Carrier::Generation(n) = carrier
            && !self.admits(d, n)
        {
            self.seen.dead_connects += 1;
            return Err(Trouble::Refused);
        }
        if self.quotas.take(Api::Connect, 1, self.now) { Ok(()) } else { Err(Trouble::Refused) }
    }

    fn session_begins(&mut self, d: u32, carrier: Carrier) {
        // Connections live minutes to two weeks (facts).
        let unit = f64::from(self.rng.u32(1..)) / f64::from(u32::MAX);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and capped")]
        let lasts = ((-unit.ln() * SESSION_MEAN) as Ms).clamp(SESSION_LEAST, SESSION_MOST);
        let device = &mut self.devices[d as usize];
        device.link = Some(carrier);
        device.deaf = false;
        device.session = device.session.wrapping_add(1);
        let number = device.session;
        self.wheel.push(Event { at: self.now + lasts, device: d, number, kind: Kind::Close });
    }

    fn ask(&mut self, d: u32, effect: Effect) -> Outcome {
        let silence = Outcome::Refused(Verdict::Silence, None);
        let Some(carrier) = self.devices[d as usize].link.filter(|_| !self.is_away()) else { return silence };
        let api = if let Effect::Issue(_) = effect { Api::Csr } else { Api::Register };
        if !self.quotas.take(api, 1, self.now) {
            let deaf = std::mem::replace(&mut self.devices[d as usize].deaf, true);
            return if deaf { silence } else { Outcome::Refused(Verdict::Denied, None) };
        }
        match effect {
            Effect::Issue(origin) => self.issue(d, origin),
            Effect::Register(n) => self.register(d, n, carrier),
            _ => silence,
        }
    }

    fn issue(&mut self, d: u32, origin: Origin) -> Outcome {
        let (now, wall, life) = (self.now, wall_of(self.now), self.life);
        let device = &mut self.devices[d as usize];
        device.generation += 1;
        let issued = device.thing.issue(now, wall, life);
        Outcome::Issued(slot(device.generation, origin, d, issued, wall))
    }

    fn register(&mut self, d: u32, n: u32, carrier: Carrier) -> Outcome {
        let now = self.now;
        if carrier == Carrier::Claim && !self.claim_hook(d) {
            return Outcome::Refused(Verdict::Denied, None);
        }
        // Half of what is registered is seen at once, the rest within a minute.
        let seen = if self.rng.bool() { 0 } else { self.rng.u64(..PROPAGATION) };
        let device = &mut self.devices[d as usize];
        let Some(serial) = device.serial(n) else { return Outcome::Refused(Verdict::Invalid, None) };
        device.thing.exists = true;
        match device.thing.find_mut(serial) {
            Some(c) if c.status == Status::Pending && c.token_ends > now => {
                c.status = Status::Active;
                c.policy = true;
                c.token_ends = 0;
                c.seen_from = now + seen;
                Outcome::Registered
            }
            _ => Outcome::Refused(Verdict::Invalid, None),
        }
    }

    /// Rule 23, with the hook's look-ups; one that is throttled beyond its three seconds is a denial.
    fn claim_hook(&mut self, d: u32) -> bool {
        let now = self.now;
        if !self.quotas.take(Api::DescribeThing, 1, now) {
            return false;
        }
        let thing = &self.devices[d as usize].thing;
        if !thing.exists {
            return true;
        }
        let held = u32::try_from(thing.certificates.iter().filter(|c| c.is_attached()).count()).unwrap_or(0);
        let holds = thing.holds(wall_of(now));
        let looked = self.quotas.take(Api::ListThingPrincipals, 1, now)
            && (0..held).all(|_| self.quotas.take(Api::DescribeCertificate, 1, now));
        looked && !holds
    }
}

/// How long each takes, milliseconds, shortest and longest: TLS and MQTT over a long way.
const CONNECT: (Ms, Ms) = (200, 600);
const PROVE: (Ms, Ms) = (400, 1_000);
const ISSUE: (Ms, Ms) = (200, 800);
const REGISTER: (Ms, Ms) = (400, 1_500);
const INSTANT: (Ms, Ms) = (1, 1);
/// Until a connection to nowhere is given up.
const UNREACHABLE: Ms = 1_000;
/// The device's deadline for an answer (`src/world`).
const ANSWER: Ms = 20_000;
/// Until all that was registered is seen.
const PROPAGATION: Ms = 60_000;
/// Sessions: a week in the middle.
const SESSION_MEAN: f64 = 7.0 * 86_400_000.0;
const SESSION_LEAST: Ms = 600_000;
const SESSION_MOST: Ms = 14 * 86_400_000;
