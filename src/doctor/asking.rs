//! Questions on the live session that cannot succeed: the refusal shows the right to ask, and nothing is minted,
//! registered or retired.
//!
//! AWS closes the session on what a policy forbids. So: nothing is asked beside a rotation; only what a reconnect does not
//! need is asked (a device that loses the session by a question has it again at once); and after a loss nothing more is
//! asked for a while ([`Memory`](super::Memory)). They are asked as any request is: one that stays without an answer spends
//! its operation on this connection, and the next one by the core goes over a new connection (rule 2).

use serde_json::Value;
use zeroize::Zeroizing;

use super::Patient;
use super::statement;
use super::step::{Step, lacking};
use crate::cloud::payload::{
    Class, CommitAnswer, no_commit, no_token, not_a_csr, parse_commit, parse_rejected,
};
use crate::cloud::{Answer, Cause, Operation, RequestError, Session, SubscribeError, TopicError};
use crate::config::{KeySource, RetireMode};
use crate::control::wire::{CheckResult, CheckStep, State};
use crate::world::{ANSWER, Detail};

/// Everything from CONNECT to the commit topic, in the order of a rotation.
pub(super) async fn questions(patient: &Patient) -> Vec<CheckStep> {
    let mut asking = Asking { patient, over: None, taken: None };
    let mut steps = vec![asking.connect()];
    steps.push(asking.subscribe().await);
    steps.extend(asking.ask_for_nothing().await);
    if patient.config.identity.key_source == KeySource::Cloud {
        steps.push(asking.listen_for_keys().await);
    }
    steps.push(asking.register().await);
    steps.push(asking.commit().await);
    steps
}

struct Asking<'a> {
    patient: &'a Patient,
    /// Why nothing more can be asked.
    over: Option<String>,
    /// The step that an earlier check lost the session by.
    taken: Option<CheckStep>,
}

impl<'a> Asking<'a> {
    fn connect(&mut self) -> CheckStep {
        let step = Step::begin("connect");
        let (patient, status) = (self.patient, &self.patient.status);
        let thing = status.thing_name.as_deref().unwrap_or("this device");
        if let Some(session) = patient.session.as_ref().filter(|s| s.is_alive()) {
            let since = status.connection.since.map(|t| format!(", since {t}")).unwrap_or_default();
            self.look_back();
            return step.ok(format!("a session as {thing}{since}; {} filters granted", session.granted()));
        }
        if let (Some(_), Some(why)) = (&patient.session, patient.quiet) {
            self.over = Some(why.to_owned());
            return step.skip(format!("the rotation has ended the session, or carried it over: {why}"));
        }
        self.over = Some("there is no session to ask on".to_owned());
        if status.state == State::Disconnected {
            return step.fail("offline", "an operator took the device offline", "certrotctl connect");
        }
        let connection = &status.connection;
        let cause = connection.cause.as_deref().unwrap_or("not-connected");
        let words = match &connection.text {
            Some(text) => format!("no session as {thing}: {text}"),
            None => format!("no session as {thing}: {}", status.why),
        };
        let fix =
            connection.remedy.as_deref().unwrap_or("certrotctl status says why; it is tried again by itself");
        let failed = step.fail(cause, words, fix);
        match cause {
            "connack-refused" | "closed-before-connack" => {
                lacking(failed, statement::connect(self.endpoint()))
            }
            _ => failed,
        }
    }

    /// What forbids questions although there is a session.
    fn look_back(&mut self) {
        self.over = self.patient.quiet.map(str::to_owned);
        let now = self.now();
        if let Some((step, minutes)) = self.patient.memory.borrow().lost(now) {
            self.over = Some(format!("{} cost the session; nothing is asked for {minutes} min", step.name));
            self.taken = Some(CheckStep {
                detail: format!("{} (not tried again for {minutes} min)", step.detail),
                millis: None,
                ..step.clone()
            });
        }
    }

