//! Tests of the gate: each begins with somebody who must not come in.

use hyper::header::HeaderValue;

use super::*;

const TOKEN: &str = "correct-horse-battery";

fn gate_at(listen: &str, names: &[&str], skip: bool) -> Gate {
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let hosts = Hosts::new(listen.parse().unwrap(), &names).unwrap();
    Gate::new(Setup { token: Some(TOKEN.to_owned()), skip, hosts, port: 8080 }).unwrap()
}

fn gate() -> Gate {
    gate_at("127.0.0.1:8080", &[], false)
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    map
}

fn named(gate: &Gate, host: &str) -> Option<Named> {
    gate.host(&headers(&[("host", host)])).ok()
}

#[test]
fn a_name_that_was_turned_on_us_is_refused_and_ours_are_not() {
    let gate = gate();
    for bad in [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "localhost.",
        "10.0.0.7",
        "0.0.0.0",
        "user@127.0.0.1",
        "127.0.0.1:80:80",
        "127.0.0.1:x",
        "127.0.0.1:99999",
        "",
        "[::1",
        "127.1",
        "localhost/",
        "2130706433",
    ] {
        assert!(named(&gate, bad).is_none(), "{bad:?}");
    }
    for good in ["127.0.0.1:8080", "localhost:8080", "LOCALHOST", "[::1]:8080", "127.0.0.1:9000"] {
        assert!(named(&gate, good).is_some(), "{good:?}");
    }
    assert!(gate.host(&headers(&[])).is_err());
    assert!(
        gate.host(&headers(&[("host", "localhost"), ("host", "localhost")])).is_err(),
        "one Host, not two"
    );
}

#[test]
fn an_address_that_is_listened_at_is_known_by_itself_and_allowed_names_by_name_and_port() {
    let all = gate_at("0.0.0.0:8080", &[], false);
    assert!(named(&all, "192.0.2.7:8080").is_some() && named(&all, "box.example").is_none());
    let one = gate_at("192.0.2.7:8080", &["Preview.Example", "proxy.example:8443"], false);
    assert!(named(&one, "192.0.2.7:8080").is_some() && named(&one, "192.0.2.8:8080").is_none());
    assert!(named(&one, "localhost:8080").is_none(), "nobody listens there");
    assert!(named(&one, "preview.example").is_some() && named(&one, "preview.example:99").is_some());
    assert!(named(&one, "proxy.example:8443").is_some() && named(&one, "proxy.example").is_none());
    assert!(Hosts::new("127.0.0.1:1".parse().unwrap(), &["http://x".to_owned()]).is_err());
}

#[test]
fn only_our_own_page_may_change_something() {
    let gate = gate();
    let host = named(&gate, "127.0.0.1:8080").unwrap();
    for bad in [
        &[][..],
        &[("origin", "null")],
        &[("origin", "http://evil.example")],
        &[("origin", "http://127.0.0.1:9090")],
        &[("origin", "http://localhost:8080")],
        &[("origin", "ftp://127.0.0.1:8080")],
        &[("origin", "http://127.0.0.1:8080"), ("origin", "http://evil.example")],
        &[("origin", "http://127.0.0.1:8080"), ("sec-fetch-site", "cross-site")],
        &[("origin", "http://127.0.0.1:8080"), ("sec-fetch-site", "same-site")],
        &[("origin", "http://127.0.0.1:8080"), ("sec-fetch-site", "none")],
    ] {
        let refused = gate.origin(&headers(bad), &host).unwrap_err();
        assert_eq!((refused.status, refused.code.as_str()), (403, "cross-origin"), "{bad:?}");
    }
    let own = ("origin", "http://127.0.0.1:8080");
    assert_eq!(gate.origin(&headers(&[own]), &host), Ok(false));
    assert_eq!(gate.origin(&headers(&[own, ("sec-fetch-site", "same-origin")]), &host), Ok(false));
    let proxied = gate_at("127.0.0.1:8080", &["preview.example"], false);
    assert_eq!(proxied.origin(&headers(&[("origin", "https://preview.example")]), &host), Ok(true));
}

#[test]
fn another_sites_page_may_not_even_read() {
    let gate = gate();
    for bad in ["cross-site", "same-site"] {
        assert!(gate.read_from(&headers(&[("sec-fetch-site", bad)])).is_err(), "{bad}");
    }
    for good in ["same-origin", "none"] {
        assert!(gate.read_from(&headers(&[("sec-fetch-site", good)])).is_ok(), "{good}");
    }
    assert!(gate.read_from(&headers(&[])).is_ok(), "curl says nothing");
}

