//! What is fed with bytes from outside, one function each: none may panic, loop or allocate without bound, and each holds to
//! what is asserted here. Shared by the fuzzer (`fuzz_targets/`) and by the test that replays the corpora (`main.rs`).

#[path = "live.rs"]
mod live;

use std::collections::BTreeMap;
use std::path::Path;

use certrot_twin::broker::wire::Wire;
use certrot_twin::policy::{Context, Policy, decide};
use certrot_twin::provision::codec::{self, Format};
use certrot_twin::template::Template;
use certrotd::cloud::payload;
use certrotd::cloud::payload::CommitAnswer;
use certrotd::cloud::topics;
use certrotd::config::{Config, Facts, Purpose};
use certrotd::control::sse;
use certrotd::control::wire::{
    CheckReport, Event, Problem, ProvisionRequest, RotateRequest, RotationPatch, Status,
};
use certrotd::store::State;
use certrotd::x509;

/// One thing that takes bytes.
pub type Target = fn(&[u8]);

pub use live::{broker, requests, session};

/// Every target by the name of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("answers", answers),
    ("broker", broker),
    ("config", config),
    ("control", control),
    ("mqtt", mqtt),
    ("pem", pem),
    ("policy", policy),
    ("provisioning", provisioning),
    ("requests", requests),
    ("rotate", rotate),
    ("session", session),
    ("sse", events),
    ("state", state),
    ("template", template),
    ("topics", filters),
];

/// The configuration's text: it is taken, or everything that is wrong with it is told.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let facts = Facts {
        identity_present: false,
        certificate_lifetime: None,
        credentials_directory: None,
        purpose: Purpose::Check,
    };
    let file = Path::new("config.toml");
    match Config::parse(text, file, &facts) {
        Ok((config, warnings)) => {
            let _ = warnings.iter().map(ToString::to_string).count();
            let again = Config::parse(text, file, &facts).map(|(config, _)| config);
            assert_eq!(again.as_ref(), Ok(&config), "the same text is the same configuration");
        }
        Err(report) => {
            assert!(!report.problems.is_empty(), "a refusal names what is wrong");
            let lines = text.lines().count() + 1;
            assert!(report.problems.iter().all(|p| p.line.is_none_or(|l| l <= lines)), "{report}");
        }
    }
}

/// Answers of fleet provisioning, in JSON.
pub fn answers(bytes: &[u8]) {
    if let Ok(issued) = payload::parse_issued(bytes) {
        assert!(!issued.certificate_pem.is_empty() && issued.certificate_id.len() == 64);
    }
    let _ = payload::parse_registered(bytes);
    let rejected = payload::parse_rejected(bytes);
    assert!(!rejected.to_string().contains(char::is_control), "{rejected:?}");
    for accepted in [true, false] {
        if let Ok(CommitAnswer::Rejected { reason, retry_after, .. }) = payload::parse_commit(accepted, bytes)
        {
            assert!(reason.chars().count() <= 256 && !reason.contains(char::is_control), "{reason:?}");
            assert!(retry_after.is_none_or(|wait| wait.as_secs() <= 86_400));
        }
    }
}

/// The cloud's order to rotate.
pub fn rotate(bytes: &[u8]) {
    for now in [0, 1_795_900_000, i64::MAX] {
        match payload::parse_rotate(bytes).and_then(|order| order.at(now)) {
            Ok(_) => {}
            Err(error) => assert!(error.to_string().len() < 2048),
        }
    }
}

/// Requests of fleet provisioning as the twin reads them: JSON and CBOR.
pub fn provisioning(bytes: &[u8]) {
    for format in [Format::Json, Format::Cbor] {
        let _ = codec::read(format, bytes).map(|request| request.parameters.len());
    }
}

/// Certificates and keys, in PEM and in DER.
pub fn pem(bytes: &[u8]) {
    let _ = x509::certificates(bytes);
    let _ = x509::private_key(bytes);
    let _ = x509::public_key(bytes);
    let _ = x509::public_key_of(bytes);
    let _ = x509::pair(bytes, bytes);
    if let Ok(leaf) = x509::leaf(bytes) {
        assert_eq!(x509::unhex(&leaf.id_hex()), Some(leaf.id));
    }
    let whole = x509::leaf_of(bytes).is_ok();
    match x509::names_of(bytes) {
        Ok(names) => {
            for name in [names.subject, names.issuer] {
                assert!(name.chars().count() <= 64 && !name.contains(char::is_control), "{name:?}");
            }
        }
        Err(error) => assert!(!whole, "a certificate that is read has names: {error}"),
    }
}

