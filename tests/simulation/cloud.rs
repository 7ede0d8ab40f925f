//! The cloud of the walk: certificates, the claim hook, RegisterThing, and the retire handler of rules 11 to 13.
//!
//! As small as the rules allow; what AWS does in minutes happens at an instant that the walk chooses.

use certrotd::rotation::{Boot, Mark, Wall};

/// Where wall time stands at boot 0.
pub const EPOCH: Wall = 1_800_000_000;
/// Life of an ownership token. Seconds.
const TOKEN: Wall = 3_600;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    Pending,
    Active,
    Inactive,
    Dead,
    /// Alive, and attached to another thing.
    Elsewhere,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Certificate {
    pub status: Status,
    pub not_before: Wall,
    pub token_ends: Wall,
    pub token_used: bool,
    /// CONNECT with it is refused before this (propagation).
    pub seen_from: Boot,
    /// Whether a commit by it was accepted (rule 10: every generation commits).
    pub committed: bool,
    /// The connection that it was issued on.
    pub born_on: u32,
}

/// An effect that comes later than its answer could.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Late {
    /// RegisterThing; whether the claim certificate asked.
    Register(usize, bool),
    /// A commit by this certificate, sent at this time.
    Commit(usize, Boot),
    /// A CONNECT with our client id, whose sender has gone.
    TakeOver,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cloud {
    pub certificates: Vec<Certificate>,
    pub late: Vec<(Boot, Late)>,
    /// RegisterThing only takes a token on the connection that it was issued on.
    pub bound: bool,
    /// The operator's word that lets a claim in again (rule 23).
    pub reclaim: bool,
    /// On this connection, the commit of this certificate was accepted, and the device has not heard it yet.
    pub unheard: Option<(u32, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Accepted,
    Denied,
    Invalid,
}

impl Cloud {
    pub fn issue(&mut self, wall: Wall, born_on: u32) -> usize {
        self.certificates.push(Certificate {
            status: Status::Pending,
            not_before: wall - 120,
            token_ends: wall + TOKEN,
            token_used: false,
            committed: false,
            seen_from: 0,
            born_on,
        });
        self.certificates.len() - 1
    }

    pub fn register(
        &mut self,
        id: usize,
        claim: bool,
        connection: u32,
        boot: Boot,
        hidden_for: Boot,
    ) -> Answer {
        let wall = wall_of(boot);
        let held = self.certificates.iter().any(|c| matches!(c.status, Status::Active | Status::Inactive));
        let c = &self.certificates[id];
        if c.token_used
            || c.token_ends <= wall
            || c.status != Status::Pending
            || self.bound && c.born_on != connection
        {
            return Answer::Invalid;
        }
        if claim && held && !self.reclaim {
            return Answer::Denied;
        }
        self.reclaim = false;
        let c = &mut self.certificates[id];
        c.token_used = true;
        c.status = Status::Active;
        c.seen_from = boot + hidden_for;
        Answer::Accepted
    }

    /// Whether CONNECT with it is accepted now.
    pub fn admits(&self, id: usize, boot: Boot) -> bool {
        let c = &self.certificates[id];
        c.status == Status::Active && boot >= c.seen_from
    }

    /// Rules 11 to 13. `kill_after`: the handler dies after this many victims were made INACTIVE.
    pub fn commit(&mut self, id: usize, sent: Boot, boot: Boot, kill_after: Option<usize>) -> bool {
        if boot - sent > 5 * 60 * 1000 {
            return false;
        }
        for (done, victim) in (0..id).enumerate() {
            // Read again immediately before each victim.
            if self.certificates[id].status != Status::Active {
                return false;
            }
            if kill_after == Some(done) {
                return false;
            }
            if matches!(self.certificates[victim].status, Status::Active | Status::Inactive) {
                self.certificates[victim].status =
                    if kill_after.is_some() { Status::Inactive } else { Status::Dead };
            }
        }
        let accepted = kill_after.is_none() && self.certificates[id].status == Status::Active;
        self.certificates[id].committed |= accepted;
        accepted
    }

    /// RegisterThing attached it to another thing than ours.
    pub fn misname(&mut self, id: usize) {
        self.certificates[id].status = Status::Elsewhere;
    }

    /// Whether every older certificate of the thing is dead.
    pub fn settled(&self, id: usize) -> bool {
        self.certificates[..id].iter().all(|c| !matches!(c.status, Status::Active | Status::Inactive))
    }

    /// Lets what is late happen; says whether the session in hand was taken over.
    pub fn advance(&mut self, boot: Boot) -> bool {
        let mut taken = false;
        self.late.sort_by_key(|(at, _)| *at);
        while self.late.first().is_some_and(|(at, _)| *at <= boot) {
            match self.late.remove(0).1 {
                Late::Register(id, claim) => {
                    let born_on = self.certificates[id].born_on;
                    self.register(id, claim, born_on, boot, 0);
                }
                Late::Commit(id, sent) => {
                    self.commit(id, sent, boot, None);
                }
                Late::TakeOver => taken = true,
            }
        }
        for c in &mut self.certificates {
            if c.status == Status::Pending && c.token_ends <= wall_of(boot) {
                c.status = Status::Dead;
            }
        }
        taken
    }

    pub fn alive(&self) -> impl Iterator<Item = usize> + '_ {
        self.certificates.iter().enumerate().filter(|(_, c)| c.status == Status::Active).map(|(n, _)| n)
    }
}

pub fn wall_of(boot: Boot) -> Wall {
    EPOCH + i64::try_from(boot / 1000).unwrap()
}

/// The id that a certificate of this cloud has on disk.
pub fn id_of(index: usize) -> [u8; 32] {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&u64::try_from(index).unwrap().to_be_bytes());
    id
}

/// Which certificate a generation's id names.
pub fn index_of(id: &[u8; 32]) -> usize {
    usize::try_from(u64::from_be_bytes(id[..8].try_into().unwrap())).unwrap()
}

pub const CLEAR: Mark = Mark::Clear;
