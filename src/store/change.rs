//! Changes what is on disk: a new generation, the core's records, the switch of `current`, removal.
//!
//! Each returns only when the change is durable, and leaves the old or the new behind wherever it is cut. Nothing
//! here decides whether it should happen.

use super::error::StoreError;
use super::inspect::{Named, aside, named, numbers};
use super::ledger::{Device, HISTORY_LENGTH, HistoryEntry, Retire};
use super::state::{NewGeneration, Requests, State, encode};
use super::sys::{Dir, Kind, TEMPORARY};
use super::{
    CERTIFICATE, CURRENT, DEVICE, GENERATIONS, HISTORY, KEY, RETIRE, Result, STATE, Store, TRASH, name_of,
    number_of, pair,
};
use crate::rotation::identity::{Mark, Origin, Record, Stage};
use crate::x509;

impl Store {
    /// Keeps a new generation, whole and durable, and gives its number, which was never used before (order of the
    /// protocol: all this before RegisterThing).
    pub fn add(&self, new: NewGeneration) -> Result<u32> {
        let leaf = x509::pair(new.pair.certificate.as_bytes(), new.pair.key.as_bytes());
        let leaf = leaf.map_err(StoreError::BadPair)?;
        self.claim_machine()?;
        let generations = self.generations()?;
        let mut retire = self.load_retire(&mut Vec::new())?;
        let number = self.highest(&generations, &retire)?.checked_add(1).ok_or(StoreError::Exhausted)?;
        // The number is spent before it is seen: a removed generation's is never given again.
        retire.last_generation = number;
        self.save_retire(&mut retire)?;
        let state = State {
            stage: Stage::Issued,
            origin: new.origin,
            thing: new.thing,
            template: new.template,
            endpoint: new.endpoint,
            certificate_id: leaf.id_hex(),
            token: Some(new.token),
            token_ends: Some(new.token_ends),
            issued_at: new.issued_at,
            requests: Requests::Never,
        };
        let temporary = format!("{TEMPORARY}{}", name_of(number));
        generations.discard(&temporary)?;
        let build = || {
            generations.mkdir(&temporary)?;
            let dir = generations.child(&temporary)?;
            dir.create(KEY, new.pair.key.as_bytes())?;
            dir.create(CERTIFICATE, new.pair.certificate.as_bytes())?;
            dir.create(STATE, &state.bytes())?;
            dir.sync()?;
            generations.rename(&temporary, &generations, &name_of(number))
        };
        if let Err(e) = build() {
            let _ = generations.discard(&temporary);
            return Err(e);
        }
        generations.sync()?;
        Ok(number)
    }

    /// Makes one of the core's records durable.
    pub fn record(&self, record: Record) -> Result<()> {
        match record {
            Record::Registering(n) => self.change_state(n, |s| s.requests = s.requests.sending()),
            Record::Rejected(n) => self.change_state(n, |s| s.requests = s.requests.rejected()),
            Record::Registered(n) => self.reach(n, Stage::Registered),
            Record::Proved(n) => self.reach(n, Stage::Proved),
            Record::Marked(n, mark) => self.change_retire(|r, _| r.set_mark(n, mark)),
            Record::Pending(n, since) => self.change_retire(|r, _| {
                r.pending = Some(n);
                r.pending_since = Some(since);
            }),
            Record::Committing(at) => self.change_retire(|r, _| r.committed_at = Some(at)),
            Record::Settled(n) => self.change_retire(|r, there| {
                there.iter().filter(|older| **older < n).for_each(|older| r.set_mark(*older, Mark::Retired));
                r.pending = r.pending.filter(|pending| *pending != n);
                r.settled = Some(n);
            }),
            Record::Worked(at, vouched) => self.change_device(|d| {
                d.worked_at = Some(at);
                d.saved_at = if vouched { Some(at) } else { d.saved_at };
            }),
            Record::Adopted => self.change_device(|d| d.machine = self.machine),
        }
    }

