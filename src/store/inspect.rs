//! Reads the whole store at once, for the core's `Inspect`: the one door after boot and after every doubt.
//!
//! It deletes nothing and fails only when the system does: what is damaged is told and judged by the safe side (rules
//! 19 and 21). The one thing it moves is a damaged book, aside.

use nix::errno::Errno;

use super::finding::{Astray, Finding};
use super::ledger::{Device, History, Retire};
use super::state::State;
use super::sys::{Content, Dir, Kind, TEMPORARY};
use super::{
    CERTIFICATE, CURRENT, DAMAGED, DEVICE, GENERATIONS, HISTORY, KEY, LIMIT, LOCK, RETIRE, Result, STATE,
    Store, TRASH, name_of, number_of, pair,
};
use crate::rotation::identity::{Asked, Certificate, Current, Disk, Origin, Slot, Stage};
use crate::x509::{self, Leaf};

impl Store {
    /// Reads everything that decisions need. `serial_configured` says whether the configuration names a serial.
    pub fn inspect(&self, serial_configured: bool) -> Result<(Disk, Vec<Finding>)> {
        let mut findings = Vec::new();
        let generations = self.generations()?;
        // A call before may have failed between its rename and its sync: what is seen here must be what stays.
        settle(&self.root)?;
        settle(&generations)?;
        let retire = self.load_retire(&mut findings)?;
        let device = self.load_device(&mut findings)?;
        self.load_history(&mut findings)?;
        let named = named(&self.root)?;
        if let Named::Astray(how) = named {
            findings.push(Finding::CurrentAstray { path: self.root.at(CURRENT), how });
        }
        let mut slots = Vec::new();
        for number in numbers(&generations, &mut findings)? {
            let in_use = named == Named::Generation(number);
            let mut slot = slot(&generations.child(&name_of(number))?, number, in_use, &mut findings)?;
            slot.mark = retire.mark(number);
            slots.push(slot);
        }
        foreign(&self.root, &mut findings)?;
        let pending = retire.pending.filter(|n| slots.iter().any(|s| s.generation == *n));
        if let (Some(generation), None) = (retire.pending, pending) {
            findings.push(Finding::PendingGone { path: self.root.at(RETIRE), generation });
        }
        let disk = Disk {
            current: named.into(),
            pending,
            pending_since: retire.pending_since.filter(|_| pending.is_some()),
            committed_at: retire.committed_at,
            worked_at: device.worked_at,
            saved_at: device.saved_at,
            serial_known: serial_configured || device.serial.is_some(),
            foreign: device.machine.differs(&self.machine),
            slots,
        };
        Ok((disk, findings))
    }

    /// Reads `retire.json`, or moves a damaged one aside. Where it is lost, nobody knows whether the generation in use
    /// has committed, so it is taken as pending: a commit twice does no harm, one that never comes leaves certificates
    /// alive (rules 10 and 12).
    pub(super) fn load_retire(&self, findings: &mut Vec<Finding>) -> Result<Retire> {
        let book: Option<Retire> = self.book(RETIRE, |b| serde_json::from_slice(b).ok(), findings)?;
        if let Some(book) = book {
            return Ok(book);
        }
        let pending = match named(&self.root)? {
            Named::Generation(in_use) => Some(in_use),
            Named::Nothing | Named::Astray(_) => None,
        };
        Ok(Retire { pending, ..Retire::default() })
    }

    /// Reads `device.json`, or moves a damaged one aside.
    pub(super) fn load_device(&self, findings: &mut Vec<Finding>) -> Result<Device> {
        Ok(self.book(DEVICE, Device::parse, findings)?.unwrap_or_default())
    }

    /// Reads `history.json`, or moves a damaged one aside.
    pub(super) fn load_history(&self, findings: &mut Vec<Finding>) -> Result<History> {
        Ok(self.book(HISTORY, |b| serde_json::from_slice(b).ok(), findings)?.unwrap_or_default())
    }

    /// Reads a book; nothing where it is not there, or was damaged and is aside now.
    fn book<T>(
        &self,
        name: &str,
        parse: impl Fn(&[u8]) -> Option<T>,
        findings: &mut Vec<Finding>,
    ) -> Result<Option<T>> {
        let book = match self.root.read(name, LIMIT)? {
            Content::Missing => return Ok(None),
            // An array would pass for a struct whose fields all have defaults.
            Content::Bytes(bytes) if bytes.trim_ascii_start().first() == Some(&b'{') => parse(&bytes),
            Content::Bytes(_) | Content::NotAFile | Content::TooLong | Content::Unreadable(_) => None,
        };
        if book.is_some() {
            return Ok(book);
        }
        let kept = aside(&self.root, name).ok().flatten().map(|kept| self.root.at(kept));
        findings.push(Finding::BookDamaged { path: self.root.at(name), kept });
        Ok(None)
    }
}

/// What `current` says, with the reason where it leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Nothing,
    Generation(u32),
    Astray(Astray),
}

impl From<Named> for Current {
    fn from(named: Named) -> Self {
        match named {
            Named::Nothing => Current::Absent,
            Named::Generation(number) => Current::Names(number),
            Named::Astray(_) => Current::Astray,
        }
    }
}

/// Reads the name `current` without following it: only `generations/NNNN` counts.
pub(super) fn named(root: &Dir) -> Result<Named> {
    match root.kind(CURRENT)? {
        None => return Ok(Named::Nothing),
        Some(Kind::Link) => {}
        Some(_) => return Ok(Named::Astray(Astray::NotALink)),
    }
    let target = root.link_target(CURRENT)?;
    let number = target
        .as_deref()
        .and_then(|t| t.to_str())
        .and_then(|t| t.strip_prefix(GENERATIONS)?.strip_prefix('/'))
        .and_then(number_of);
    match number {
        None => Ok(Named::Astray(Astray::Elsewhere)),
        Some(number) => match root.child(GENERATIONS)?.kind(name_of(number))? {
            Some(Kind::Directory) => Ok(Named::Generation(number)),
            _ => Ok(Named::Astray(Astray::Dangling)),
        },
    }
}

