//! What the walk really took: how often each end was taken at each effect, and which ones must be.
//!
//! The table is written from the words of the requirement, not from `branches`: what is missing there fails here.

use std::fmt::Write as _;

use certrotd::rotation::{Action, Carrier, Effect, Origin, Record};

use super::ends::{ENDS, End};

/// What was outstanding, by name.
const KINDS: [&str; 22] = [
    "inspect",
    "connect claim",
    "connect own",
    "hangup",
    "issue claim",
    "issue own",
    "record registering",
    "record rejected",
    "record registered",
    "record proved",
    "record marked",
    "record pending",
    "record committing",
    "record settled",
    "record worked",
    "record adopted",
    "register",
    "prove",
    "switch",
    "commit",
    "remove",
    "wait",
];

fn kind(action: Action) -> usize {
    let name = match action {
        Action::Wait(_) | Action::Keep => "wait",
        Action::Do(effect) => match effect {
            Effect::Inspect => "inspect",
            Effect::Connect(Carrier::Claim) => "connect claim",
            Effect::Connect(Carrier::Generation(_)) => "connect own",
            Effect::Hangup => "hangup",
            Effect::Issue(Origin::Claim) => "issue claim",
            Effect::Issue(Origin::Rotation) => "issue own",
            Effect::Record(record) => match record {
                Record::Registering(_) => "record registering",
                Record::Rejected(_) => "record rejected",
                Record::Registered(_) => "record registered",
                Record::Proved(_) => "record proved",
                Record::Marked(..) => "record marked",
                Record::Pending(..) => "record pending",
                Record::Committing(_) => "record committing",
                Record::Settled(_) => "record settled",
                Record::Worked(..) => "record worked",
                Record::Adopted => "record adopted",
            },
            Effect::Register(_) => "register",
            Effect::Prove(_) => "prove",
            Effect::Switch(_) => "switch",
            Effect::Commit(_) => "commit",
            Effect::Remove(_) => "remove",
        },
    };
    KINDS.iter().position(|k| *k == name).expect("every kind has a name")
}

/// How often each end was taken at each kind of action.
pub struct Counts([[u64; ENDS]; KINDS.len()]);

impl Counts {
    pub fn new() -> Counts {
        Counts([[0; ENDS]; KINDS.len()])
    }

    pub fn took(&mut self, action: Action, end: End) {
        self.0[kind(action)][end as usize] += 1;
    }

    pub fn add(&mut self, other: &Counts) {
        for (mine, theirs) in self.0.iter_mut().flatten().zip(other.0.iter().flatten()) {
            *mine += theirs;
        }
    }

    /// What must have been taken and was not.
    pub fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for (word, kinds, ends) in MUST {
            for name in *kinds {
                let row = KINDS.iter().position(|k| k == name).expect("a kind of the list");
                for end in ends.iter().filter(|end| self.0[row][**end as usize] == 0) {
                    missing.push(format!("{word}: {end:?} at “{name}”"));
                }
            }
        }
        missing
    }

    /// The whole table, one line for each requirement.
    pub fn tell(&self) -> String {
        let mut text = String::new();
        for (word, kinds, ends) in MUST {
            let _ = writeln!(text, "  {word}");
            for end in *ends {
                let counted = |name: &&str| {
                    let row = KINDS.iter().position(|k| k == name).unwrap_or(0);
                    format!("{name} {}", self.0[row][*end as usize])
                };
                let line = kinds.iter().map(counted).collect::<Vec<_>>().join(", ");
                let _ = writeln!(text, "    {end:?}: {line}");
            }
        }
        text
    }
}