    /// Lets `current` name a generation, by one rename. It must be whole and have carried a session.
    pub fn switch(&self, generation: u32) -> Result<()> {
        let dir = self.generation(generation)?;
        pair::read(&dir, generation)?;
        let in_use = named(&self.root)? == Named::Generation(generation);
        if in_use {
            return self.root.sync();
        }
        if self.state(generation).ok().is_none_or(|s| s.stage != Stage::Proved) {
            return Err(StoreError::NotProved { generation });
        }
        let temporary = format!("{TEMPORARY}{CURRENT}");
        self.root.discard(&temporary)?;
        let change = || {
            self.root.link(&format!("{GENERATIONS}/{}", name_of(generation)), &temporary)?;
            // What is no link cannot be renamed over, and is not ours to delete; it names nothing, so nothing is lost.
            if !matches!(self.root.kind(CURRENT)?, None | Some(Kind::Link)) {
                aside(&self.root, CURRENT)?;
            }
            self.root.rename(&temporary, &self.root, CURRENT)
        };
        if let Err(e) = change() {
            let _ = self.root.discard(&temporary);
            return Err(e);
        }
        self.root.sync()
    }

    /// Removes a generation, its key overwritten first (best effort). One that is not there is removed already.
    pub fn remove(&self, generation: u32) -> Result<()> {
        if named(&self.root)? == Named::Generation(generation) {
            return Err(StoreError::InUse { generation });
        }
        let generations = self.generations()?;
        let name = name_of(generation);
        let trash = format!("{TRASH}{generation}");
        if generations.kind(&name)?.is_some() {
            self.root.discard(&trash)?;
            generations.rename(&name, &self.root, &trash)?;
            generations.sync()?;
            self.root.sync()?;
        }
        self.root.discard(&trash)?;
        self.change_retire(|r, _| r.pending = r.pending.filter(|pending| *pending != generation))
    }

    /// Keeps the serial that was given, and the thing name that goes with it.
    pub fn set_serial(&self, serial: &str, thing: &str) -> Result<()> {
        self.change_device(|d| {
            d.serial = Some(serial.to_owned());
            d.thing = Some(thing.to_owned());
        })
    }

    /// Adds to the history; the oldest entries go.
    pub fn append_history(&self, entry: HistoryEntry) -> Result<()> {
        let mut history = self.load_history(&mut Vec::new())?;
        history.entries.push(entry);
        let surplus = history.entries.len().saturating_sub(HISTORY_LENGTH);
        history.entries.drain(..surplus);
        self.root.replace(HISTORY, &encode(&history), false)
    }

    /// Changes `state.json` of a generation that `current` does not name.
    fn change_state(&self, generation: u32, change: impl FnOnce(&mut State)) -> Result<()> {
        self.refuse_in_use(generation)?;
        let before = self.state(generation)?;
        let mut after = before.clone();
        change(&mut after);
        self.save_state(generation, Some(&before), &after)
    }

    /// Brings a generation to a stage: never back, and its token is gone from then on. A damaged state.json is
    /// moved aside and made anew: the stage has just been seen.
    fn reach(&self, generation: u32, stage: Stage) -> Result<()> {
        let before = match self.state(generation) {
            Ok(state) => Some(state),
            Err(StoreError::StateDamaged { .. }) => None,
            Err(e) => return Err(e),
        };
        if named(&self.root)? == Named::Generation(generation) {
            // Rule: a generation that `current` names is never written, and it counts as proved without it.
            return Ok(());
        }
        let mut after = match &before {
            Some(state) => state.clone(),
            None => self.rebuilt(generation)?,
        };
        after.stage = after.stage.max(stage);
        after.token = None;
        after.token_ends = None;
        self.save_state(generation, before.as_ref(), &after)
    }