/// The numbers of all generations, ascending; names that are none of ours are told.
pub(super) fn numbers(generations: &Dir, findings: &mut Vec<Finding>) -> Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for name in generations.names()? {
        let path = generations.at(&name);
        match (name.to_str().and_then(number_of), generations.kind(&name)?) {
            (Some(number), Some(Kind::Directory)) => numbers.push(number),
            (Some(_), Some(_)) => findings.push(Finding::WrongKind { path }),
            (None, Some(_)) if !is_temporary(&name) => findings.push(Finding::ForeignFile { path }),
            _ => {}
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Moves something damaged aside under a name that says so; `None` where there are too many already.
pub(super) fn aside(dir: &Dir, name: &str) -> Result<Option<String>> {
    for n in 1..=KEPT_AT_MOST {
        let kept = format!("{name}{DAMAGED}{n}");
        if dir.kind(&kept)?.is_none() {
            dir.rename(name, dir, &kept)?;
            dir.sync()?;
            return Ok(Some(kept));
        }
    }
    Ok(None)
}

/// Says whether a store holds an identity, without changing anything.
pub(super) fn holds_identity(root: &Dir) -> Result<bool> {
    let mut ignored = Vec::new();
    let generations = root.child(GENERATIONS)?;
    let named = named(root)?;
    for number in numbers(&generations, &mut ignored)? {
        let in_use = named == Named::Generation(number);
        let slot = slot(&generations.child(&name_of(number))?, number, in_use, &mut ignored)?;
        if slot.is_whole() && slot.stage == Stage::Proved {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Reads one generation.
fn slot(dir: &Dir, generation: u32, in_use: bool, findings: &mut Vec<Finding>) -> Result<Slot> {
    let leaf = pair::judge(dir, findings)?;
    for name in dir.names()? {
        let known = [CERTIFICATE, KEY, STATE].iter().any(|k| name == *k);
        if !known && !is_temporary(&name) {
            findings.push(stranger(dir, &name));
        }
    }
    let state = match dir.read(STATE, LIMIT)? {
        Content::Bytes(bytes) => State::parse(&bytes),
        Content::Missing | Content::NotAFile | Content::TooLong | Content::Unreadable(_) => None,
    };
    let path = dir.at(STATE);
    let mut slot = match &state {
        Some(state) => {
            if leaf.as_ref().is_some_and(|l| x509::unhex(&state.certificate_id) != Some(l.id)) {
                findings.push(Finding::OtherCertificate { path: path.clone() });
            }
            known(generation, state)
        }
        None => {
            // Rule 21: `current` names only what has carried a session; of any other nothing may be ruled out.
            let stage = if in_use { Stage::Proved } else { Stage::Registered };
            findings.push(Finding::StateAssumed { path: path.clone(), stage });
            assumed(generation, stage, leaf.as_ref())
        }
    };
    if in_use && slot.stage != Stage::Proved {
        findings.push(Finding::StateBehind { path });
        slot.stage = Stage::Proved;
        slot.asked = Asked::Unanswered;
    }
    slot.certificate =
        leaf.map(|l| Certificate { id: l.id, not_before: l.not_before, not_after: l.not_after });
    Ok(slot)
}

/// A generation as its state.json has it.
fn known(generation: u32, state: &State) -> Slot {
    Slot {
        generation,
        stage: state.stage,
        origin: state.origin,
        certificate: None,
        asked: state.asked(),
        token_ends: state.token.as_ref().and(state.token_ends),
        issued_at: state.issued_at,
        mark: crate::rotation::identity::Mark::Clear,
    }
}

/// A generation whose state.json says nothing.
fn assumed(generation: u32, stage: Stage, leaf: Option<&Leaf>) -> Slot {
    Slot {
        generation,
        stage,
        origin: Origin::Rotation,
        certificate: None,
        asked: Asked::Unanswered,
        token_ends: None,
        issued_at: leaf.map_or(0, |l| l.not_before),
        mark: crate::rotation::identity::Mark::Clear,
    }
}

/// Tells names in the store's own directory that are none of ours.
fn foreign(root: &Dir, findings: &mut Vec<Finding>) -> Result<()> {
    for name in root.names()? {
        let known = [GENERATIONS, CURRENT, DEVICE, RETIRE, HISTORY, LOCK].iter().any(|k| name == *k);
        let trash = name.to_str().is_some_and(|n| n.starts_with(TRASH));
        if !known && !trash && !is_temporary(&name) {
            findings.push(stranger(root, &name));
        }
    }
    Ok(())
}

fn stranger(dir: &Dir, name: &std::ffi::OsStr) -> Finding {
    let path = dir.at(name);
    if name.to_str().is_some_and(|n| n.contains(DAMAGED)) {
        Finding::DamagedKept { path }
    } else {
        Finding::ForeignFile { path }
    }
}

fn is_temporary(name: &std::ffi::OsStr) -> bool {
    name.to_str().is_some_and(|n| n.starts_with(TEMPORARY))
}

/// Syncs a directory; a file system that cannot be written has nothing to sync.
fn settle(dir: &Dir) -> Result<()> {
    match dir.sync() {
        Err(e) if matches!(e.errno(), Some(Errno::EROFS | Errno::EINVAL)) => Ok(()),
        other => other,
    }
}

/// How many damaged versions of one name are kept.
const KEPT_AT_MOST: u32 = 9;
