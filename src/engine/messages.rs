//! Carries applications' messages between the control socket, the post office and the session in hand.
//!
//! What they send may close the session; that is told apart here from a stranger's doing, so that it never counts for
//! rule 22, and the core never hears of it but as a connection that is made anew.

use std::pin::Pin;

use tokio::time::{Duration, Instant, timeout};

use super::Engine;
use crate::cloud::{Cause, NotTaken};
use crate::control::Application;
use crate::control::wire::{Message, Problem};
use crate::messages::{Blame, Command, End, Rules};
use crate::policy;
use crate::rotation::{Action, Carrier, Effect, Happening, Input, State};
use crate::story::now;
use crate::world::{Detail, Doing, Ended};

impl Engine {
    /// What applications may do under the configuration in force.
    pub(super) fn message_rules(&self) -> Rules {
        let messages = &self.world.config.messages;
        let Some(who) = self.world.who() else { return Rules::default() };
        let fill = |filters: &[crate::config::Filter]| {
            filters.iter().map(|filter| filter.as_str().replace("{thing}", &who.thing)).collect()
        };
        Rules {
            publish: fill(&messages.publish),
            subscribe: fill(&messages.subscribe),
            users: policy::users(&self.world.config),
        }
    }

    /// Takes in what an application asks.
    pub(super) fn application(&mut self, what: Application) {
        if self.rules.users.is_empty() {
            self.rules = self.message_rules();
        }
        let at = Instant::now();
        let problem = self.no_messages();
        match (what, problem) {
            (Application::Publish(publish), None) => self.post.publish(at, publish, &self.rules),
            (Application::Subscribe(subscribe), None) => self.post.subscribe(at, subscribe, &self.rules),
            (Application::Publish(publish), Some(problem)) => {
                let _ = publish.reply.send(Err(problem));
            }
            // A subscriber waits for the session, however long an operator keeps it away.
            (Application::Subscribe(subscribe), Some(problem)) if problem.code == "offline" => {
                self.post.subscribe(at, subscribe, &self.rules);
            }
            (Application::Subscribe(subscribe), Some(problem)) => {
                let _ = subscribe.reply.send(Err(problem));
            }
            (Application::Left, _) => {}
        }
    }

    /// Why there can be no messages now, where waiting a moment does not help.
    fn no_messages(&self) -> Option<Problem> {
        if self.stopping {
            let remedy = "try again when it is up: systemctl status certrotd";
            let detail = "it takes no more messages";
            return Some(Problem::new(503, "stopping", "The daemon is stopping", detail, remedy));
        }
        if self.rules.users.is_empty() || self.machine.disk().is_some_and(|disk| disk.current().is_none()) {
            let remedy = "certrotctl status says what provisioning waits for";
            let detail = "there is no identity to send messages with";
            return Some(Problem::conflict("not-provisioned", detail, remedy));
        }
        let remedy = "certrotctl connect, then try again";
        let offline = || Problem::conflict("offline", "an operator took the device offline", remedy);
        self.machine.offline().then(offline)
    }

    /// Has done on the session in hand what is to be done now.
    pub(super) fn tend(&mut self) {
        let at = Instant::now();
        // The claim's session is for provisioning alone.
        let live = self.world.live.as_ref().filter(|live| live.carrier != Carrier::Claim);
        let number = live.map(|live| live.number);
        if number != self.tended {
            if self.tended.is_some() {
                self.post.down(at, End::Expected);
            }
            if let Some(live) = live {
                self.post.up(live.present);
            }
            self.tended = number;
        }
        for command in self.post.work(at) {
            if self.perform(&command).is_err() {
                self.post.not_taken(at, &command);
            }
        }
    }

    fn perform(&self, command: &Command) -> Result<(), NotTaken> {
        let session = &self.world.live.as_ref().ok_or(NotTaken)?.session;
        match command {
            Command::Publish { id, topic, payload } => session.hand_over(*id, topic, payload.clone()),
            Command::Subscribe { id, filters } => session.ask_for(*id, filters.clone()),
            Command::Unsubscribe { filters } => session.give_up(filters.clone()),
        }
    }

    /// Nobody is left to hear: the broker need not keep anything for applications while the daemon is away.
    pub(super) fn close_the_post(&mut self) {
        for command in self.post.end() {
            // The session's own end says the rest.
            let _ = self.perform(&command);
        }
    }

    /// The other side has ended the session.
    pub(super) fn closed(&mut self, cause: &Cause) {
        // During a proof the broker closes our own session for the successor's (rule 8).
        let expected = matches!(self.machine.state(), State::Working(Effect::Prove(_)));
        let end = if !expected && *cause == Cause::Closed { End::Closed } else { End::Expected };
        let at = Instant::now();
        let blame = self.post.down(at, end);
        self.tended = None;
        self.world.lost();
        // Not while something is asked: then it counts for nothing in the core either.
        let idle = self.is_idle() && !self.machine.contested() && !self.machine.offline();
        if idle && self.post.excuses(at, &blame) {
            self.story.closed(application(cause, &blame), false);
            self.hang_up_for(None);
        } else {
            self.story.closed(Detail::of_cause(cause), expected);
            self.turn(Input::Happened(Happening::Closed));
        }
    }

    /// A message of the cloud's that is not the daemon's own.
    pub(super) fn deliver(&mut self, topic: String, payload: &[u8], retain: bool, dup: bool) {
        let size = topic.len() + payload.len();
        let time = now(&self.world.tools.clock);
        let message = Message { time, topic, retain, dup, ..Message::default() };
        self.post.message(message.with(payload.to_vec()), size);
    }

    /// Lets the daemon's own requests go first: what is on its way is waited for, a moment, and nothing follows it.
    pub(super) fn make_way(&mut self, action: Action, doing: Doing) -> Doing {
        match action {
            Action::Do(Effect::Issue(_) | Effect::Register(_) | Effect::Commit(_)) => {
                self.post.hold(Instant::now());
                let mut idle = self.post.idle();
                Box::pin(async move {
                    let _ = timeout(A_MOMENT, idle.wait_for(|idle| *idle)).await;
                    doing.await
                }) as Pin<Box<dyn Future<Output = Ended>>>
            }
            Action::Do(Effect::Prove(_)) => {
                self.post.hold(Instant::now());
                doing
            }
            _ => doing,
        }
    }
}

/// Why the session ended, where applications have to do with it.
fn application(cause: &Cause, blame: &Blame) -> Detail {
    let (text, remedy) = match blame {
        Blame::Convicted(name) => (
            format!("{cause}, again on {name:?} alone: the cloud's policy forbids it"),
            "the application, or the device's policy; it is not sent any more",
        ),
        _ => (
            format!("{cause} right after messages of applications were sent: each is tried alone"),
            "time: connected again by itself",
        ),
    };
    Detail::new("application", text, remedy)
}

/// For what is on its way before the daemon asks something.
const A_MOMENT: Duration = Duration::from_secs(2);