/// `state.json` of a generation.
pub fn state(bytes: &[u8]) {
    if let Some(state) = State::parse(bytes) {
        let _ = state.asked();
        let shown = format!("{state:?}");
        if let Some(token) = state.token.as_ref().map(|t| t.reveal()).filter(|t| t.len() > 16) {
            assert!(!shown.contains(token), "a token is not shown");
        }
    }
}

/// Bodies of the control socket, both ways.
pub fn control(bytes: &[u8]) {
    fn both<T: serde::de::DeserializeOwned + serde::Serialize>(bytes: &[u8]) {
        if let Ok(value) = serde_json::from_slice::<T>(bytes) {
            assert!(serde_json::to_vec(&value).is_ok());
        }
    }
    both::<ProvisionRequest>(bytes);
    both::<RotateRequest>(bytes);
    both::<RotationPatch>(bytes);
    both::<Status>(bytes);
    both::<Event>(bytes);
    both::<Problem>(bytes);
    both::<CheckReport>(bytes);
}

/// A stream of events: however it is cut, the same events come out.
pub fn events(bytes: &[u8]) {
    let mut whole = sse::Reader::default();
    let Ok(expected) = whole.feed(bytes) else { return };
    let mut parts = sse::Reader::default();
    let mut found = Vec::new();
    for part in bytes.chunks(7) {
        match parts.feed(part) {
            Ok(events) => found.extend(events),
            Err(_) => return,
        }
    }
    assert_eq!(found, expected);
    assert_eq!(parts.last_id(), whole.last_id());
}

/// Policy documents, and a decision by each that is one.
pub fn policy(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(policy) = Policy::parse(text) else { return };
    let context =
        Context::new("SN-1", &"ab".repeat(32)).with_attached_thing("SN-1", Some("certrot"), &BTreeMap::new());
    for (action, resource) in [
        ("iot:Connect", "arn:aws:iot:eu-west-1:123456789012:client/SN-1"),
        ("iot:Publish", "arn:aws:iot:eu-west-1:123456789012:topic/device/SN-1/certrot/commit"),
        ("iot:Subscribe", "arn:aws:iot:eu-west-1:123456789012:topicfilter/device/+/#"),
    ] {
        let decision = decide([&policy], action, resource, &context);
        assert_eq!(decision, decide([&policy, &policy], action, resource, &context), "twice is once");
    }
}

/// Provisioning templates, and what each would make.
pub fn template(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(template) = Template::parse(text) else { return };
    let parameters = BTreeMap::from([("SerialNumber".to_owned(), "SN-1".to_owned())]);
    let _ = template.execute(&parameters, &"ab".repeat(32));
}

/// What a client sends to the twin's broker, whole and byte by byte.
pub fn mqtt(bytes: &[u8]) {
    let whole = Wire::default().receive(bytes);
    let mut wire = Wire::default();
    let (mut incoming, mut closed) = (0, false);
    for part in bytes.chunks(1) {
        let step = wire.receive(part);
        incoming += step.incoming.len();
        if step.close.is_some() {
            closed = true;
            break;
        }
    }
    assert_eq!((incoming, closed), (whole.incoming.len(), whole.close.is_some()));
}

/// Topics and filters: what is checked is matched without a panic, and a topic that matches itself.
pub fn filters(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (filter, topic) = text.split_once('\n').unwrap_or((text, text));
    let _ = topics::filter_names_reserved(filter);
    if topics::check_topic(topic).is_ok() {
        assert!(topics::matches(topic, topic), "{topic:?}");
        if topics::check_filter(filter).is_ok() && topics::matches(filter, topic) {
            assert!(!topic.starts_with('$') || filter.starts_with('$'), "{filter:?} {topic:?}");
        }
    }
}