#[test]
fn a_session_is_opened_by_the_token_alone_and_ends_when_it_is_closed_or_old() {
    let mut gate = gate();
    let (now, host) = (Instant::now(), named(&gate, "localhost").unwrap());
    for wrong in ["", "correct-horse-batter", "correct-horse-battery ", "Correct-horse-battery"] {
        assert_eq!(gate.open(Proof::Token(wrong), false, now).unwrap_err().status, 401, "{wrong:?}");
    }
    let line = gate.open(Proof::Token(TOKEN), false, now).unwrap();
    assert!(line.contains("; HttpOnly; SameSite=Strict") && !line.contains("Secure"), "{line}");
    assert!(!line.contains(TOKEN), "the cookie is not the token");
    let pair = line.split(';').next().unwrap();
    let with = headers(&[("cookie", &format!("other=1; {pair}"))]);
    assert!(gate.is_open(&with, &host, now));
    for bad in [
        pair.replace("8080", "8081"),
        pair[..pair.len() - 1].to_owned(),
        format!("{pair}0"),
        "certrot-console-8080=".to_owned(),
    ] {
        assert!(!gate.is_open(&headers(&[("cookie", &bad)]), &host, now), "{bad}");
    }
    assert!(!gate.is_open(&headers(&[]), &host, now));
    assert!(!gate.is_open(&with, &host, now + LIFE), "a day's work");
    gate.close(&with, now);
    assert!(!gate.is_open(&with, &host, now));
    assert!(gate.open(Proof::Token(TOKEN), true, now).unwrap().ends_with("; Secure"));
}

#[test]
fn the_printed_link_works_once_and_is_not_the_token() {
    let mut gate = gate();
    let (now, ticket) = (Instant::now(), gate.ticket().to_owned());
    assert!(gate.open(Proof::Token(&ticket), false, now).is_err());
    assert!(gate.open(Proof::Ticket(TOKEN), false, now).is_err());
    assert!(gate.open(Proof::Ticket(&ticket), false, now).is_ok());
    let again = gate.open(Proof::Ticket(&ticket), false, now).unwrap_err();
    assert!(again.remedy.contains("works once"), "{again:?}");
}

#[test]
fn guesses_are_paced_for_everybody_together_and_a_right_token_gets_in_in_time() {
    let mut gate = gate();
    let now = Instant::now();
    for n in 0..GUESSES {
        assert_eq!(gate.open(Proof::Token("wrong"), false, now).unwrap_err().status, 401, "{n}");
    }
    assert_eq!(gate.open(Proof::Token(TOKEN), false, now).unwrap_err().status, 429, "not even looked at");
    let later = now + Duration::from_secs(1);
    assert_eq!(gate.open(Proof::Token("wrong"), false, later).unwrap_err().status, 401);
    assert_eq!(gate.open(Proof::Token("wrong"), false, later).unwrap_err().status, 429);
    let calm = later + Duration::from_secs(60);
    for n in 0..GUESSES * 3 {
        assert!(gate.open(Proof::Token(TOKEN), false, calm).is_ok(), "a right one costs nothing: {n}");
    }
}

#[test]
fn sessions_are_bounded_and_the_oldest_goes_first() {
    let mut gate = gate();
    let (now, host) = (Instant::now(), named(&gate, "localhost").unwrap());
    let mut opened = || {
        let line = gate.open(Proof::Token(TOKEN), false, now).unwrap();
        headers(&[("cookie", line.split(';').next().unwrap())])
    };
    let first = opened();
    let rest: Vec<_> = (0..SESSIONS).map(|_| opened()).collect();
    assert!(!gate.is_open(&first, &host, now));
    assert!(rest.iter().all(|h| gate.is_open(h, &host, now)));
}

#[test]
fn without_a_token_only_a_name_of_this_machine_gets_in() {
    let gate = gate_at("127.0.0.1:8080", &["preview.example"], true);
    let open = |host: &str| gate.is_open(&headers(&[]), &named(&gate, host).unwrap(), Instant::now());
    assert!(open("localhost:8080") && open("127.0.0.1"));
    assert!(!open("preview.example"), "who comes by a proxy is asked");
}
