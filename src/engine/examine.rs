//! Starts a check or a dry run beside the effect in hand, says what of it may be tried now, and answers whoever waits.
//!
//! Everybody on the socket may ask for a check, so one is made at most once a minute and one at a time: who asks in between
//! gets the last report, who asks during one waits for it. A rotation comes first: a check that is in its way begins anew
//! beside it, and asks the cloud nothing then.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::reload::changes;
use super::{Engine, Reply};
use crate::config::{Config, Facts, Purpose};
use crate::control::What;
use crate::control::wire::{CheckReport, Problem};
use crate::doctor::{self, File, Patient};
use crate::orders;
use crate::rotation::{Carrier, Disk, Effect, Link, Stage};
use crate::story::now;

/// A check under way, and who waits for its report.
pub(super) struct Examination {
    /// What is going on.
    pub under_way: Pin<Box<dyn Future<Output = CheckReport>>>,
    whole: bool,
    /// It asks the cloud nothing: a rotation is in hand.
    quiet: bool,
    waiting: Vec<oneshot::Sender<Reply>>,
}

/// Begins an examination, unless one is under way or was a short while ago.
pub(super) fn begin(engine: &mut Engine, what: &What, reply: oneshot::Sender<Reply>) {
    let whole = *what == What::Check;
    engine.memory.borrow_mut().speak_of(in_use(engine));
    if let Some(examination) = &mut engine.examining {
        if examination.whole && whole {
            examination.waiting.push(reply);
        } else {
            let busy = Problem::busy("another check is under way", "wait for it, then try again");
            let _ = reply.send(Err(busy));
        }
        return;
    }
    let quiet = quiet(engine).is_some();
    if whole && let Some(report) = engine.memory.borrow().recent(engine.world.tools.clock.boot(), quiet) {
        let _ = reply.send(orders::json(&report));
        return;
    }
    start(engine, whole, vec![reply]);
}

fn start(engine: &mut Engine, whole: bool, waiting: Vec<oneshot::Sender<Reply>>) {
    let carried = matches!(engine.machine.link(), Link::Up { carrier, .. } if carrier != Carrier::Claim);
    let mut status = engine.status.borrow().at(now(&engine.world.tools.clock));
    status.hooks = engine.hooks.said();
    let patient = Patient {
        tools: Rc::clone(&engine.world.tools),
        config: Rc::clone(&engine.world.config),
        file: file(engine),
        status,
        session: engine.world.live.as_ref().filter(|_| carried).map(|l| Rc::clone(&l.session)),
        disk: engine.machine.disk().cloned(),
        quiet: quiet(engine),
        sparing: sparing(engine, whole),
        memory: Rc::clone(&engine.memory),
        log: engine.log.destination(),
        watchdog: engine.notify.watchdog_interval(),
    };
    let quiet = patient.quiet.is_some();
    let under_way = Box::pin(doctor::examine(patient));
    engine.examining = Some(Examination { under_way, whole, quiet, waiting });
}

/// Takes a finished examination in.
pub(super) fn finish(engine: &mut Engine, report: &CheckReport) {
    let Some(examination) = engine.examining.take() else { return };
    if examination.whole {
        engine.memory.borrow_mut().keep(engine.world.tools.clock.boot(), examination.quiet, report);
    }
    for reply in examination.waiting {
        let _ = reply.send(orders::json(report));
    }
}

/// Ends an examination for an effect that asks on the same topics, or takes the session. [`go_on`] when it has begun.
pub(super) fn give_way(engine: &mut Engine, effect: Effect) -> Option<Examination> {
    let asks =
        matches!(effect, Effect::Issue(_) | Effect::Register(_) | Effect::Prove(_) | Effect::Commit(_));
    engine.examining.take_if(|examination| asks && !examination.quiet)
}

/// Begins anew, beside the effect now in hand, for those who wait.
pub(super) fn go_on(engine: &mut Engine, interrupted: Option<Examination>) {
    if let Some(Examination { under_way, whole, waiting, .. }) = interrupted {
        drop(under_way);
        start(engine, whole, waiting);
    }
}

/// Nothing is asked beside a rotation: its requests come first.
fn quiet(engine: &Engine) -> Option<&'static str> {
    let idle = engine.story.operation.is_none() && engine.is_idle();
    (!idle).then_some("not beside a rotation in hand; try again when it has ended")
}

/// Rule 7: RegisterThing is the fleet's scarcest quota. And while a pair waits for its registration, a question that has
/// no answer would look like one about that pair (rules 1 and 2).
fn sparing(engine: &Engine, whole: bool) -> Option<&'static str> {
    let unproved = |disk: &Disk| disk.slots.iter().any(|s| s.stage != Stage::Proved);
    if !whole {
        return Some("only certrotctl check tries it: it costs the fleet's scarcest quota");
    }
    let waits = engine.machine.disk().is_none_or(unproved);
    waits.then_some("a new pair waits for its registration: rotation says what the cloud answers")
}

fn in_use(engine: &Engine) -> Option<u32> {
    engine.machine.disk().and_then(|d| d.current()).map(|slot| slot.generation)
}

/// The file as it is now. What only a reload can say it has changed by order (`PATCH`) is none of the file's.
fn file(engine: &Engine) -> File {
    let facts = Facts::gather(&engine.config_path, Purpose::Run);
    let (mut config, warnings) = Config::load(&engine.config_path, &facts).map_err(Arc::new)?;
    let in_force = &engine.world.config;
    config.rotation.enabled = in_force.rotation.enabled;
    Ok((warnings, changes(in_force, &config)))
}
