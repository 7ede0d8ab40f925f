//! Starts a check or a dry run beside the effect in hand, and says what of it may be tried now.

use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Engine, Reply};
use crate::control::What;
use crate::control::wire::{CheckReport, Problem};
use crate::doctor::{self, Patient, Registering};
use crate::rotation::{Carrier, Disk, Link, Stage, State};

/// A check under way, and where its report goes.
pub(super) type Examination = (Pin<Box<dyn Future<Output = CheckReport>>>, oneshot::Sender<Reply>);

/// Begins an examination, unless one is under way.
pub(super) fn begin(engine: &mut Engine, what: &What, reply: oneshot::Sender<Reply>) {
    if engine.examining.is_some() {
        let busy = Problem::busy("another check is under way", "wait for it, then try again");
        let _ = reply.send(Err(busy));
        return;
    }
    let at = engine.now();
    let carried = matches!(engine.machine.link(), Link::Up { carrier, .. } if carrier != Carrier::Claim);
    let registering = registering(engine, what);
    if registering == Registering::Try {
        engine.registering_tried = Some(Instant::now());
    }
    let patient = Patient {
        tools: Rc::clone(&engine.world.tools),
        config: Rc::clone(&engine.world.config),
        session: engine.world.live.as_ref().filter(|_| carried).map(|l| Rc::clone(&l.session)),
        disk: engine.machine.disk().cloned(),
        clock_trusted: engine.machine.clock_is_trusted(&at),
        registering,
    };
    engine.examining = Some((Box::pin(doctor::examine(patient)), reply));
}

/// Rule 7: RegisterThing is the fleet's scarcest quota and everybody on the socket may order a check, so its right is
/// tried by `check` alone, seldom, and never beside a request of the core's own.
fn registering(engine: &Engine, what: &What) -> Registering {
    if *what != What::Check {
        return Registering::Leave("only certrotctl check tries it: it costs the fleet's scarcest quota");
    }
    let unproved = |disk: &Disk| disk.slots.iter().any(|s| s.stage != Stage::Proved);
    let idle = engine.story.operation.is_none() && matches!(engine.machine.state(), State::Waiting(_));
    if !idle || engine.machine.disk().is_none_or(unproved) {
        return Registering::Leave("not beside a rotation in hand; try again when it has ended");
    }
    match engine.registering_tried {
        Some(at) if at.elapsed() < SELDOM => {
            Registering::Leave("tried less than a minute ago: it costs the fleet's scarcest quota")
        }
        _ => Registering::Try,
    }
}

/// The least time between two tries of RegisterThing's right.
const SELDOM: Duration = Duration::from_secs(60);
