//! Whoever must not come in: other names, other pages, no session, guessed tokens, paths that lead out.

use std::sync::{Arc, Mutex};

use certrotd::control::{Limits, Order};

use crate::fake::{Fake, answer};
use crate::served::{Served, TOKEN};

const READS: [&str; 5] =
    ["/v1/status", "/v1/history", "/v1/check", "/v1/events", "/v1/subscribe?filter=device%2FSN-0001%2F%23"];
const ORDERS: [(&str, &str); 6] = [
    ("POST", "/v1/provision"),
    ("POST", "/v1/rotate"),
    ("POST", "/v1/connect"),
    ("POST", "/v1/disconnect"),
    ("POST", "/v1/publish"),
    ("PATCH", "/v1/rotation"),
];

/// A daemon whose engine notes what it is ordered, and a console before it.
async fn noted() -> (Fake, Served, Arc<Mutex<Vec<String>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let noting = heard.clone();
    let engine = move |order: Order| {
        noting.lock().unwrap().push(format!("{:?}", order.what));
        answer(order);
    };
    let fake = Fake::with(Limits::default(), engine, None).await;
    let served = Served::over(&fake.socket);
    (fake, served, heard)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_was_turned_on_us_by_its_name_gets_nothing_at_all() {
    let (_fake, served, heard) = noted().await;
    let cookie = served.sign_in();
    for host in ["evil.example", "evil.example:8080", "127.0.0.1.nip.io", "localhost.evil.example"] {
        for path in ["/", "/js/main.js", "/v1/status", "/console/session", "/nowhere"] {
            let answer = served.ask("GET", path, &[("host", host), ("cookie", &cookie)], "");
            assert_eq!((answer.status, answer.code().as_str()), (421, "host-not-allowed"), "{host} {path}");
        }
    }
    for request in [
        "GET / HTTP/1.1\r\nconnection: close\r\n\r\n".to_owned(),
        "GET / HTTP/1.0\r\n\r\n".to_owned(),
        format!(
            "GET / HTTP/1.1\r\nhost: {0}\r\nhost: evil.example\r\nconnection: close\r\n\r\n",
            served.address
        ),
        format!("GET http://evil.example/ HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", served.address),
        format!("GET / HTTP/1.1\r\nhost: x@{}\r\nconnection: close\r\n\r\n", served.address),
    ] {
        let answer = served.raw(request.as_bytes());
        assert!(answer.status == 400, "{request:?}: {answer:?}");
    }
    let connect = format!("CONNECT evil.example:443 HTTP/1.1\r\nhost: {}\r\n\r\n", served.address);
    assert!(served.raw(connect.as_bytes()).status >= 400, "no proxy");
    assert!(heard.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_session_nothing_is_read_and_nothing_ordered() {
    let (_fake, served, heard) = noted().await;
    let forged = format!("certrot-console-{}={}", served.address.port(), "0".repeat(64));
    for cookie in ["", "x=y", &forged, &format!("{forged}; {forged}")] {
        for path in READS {
            let answer = served.ask("GET", path, &[("cookie", cookie)], "");
            assert_eq!((answer.status, answer.code().as_str()), (401, "signed-out"), "{path}");
            assert!(!answer.body.contains("SN-0001"), "{answer:?}");
        }
        for (method, path) in ORDERS {
            let answer = served.order(method, path, cookie, "{}");
            assert_eq!((answer.status, answer.code().as_str()), (401, "signed-out"), "{path}");
        }
    }
    assert!(heard.lock().unwrap().is_empty());
    let cookie = served.sign_in();
    assert_eq!(served.order("POST", "/v1/rotate", &cookie, "{}").status, 200);
    assert_eq!(heard.lock().unwrap().len(), 1, "the same request with a session gets through");
    assert_eq!(served.order("DELETE", "/console/session", &cookie, "{}").status, 204);
    assert_eq!(served.ask("GET", "/v1/status", &[("cookie", &cookie)], "").status, 401, "signed out is out");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_page_cannot_order_though_the_browser_sends_the_cookie() {
    let (_fake, served, heard) = noted().await;
    let cookie = served.sign_in();
    let own = served.origin();
    let port = served.address.port();
    let strangers = [
        None,
        Some("null".to_owned()),
        Some("http://evil.example".to_owned()),
        Some(format!("http://127.0.0.1:{}", port.wrapping_add(1))),
        Some(format!("http://localhost:{port}")),
        Some(format!("{own}.evil.example")),
        Some(format!("{own}@evil.example")),
    ];
    for (method, path) in
        ORDERS.into_iter().chain([("POST", "/console/session"), ("DELETE", "/console/session")])
    {
        for origin in &strangers {
            let mut headers = vec![("cookie", cookie.as_str()), ("content-type", "application/json")];
            headers.extend(origin.as_deref().map(|o| ("origin", o)));
            let answer = served.ask(method, path, &headers, &format!("{{\"token\": \"{TOKEN}\"}}"));
            assert_eq!((answer.status, answer.code().as_str()), (403, "cross-origin"), "{path} {origin:?}");
        }
        let fetched = [("origin", own.as_str()), ("sec-fetch-site", "cross-site"), ("cookie", &cookie)];
        assert_eq!(served.ask(method, path, &fetched, "{}").status, 403, "{path}");
        if method == "DELETE" {
            continue; // it takes no body
        }
        for media in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
            let form = [("origin", own.as_str()), ("cookie", &cookie), ("content-type", media)];
            assert_eq!(served.ask(method, path, &form, "{}").status, 415, "{path} {media}");
        }
    }
    for site in ["cross-site", "same-site"] {
        let headers = [("sec-fetch-site", site), ("cookie", cookie.as_str())];
        assert_eq!(served.ask("GET", "/v1/status", &headers, "").status, 403, "{site}");
    }
    let asked = served.ask(
        "OPTIONS",
        "/v1/rotate",
        &[("origin", "http://evil.example"), ("access-control-request-method", "POST")],
        "",
    );
    assert!(asked.status == 405 && asked.header("access-control-allow-origin").is_none(), "{asked:?}");
    assert!(heard.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_cannot_be_tried_out() {
    let (_fake, served, _) = noted().await;
    let session = served.sign_in();
    let mut seen = Vec::new();
    for n in 0..30 {
        seen.push(served.try_token(&format!("guess-number-{n:04}")).status);
    }
    assert!(seen.contains(&401) && seen.iter().filter(|s| **s == 429).count() >= 10, "{seen:?}");
    let refused = served.try_token(TOKEN);
    if refused.status == 429 {
        assert_eq!(refused.header("retry-after"), Some("2"));
    }
    assert_eq!(
        served.ask("GET", "/v1/status", &[("cookie", &session)], "").status,
        200,
        "who is in stays in"
    );
    // It earns a guess a second: the right one gets in.
    let in_time = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        served.try_token(TOKEN).status == 204
    });
    assert!(in_time);
    let said = served.complaints();
    assert!(said.contains("nobody was let in"), "{said}");
    assert!(!said.contains("guess-number") && !said.contains(TOKEN), "no token is told: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_link_opens_once_and_carries_no_token() {
    let (_fake, served, _) = noted().await;
    let (page, ticket) = served.link.split_once("#login=").expect("a fragment, which no browser sends");
    assert_eq!(page, format!("http://{}/", served.address));
    assert!(!served.link.contains(TOKEN) && ticket.len() == 64);
    let body = format!("{{\"ticket\": \"{ticket}\"}}");
    let first = served.order("POST", "/console/session", "", &body);
    let cookie = first.header("set-cookie").expect("a cookie");
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && cookie.contains("Path=/"),
        "{cookie}"
    );
    assert!(!cookie.contains(ticket) && !cookie.contains(TOKEN), "{cookie}");
    assert_eq!(served.order("POST", "/console/session", "", &body).status, 401);
    for wrong in ["{}", "[]", "{\"token\": 7}", "{\"token\": null}", "{\"token\": \"\"}", "not json", "\"x\""]
    {
        let answer = served.order("POST", "/console/session", "", wrong);
        assert!(matches!(answer.status, 400 | 401), "{wrong}: {answer:?}");
        assert!(answer.header("set-cookie").is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_leads_out_of_what_is_served() {
    let (_fake, served, heard) = noted().await;
    let cookie = served.sign_in();
    for path in [
        "/../Cargo.toml",
        "/js/../../../Cargo.toml",
        "/js/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc/passwd",
        "//etc/passwd",
        "/js/main.js%00",
        "/js/main.js/",
        "/js/",
        "/index.html",
        "/V1/status",
        "/v1/status/",
        "/v1/%73tatus",
        "/v1/../metrics",
        "/metrics",
        "/v1/reload",
        "/v1/adopt",
        "/v1",
        "/v1/",
        "/.git/config",
        "/js/main.js.map",
        "/js\\main.js",
    ] {
        let answer = served.ask("GET", path, &[("cookie", &cookie)], "");
        assert!(matches!(answer.status, 404 | 400), "{path}: {answer:?}");
        assert!(!answer.body.contains("root:") && !answer.body.contains("[package]"));
        let answer = served.order("POST", path, &cookie, "{}");
        assert!(matches!(answer.status, 404 | 400 | 405), "{path}: {answer:?}");
    }
    for (method, path) in ORDERS {
        let answer = served.ask("GET", path, &[("cookie", &cookie)], "");
        assert_eq!((answer.status, answer.header("allow")), (405, Some(method)), "{path}");
    }
    assert!(heard.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_the_headers_that_keep_the_browser_in() {
    let (_fake, served, _) = noted().await;
    let cookie = served.sign_in();
    let page = served.ask("GET", "/", &[], "");
    assert_eq!(page.status, 200);
    assert!(
        !page.body.contains("<script>") && !page.body.contains("onclick=") && !page.body.contains("style=\"")
    );
    for path in [
        "/",
        "/style.css",
        "/js/main.js",
        "/icon.svg",
        "/openapi.json",
        "/console/session",
        "/nowhere",
        "/v1/status",
        "/v1/rotate",
    ] {
        for headers in [&[("cookie", cookie.as_str())][..], &[], &[("host", "evil.example")]] {
            let answer = served.ask("GET", path, headers, "");
            let policy = answer.header("content-security-policy").unwrap_or_default();
            for part in [
                "default-src 'none'",
                "script-src 'self';",
                "style-src 'self';",
                "frame-ancestors 'none'",
                "base-uri 'none'",
                "form-action 'none'",
                "require-trusted-types-for 'script'",
            ] {
                assert!(policy.contains(part), "{path}: {part}: {policy}");
            }
            assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
            for (name, value) in [
                ("x-frame-options", "DENY"),
                ("x-content-type-options", "nosniff"),
                ("cache-control", "no-store"),
                ("referrer-policy", "no-referrer"),
                ("cross-origin-opener-policy", "same-origin"),
                ("cross-origin-resource-policy", "same-origin"),
            ] {
                assert_eq!(answer.header(name), Some(value), "{path}");
            }
            assert!(
                answer.header("server").is_none() && answer.header("access-control-allow-origin").is_none()
            );
        }
    }
}