/// A word of the requirement, where it must happen, and the ends that are it.
type Must = (&'static str, &'static [&'static str], &'static [End]);

/// `record adopted` needs a store of another machine: a scenario, not a start. A connection of the claim has no
/// predecessor on its client id, so a late CONNECT of it closes nothing.
const MUST: &[Must] = &[
    ("succeed", ALL, &[End::Kind]),
    ("fail, on the disk", DISK, &[End::DiskFails]),
    ("fail, on the disk after it has landed", WRITES, &[End::LandsAndFails]),
    ("fail, on this machine before the call", CALLS, &[End::DiskFails]),
    ("power cut before", ALL, &[End::CutBefore]),
    ("power cut after", EFFECTS, &[End::CutAfter]),
    ("refuse: the connection", CONNECTS, &[End::Refused, End::Unfit]),
    ("refuse: a request", REQUESTS, &[End::Denied, End::Invalid]),
    ("refuse: the commit", &["commit"], &[End::Denied, End::HandlerDies]),
    ("no answer: the connection", CONNECTS, &[End::Unreachable]),
    ("no answer: a request", ASKS, &[End::RequestLost]),
    ("answer lost: the connection", CONNECTS, &[End::ConnackLost]),
    ("answer lost: a request", ASKS, &[End::AnswerLost]),
    ("a fault of the server's, after the effect", REQUESTS, &[End::FaultAfter]),
    ("answer twice", ASKS, &[End::Twice]),
    ("answer late", CALLS, &[End::AnswerLate]),
    ("effect late", &["connect own", "prove", "register", "commit"], &[End::EffectLate]),
    ("propagation delay", &["register"], &[End::SeenLate]),
    ("an answer that contradicts what was asked", ASKS, &[End::Wrong]),
    (
        "an operator who deactivates",
        &["connect claim", "connect own", "issue own", "register", "prove", "commit", "wait"],
        &[End::Deactivated],
    ),
    ("an operator who deactivates the new one", &["prove"], &[End::NewDeactivated]),
    ("the session closes meanwhile", ON_SESSION, &[End::Closed]),
    ("the configuration or the disk changes meanwhile", ALL, &[End::Changed]),
    ("another policy meanwhile", ALL, &[End::Reloaded]),
    ("an order of the cloud meanwhile", HAVING_ONE, &[End::CloudOrdered]),
    (
        "rotate-now, offline, steps of the clock, sleep of the machine, a cut that costs the clock, meanwhile",
        LONG,
        &[
            End::Ordered,
            End::Offline,
            End::Stepped,
            End::SteppedBack,
            End::FarAhead,
            End::Slept,
            End::CutClockless,
        ],
    ),
    ("`provision` meanwhile", WITHOUT_ONE, &[End::Provision]),
];

const ALL: &[&str] = &[
    "inspect",
    "connect claim",
    "connect own",
    "hangup",
    "issue claim",
    "issue own",
    "record registering",
    "record rejected",
    "record registered",
    "record proved",
    "record marked",
    "record pending",
    "record committing",
    "record settled",
    "record worked",
    "register",
    "prove",
    "switch",
    "commit",
    "remove",
    "wait",
];
const EFFECTS: &[&str] = ALL.split_last().expect("not empty").1;
const WRITES: &[&str] = &[
    "record registering",
    "record rejected",
    "record registered",
    "record proved",
    "record marked",
    "record pending",
    "record committing",
    "record settled",
    "record worked",
    "switch",
    "remove",
    "issue claim",
    "issue own",
];
const DISK: &[&str] = &[
    "inspect",
    "record registering",
    "record rejected",
    "record registered",
    "record proved",
    "record marked",
    "record pending",
    "record committing",
    "record settled",
    "record worked",
    "switch",
    "remove",
];
const CONNECTS: &[&str] = &["connect claim", "connect own", "prove"];
const REQUESTS: &[&str] = &["issue claim", "issue own", "register"];
const ASKS: &[&str] = &["issue claim", "issue own", "register", "commit"];
const CALLS: &[&str] =
    &["connect claim", "connect own", "prove", "issue claim", "issue own", "register", "commit"];
const LONG: &[&str] =
    &["connect claim", "connect own", "prove", "issue claim", "issue own", "register", "commit", "wait"];
/// Where a session may be in hand.
const ON_SESSION: &[&str] = &[
    "inspect",
    "issue claim",
    "issue own",
    "record registering",
    "record rejected",
    "record registered",
    "record proved",
    "record marked",
    "record pending",
    "record committing",
    "record settled",
    "record worked",
    "register",
    "prove",
    "switch",
    "commit",
    "remove",
    "hangup",
    "wait",
];
/// Where a generation may be in use.
const HAVING_ONE: &[&str] = &[
    "inspect",
    "connect claim",
    "connect own",
    "hangup",
    "issue own",
    "record registering",
    "record rejected",
    "record registered",
    "record proved",
    "record marked",
    "record pending",
    "record committing",
    "record settled",
    "record worked",
    "register",
    "prove",
    "switch",
    "commit",
    "remove",
    "wait",
];
/// Where the device's own session may be missing.
const WITHOUT_ONE: &[&str] = &[
    "inspect",
    "connect claim",
    "connect own",
    "hangup",
    "issue claim",
    "record registering",
    "record rejected",
    "record registered",
    "register",
    "prove",
    "remove",
    "wait",
];
