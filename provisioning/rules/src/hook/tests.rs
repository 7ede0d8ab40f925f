//! The hooks: what a claim holder and a device may not get.

use jiff::SignedDuration;

use super::*;

fn id(letter: &str) -> String {
    letter.repeat(64)
}

fn now() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

fn hours(n: i64) -> SignedDuration {
    SignedDuration::from_hours(n)
}

fn event(client: &str, serial: &str) -> Event {
    Event {
        claim_certificate_id: Some(id("f")),
        certificate_id: id("e"),
        certificate_pem: None,
        template_arn: None,
        client_id: Some(client.to_owned()),
        parameters: [(SERIAL_PARAMETER.to_owned(), serial.to_owned())].into(),
    }
}

fn held(letter: &str, status: Status, hours_ago: i64) -> Certificate {
    Certificate { id: id(letter), status, created: now() - hours(hours_ago), not_after: None }
}

fn claim(facts: &Facts) -> Result<Grant, Denial> {
    let event = event("claim-SN-1-x", "SN-1");
    decide(&event, &subject(&event)?, facts, now())
}

fn facts(held: Vec<Certificate>, word: Option<Reclaim>) -> Facts {
    let attributes = word.map(|w| (RECLAIM_ATTRIBUTE.to_owned(), w.value())).into_iter().collect();
    Facts {
        listing: Listing::NoList,
        thing: Some(Thing { version: Some(7), type_name: None, attributes }),
        held,
    }
}

fn used(denial: Result<Grant, Denial>) -> Option<Word> {
    match denial {
        Err(Denial::Held { word, .. }) => Some(word),
        _ => None,
    }
}

#[test]
fn rule_23_a_fresh_serial_gets_its_thing_and_only_that_name() {
    let grant = claim(&Facts::default()).unwrap();
    assert!(grant.answer.allow_provisioning);
    assert_eq!(grant.answer.parameter_overrides, [("SerialNumber".to_owned(), "SN-1".to_owned())].into());
    assert_eq!(grant.write, None);
}

#[test]
fn rule_23_a_bad_serial_never_comes_to_a_look_up() {
    for serial in ["", "a/b", "+", "#", "claim-x", "Default string", "To-Be-Filled-By-OEM", &"x1".repeat(51)]
    {
        assert!(matches!(subject(&event("claim-1", serial)), Err(Denial::Serial { .. })), "{serial}");
    }
    let mut nameless = event("claim-1", "SN-1");
    nameless.parameters.clear();
    assert_eq!(subject(&nameless), Err(Denial::NoSerial));
}

#[test]
fn a_connection_that_is_no_claims_cannot_use_the_claim_template() {
    for client in ["SN-1", "", "Claim-1", "xclaim-"] {
        assert!(matches!(subject(&event(client, "SN-1")), Err(Denial::Client(_))), "{client}");
    }
}

#[test]
fn rule_23_the_allow_list_decides_where_there_is_one() {
    let with = |listing| claim(&Facts { listing, ..Facts::default() });
    assert!(with(Listing::Listed).is_ok());
    assert_eq!(with(Listing::NotListed), Err(Denial::NotListed("SN-1".to_owned())));
}

#[test]
fn rule_23_a_thing_that_holds_any_attached_certificate_is_closed_to_the_claim() {
    for status in [
        Status::Active,
        Status::Inactive,
        Status::Revoked,
        Status::PendingActivation,
        Status::PendingTransfer,
        Status::Unknown,
    ] {
        assert_eq!(used(claim(&facts(vec![held("a", status, 5)], None))), Some(Word::None), "{status}");
    }
}

#[test]
fn rule_23_a_certificate_past_its_end_holds_nothing() {
    let ends = |at| Certificate { not_after: Some(at), ..held("a", Status::Active, 900) };
    assert!(claim(&facts(vec![ends(now() - hours(1))], None)).is_ok());
    assert!(claim(&facts(vec![ends(now())], None)).is_err());
}

#[test]
fn rule_23_the_certificate_in_the_event_does_not_stand_in_its_own_way() {
    // A registration that landed while its answer was lost, tried again.
    assert!(claim(&facts(vec![held("e", Status::Active, 0)], None)).is_ok());
    assert!(claim(&facts(vec![held("e", Status::Active, 0), held("a", Status::Active, 9)], None)).is_err());
}

#[test]
fn a_quarantine_outlives_the_ownership_token_of_the_certificate_under_it() {
    for status in [Status::Inactive, Status::Revoked] {
        let again = claim(&facts(vec![held("e", status, 0)], None));
        assert!(matches!(again, Err(Denial::Quarantined { .. })), "{status}");
        let word = Some(Reclaim::given(now() - hours(1)));
        assert!(claim(&facts(vec![held("e", status, 0)], word)).is_err());
    }
}

#[test]
fn rule_23_reclaim_lets_one_certificate_in_and_binds_the_word_to_it() {
    let grant = claim(&facts(vec![held("a", Status::Inactive, 99)], Some(Reclaim::given(now() - hours(1)))));
    let write = grant.unwrap().write.unwrap();
    assert_eq!((write.attribute, write.expected_version), (RECLAIM_ATTRIBUTE, Some(7)));
    assert_eq!(write.value, format!("{}@{}@{}", id("e"), now() - hours(1), now()));
}