    /// What can still be known of a generation whose state.json is damaged, which is moved aside.
    fn rebuilt(&self, generation: u32) -> Result<State> {
        let dir = self.generation(generation)?;
        let leaf = pair::judge(&dir, &mut Vec::new())?;
        let leaf = leaf.ok_or(StoreError::NotWhole { generation, source: None })?;
        if dir.kind(STATE)?.is_some() {
            aside(&dir, STATE)?;
        }
        Ok(State {
            stage: Stage::Registered,
            origin: Origin::Rotation,
            thing: self.device()?.thing.unwrap_or_default(),
            template: String::new(),
            endpoint: String::new(),
            certificate_id: leaf.id_hex(),
            token: None,
            token_ends: None,
            issued_at: leaf.not_before,
            requests: Requests::Lost,
        })
    }

    fn save_state(&self, generation: u32, before: Option<&State>, after: &State) -> Result<()> {
        let dir = self.generation(generation)?;
        if before == Some(after) {
            return dir.sync();
        }
        let had_token = before.is_some_and(|s| s.token.is_some());
        dir.replace(STATE, &after.bytes(), had_token && after.token.is_none())
    }

    fn refuse_in_use(&self, generation: u32) -> Result<()> {
        if named(&self.root)? == Named::Generation(generation) {
            Err(StoreError::InUse { generation })
        } else {
            Ok(())
        }
    }

    /// Changes `retire.json`; the change is told which generations are there.
    fn change_retire(&self, change: impl FnOnce(&mut Retire, &[u32])) -> Result<()> {
        let there = numbers(&self.generations()?, &mut Vec::new())?;
        let before = self.load_retire(&mut Vec::new())?;
        let mut after = before.clone();
        change(&mut after, &there);
        // Marks of what is gone are forgotten, so the book stays small.
        after.marks.retain(|n, _| there.contains(n));
        after.pending_since = after.pending_since.filter(|_| after.pending.is_some());
        if after == before { self.root.sync() } else { self.save_retire(&mut after) }
    }

    fn save_retire(&self, retire: &mut Retire) -> Result<()> {
        retire.last_generation = self.highest(&self.generations()?, retire)?;
        self.root.replace(RETIRE, &encode(retire), false)
    }

    /// Changes `device.json`; what is known of this machine is added unless the book is another machine's.
    fn change_device(&self, change: impl FnOnce(&mut Device)) -> Result<()> {
        let before = self.load_device(&mut Vec::new())?;
        let mut after = before.clone();
        change(&mut after);
        if !after.machine.differs(&self.machine) {
            after.machine.system = after.machine.system.or(self.machine.system);
            after.machine.board = after.machine.board.or(self.machine.board);
        }
        if after == before { self.root.sync() } else { self.root.replace(DEVICE, &after.bytes(), false) }
    }

    /// Writes down which machine this is before the first generation is kept.
    fn claim_machine(&self) -> Result<()> {
        let known = !self.load_device(&mut Vec::new())?.machine.is_unknown();
        if known || self.machine.is_unknown() { Ok(()) } else { self.change_device(|_| ()) }
    }

    /// The highest number that was ever given, from every witness: `retire.json` may have been lost.
    fn highest(&self, generations: &Dir, retire: &Retire) -> Result<u32> {
        let names = generations.names()?.into_iter().filter_map(|n| n.to_str().and_then(number_of));
        let trash =
            self.root.names()?.into_iter().filter_map(|n| n.to_str()?.strip_prefix(TRASH)?.parse().ok());
        let link = self.root.link_target(CURRENT)?;
        let link = link.as_deref().and_then(|t| t.to_str()?.strip_prefix(GENERATIONS)?.strip_prefix('/'));
        let history = self.load_history(&mut Vec::new())?;
        let witnesses = names
            .chain(trash)
            .chain(link.and_then(number_of))
            .chain(history.entries.iter().filter_map(|e| e.generation))
            .chain([Some(retire.last_generation), retire.pending, retire.settled].into_iter().flatten());
        Ok(witnesses.max().unwrap_or(0))
    }
}