    /// The session to ask on, or the step as it ends without one.
    fn on(&self, step: Step, name: &str) -> Result<&'a Session, Box<CheckStep>> {
        let patient = self.patient;
        if let Some(taken) = self.taken.as_ref().filter(|taken| taken.name == name) {
            return Err(Box::new(taken.clone()));
        }
        match (&self.over, &patient.session) {
            (Some(why), _) => Err(Box::new(step.skip(why.as_str()))),
            (None, None) => Err(Box::new(step.skip("there is no session to ask on"))),
            (None, Some(session)) => Ok(session),
        }
    }

    /// The answers of the next rotation: what is subscribed to when it asks, again where it was granted before. The standing filters were granted when the
    /// session began, and are left alone: a device that may not have them any more must not lose them now.
    async fn subscribe(&mut self) -> CheckStep {
        let step = Step::begin("subscribe");
        let session = match self.on(step, "subscribe") {
            Ok(session) => session,
            Err(ended) => return *ended,
        };
        let mut filters = Operation::create_from_csr().answers().to_vec();
        match Operation::register(self.patient.config.rotation.template.as_str()) {
            Ok(register) => filters.extend(register.answers()),
            Err(error) => return unfit(step, &error),
        }
        match session.subscribe(&filters, self.patient.tools.deadline(ANSWER)).await {
            Ok(()) => {
                let template = self.patient.config.rotation.template.as_str();
                step.ok(format!("granted: the answers of create-from-csr and of the template {template}"))
            }
            Err(error) => self.deaf(step, &error),
        }
    }

    /// A CSR that is none: what can be published, and whether fleet provisioning answers.
    async fn ask_for_nothing(&mut self) -> [CheckStep; 2] {
        let (publish, answers) = (Step::begin("publish"), Step::begin("provisioning"));
        let session = match self.on(publish, "publish") {
            Ok(session) => session,
            Err(ended) => {
                let why = if ended.result == CheckResult::Skipped {
                    ended.detail.as_str()
                } else {
                    "publish failed"
                };
                let skipped = answers.skip(why);
                return [*ended, skipped];
            }
        };
        let operation = Operation::create_from_csr();
        let taken = || publish.ok(format!("taken on {}", operation.request()));
        match self.ask(session, &operation, not_a_csr()).await {
            Ok(answer) if answer.accepted => [taken(), nonsense(answers, &operation)],
            Ok(_) => [taken(), answers.ok("a request that is no CSR was rejected, as it should be")],
            Err(error @ RequestError::Closed { .. }) => {
                [self.closed(publish, &error, &operation), answers.skip("publish failed")]
            }
            Err(error @ RequestError::NoAnswer { .. }) => [taken(), self.closed(answers, &error, &operation)],
            Err(error) => {
                let failed = self.closed(answers, &error, &operation);
                [publish.skip("it was not sent"), failed]
            }
        }
    }

    /// What can be tried of `key-source = "cloud"`: each request would mint, so only its answers are listened for.
    async fn listen_for_keys(&mut self) -> CheckStep {
        let step = Step::begin("cloud-key");
        let session = match self.on(step, "cloud-key") {
            Ok(session) => session,
            Err(ended) => return *ended,
        };
        let answers = Operation::create_keys().answers();
        match session.subscribe(&answers, self.patient.tools.deadline(ANSWER)).await {
            Ok(()) => step.ok(
                "the answers of CreateKeysAndCertificate can be heard; asking would mint, so whether the policy allows it \
                 is not tried",
            ),
            Err(error) => self.deaf(step, &error),
        }
    }

    /// RegisterThing with a token that is none (rule 7): it costs the fleet's scarcest quota, so it is seldom tried.
    async fn register(&mut self) -> CheckStep {
        let step = Step::begin("register");
        let session = match self.seldom(step, "register") {
            Ok(session) => session,
            Err(ended) => return *ended,
        };
        let template = self.patient.config.rotation.template.as_str();
        let operation = match Operation::register(template) {
            Ok(operation) => operation,
            Err(error) => return unfit(step, &error),
        };
        let ended = match self.ask(session, &operation, no_token()).await {
            Ok(answer) if answer.accepted => nonsense(step, &operation),
            Ok(answer) => {
                let said = parse_rejected(&answer.body);
                if (said.class, said.status) == (Class::Denied, 404) {
                    let words = format!("the cloud does not know the template {template}: {said}");
                    step.fail("template", words, "check [rotation] template, or make it: certrot-fleet setup")
                } else {
                    let said = format!("{} {}", said.status, said.code);
                    step.ok(format!(
                        "{template}: a token that is none was rejected, as it should be ({said})"
                    ))
                }
            }
            Err(error) => self.closed(step, &error, &operation),
        };
        self.show("register", &ended);
        ended
    }

    /// A commit that names no certificate: whoever retires rejects it, and touches nothing.
    async fn commit(&mut self) -> CheckStep {
        let step = Step::begin("commit");
        let patient = self.patient;
        if patient.config.retire.mode == RetireMode::None {
            return step.skip("retire.mode = \"none\": retiring is the operator's");
        }
        if patient.status.retire.pending {
            return step.skip("the daemon's own commit is on its way: see retire");
        }
        let session = match self.seldom(step, "commit") {
            Ok(session) => session,
            Err(ended) => return *ended,
        };
        let thing = patient.status.thing_name.as_deref().unwrap_or_default();
        let operation = match Operation::commit(thing) {
            Ok(operation) => operation,
            Err(error) => return unfit(step, &error),
        };
        let ended = match self.ask(session, &operation, no_commit()).await {
            Ok(answer) => self.committed(step, &answer, &operation),
            Err(error @ RequestError::NoAnswer { .. }) => {
                let fix = "the cloud's operator: the topic rule for device/+/certrot/commit, its Lambda and their rights: certrot-fleet status";
                step.fail("no-answer", format!("{error}: nobody retires old certificates"), fix)
            }
            Err(error) => self.closed(step, &error, &operation),
        };
        self.show("commit", &ended);
        ended
    }

    fn committed(&self, step: Step, answer: &Answer, operation: &Operation) -> CheckStep {
        let own = self.patient.status.certificate.as_ref().map_or("", |c| c.id.as_str());
        match parse_commit(answer.accepted, &answer.body) {
            Ok(CommitAnswer::Accepted { .. }) => nonsense(step, operation),
            Ok(CommitAnswer::Rejected { certificate_id, .. }) if certificate_id != own => step.fail(
                "commit",
                format!("the answer names another certificate than ours: {certificate_id}"),
                "the cloud's operator: the topic rule must pass principal() on: certrot-fleet setup",
            ),
            Ok(CommitAnswer::Rejected { reason, .. }) => step
                .ok(format!("a commit that names no certificate was rejected, as it should be ({reason})")),
            Err(error) => step.failed(&Detail::of("commit", &error, error.remedy())),
        }
    }

    /// As `on`, for what is tried once an hour and by `check` alone.
    fn seldom(&self, step: Step, name: &'static str) -> Result<&'a Session, Box<CheckStep>> {
        if let Some(why) = self.patient.sparing {
            return Err(Box::new(step.skip(why)));
        }
        let session = self.on(step, name)?;
        let shown = self.patient.memory.borrow().shown(name, self.now());
        shown.map_or(Ok(session), |shown| Err(Box::new(shown)))
    }

    fn show(&self, name: &'static str, step: &CheckStep) {
        self.patient.memory.borrow_mut().show(name, self.now(), step);
    }

    async fn ask(
        &self,
        session: &Session,
        operation: &Operation,
        question: &[u8],
    ) -> Result<Answer, RequestError> {
        let question = Zeroizing::new(question.to_vec());
        session.request(operation, question, self.patient.tools.deadline(ANSWER)).await
    }

    fn deaf(&mut self, step: Step, error: &SubscribeError) -> CheckStep {
        let failed = step.failed(&Detail::of("subscribe", error, error.remedy()));
        match error {
            SubscribeError::Refused { filters } => lacking(failed, statement::hear(self.endpoint(), filters)),
            SubscribeError::Closed { filters, cause } => {
                self.gone(failed, cause, statement::hear(self.endpoint(), filters))
            }
            SubscribeError::NoAnswer { .. } | SubscribeError::Unfit { .. } => failed,
        }
    }

    fn closed(&mut self, step: Step, error: &RequestError, operation: &Operation) -> CheckStep {
        let failed = step.failed(&Detail::of("answers", error, error.remedy()));
        match error {
            RequestError::Deaf { source, .. } => self.deaf(step, source),
            RequestError::Closed { cause, sent: true, .. } => {
                self.gone(failed, cause, statement::speak(self.endpoint(), &any_thing(operation)))
            }
            RequestError::Closed { .. } => {
                self.over = Some("the session ended".to_owned());
                failed
            }
            RequestError::Busy { .. } => step.skip("the same is being asked: try again in a minute"),
            RequestError::Spent { .. } => step
                .skip("an earlier question had no answer on this session; the next session is asked again"),
            RequestError::NotSent { .. } | RequestError::NoAnswer { .. } | RequestError::Unfit { .. } => {
                failed
            }
        }
    }

    /// The session ended under a question. Only where the broker closed it was it the question's doing.
    fn gone(&mut self, failed: CheckStep, cause: &Cause, statement: Value) -> CheckStep {
        self.over = Some(format!("the session ended under {}", failed.name));
        if *cause != Cause::Closed {
            return failed;
        }
        let fix = "the cloud's operator: allow it in the device's policy (AWS closes the session on what a policy does not \
                   allow); certrotd reconnects by itself";
        let failed = CheckStep {
            cause: Some("policy".to_owned()),
            remedy: Some(fix.to_owned()),
            ..lacking(failed, statement)
        };
        self.patient.memory.borrow_mut().lose(self.now(), &failed);
        failed
    }

    fn endpoint(&self) -> &str {
        self.patient.config.aws.endpoint.as_str()
    }

    fn now(&self) -> u64 {
        self.patient.tools.clock.boot()
    }
}

/// The request topic as a policy for all things would name it.
fn any_thing(operation: &Operation) -> String {
    let topic = operation.request();
    match topic.strip_prefix("device/").and_then(|rest| rest.split_once('/')) {
        Some((_, rest)) => format!("device/${{iot:Connection.Thing.ThingName}}/{rest}"),
        None => topic.to_owned(),
    }
}

fn nonsense(step: Step, operation: &Operation) -> CheckStep {
    let words = format!("a request on {} that cannot be right was accepted", operation.request());
    step.fail("proof", words, "what answers is not the cloud that this program knows: check [aws] endpoint")
}

fn unfit(step: Step, error: &TopicError) -> CheckStep {
    step.failed(&Detail::of("topic", error, error.remedy()))
}