#[test]
fn rule_23_a_word_is_used_up_by_one_success() {
    let old = held("a", Status::Inactive, 99);
    let word = |by: Option<&str>| {
        let given = Reclaim::given(now() - hours(4));
        Some(by.map_or(given.clone(), |by| given.used(&id(by), now() - hours(2))))
    };
    // The first one let in is attached: by its binding, even where it was minted before the word was given …
    let first = held("b", Status::Active, 3);
    assert_eq!(used(claim(&facts(vec![old.clone(), first], word(Some("b"))))), Some(Word::Used));
    // … or by its date, where the binding was lost.
    let first = held("b", Status::Active, 1);
    assert_eq!(used(claim(&facts(vec![old.clone(), first], word(None)))), Some(Word::Used));
    // … and its successor uses it up as well, when the first is long retired.
    let successor = held("c", Status::Active, 1);
    assert_eq!(used(claim(&facts(vec![successor], word(Some("b"))))), Some(Word::Used));
}

#[test]
fn rule_23_a_word_is_not_used_up_by_a_failure() {
    let old = || held("a", Status::Inactive, 99);
    let bound = |by: &str| Some(Reclaim::given(now() - hours(4)).used(&id(by), now() - hours(2)));
    // The same certificate again: nothing to write. Another, where the first never came to be attached: bound anew.
    assert_eq!(claim(&facts(vec![old()], bound("e"))).unwrap().write, None);
    assert_eq!(claim(&facts(vec![old(), held("e", Status::Active, 1)], bound("e"))).unwrap().write, None);
    let anew = claim(&facts(vec![old()], bound("b"))).unwrap().write.unwrap();
    assert!(anew.value.starts_with(&id("e")));
}

#[test]
fn rule_23_a_word_is_kept_for_who_was_let_in_until_that_one_cannot_come_any_more() {
    let old = || held("a", Status::Inactive, 99);
    let bound = |minutes: i64| {
        let at = now() - jiff::SignedDuration::from_mins(minutes);
        Some(Reclaim::given(now() - hours(4)).used(&id("b"), at))
    };
    for minutes in [0, 1, 69] {
        assert_eq!(used(claim(&facts(vec![old()], bound(minutes)))), Some(Word::Used), "{minutes}");
    }
    assert!(claim(&facts(vec![old()], bound(70))).is_ok());
    // A word of which no time was written is kept for its certificate to its end.
    let unknown = Reclaim { given: now() - hours(4), used_by: Some(id("b")), used_at: None };
    assert_eq!(used(claim(&facts(vec![old()], Some(unknown)))), Some(Word::Used));
}

#[test]
fn rule_23_a_word_ends_after_a_day() {
    let old = || vec![held("a", Status::Inactive, 99)];
    assert_eq!(used(claim(&facts(old(), Some(Reclaim::given(now() - hours(24)))))), Some(Word::Over));
    let scrawl = Thing {
        version: None,
        type_name: None,
        attributes: [(RECLAIM_ATTRIBUTE.to_owned(), "please".to_owned())].into(),
    };
    let facts = Facts { listing: Listing::NoList, thing: Some(scrawl), held: old() };
    assert_eq!(used(claim(&facts)), Some(Word::None));
}

#[test]
fn rule_24_a_rotation_is_for_the_authenticated_client_whatever_the_device_wrote() {
    let answer = rotate(&event("SN-1", "victim")).unwrap();
    assert_eq!(answer.parameter_overrides["SerialNumber"], "SN-1");
    for client in ["claim-SN-1-x", "", "a/b", "+", "#", "*"] {
        assert!(matches!(rotate(&event(client, "SN-1")), Err(Denial::Client(_))), "{client}");
    }
    let mut unknown = event("SN-1", "SN-1");
    unknown.client_id = None;
    assert!(rotate(&unknown).is_err());
}

#[test]
fn rule_24_an_allow_leaves_nothing_behind_for_the_next_event() {
    assert!(rotate(&event("SN-1", "x")).is_ok());
    assert!(rotate(&event("+", "x")).is_err());
    assert_eq!(serde_json::to_string(&Answer::deny()).unwrap(), r#"{"allowProvisioning":false}"#);
}

#[test]
fn events_and_answers_are_the_json_of_aws_and_debug_output_shows_no_certificate() {
    let json = r#"{"claimCertificateId":"c","certificateId":"i","certificatePem":"PEM","templateArn":"t",
        "clientId":"SN-1","parameters":{"SerialNumber":"SN-1","AWS::IoT::Certificate::Id":"i"},"new":1}"#;
    let event: Event = serde_json::from_str(json).unwrap();
    assert_eq!(event.client_id.as_deref(), Some("SN-1"));
    assert!(!format!("{event:?}").contains("PEM"));
    let answer = serde_json::to_string(&rotate(&event).unwrap()).unwrap();
    assert_eq!(answer, r#"{"allowProvisioning":true,"parameterOverrides":{"SerialNumber":"SN-1"}}"#);
}
