//! Peers that take too much or mean ill: browsers that send without end or not at all, and a daemon that is none.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::fake::Fake;
use crate::served::{Served, read};

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_too_large_are_refused_and_nothing_of_them_is_kept() {
    let fake = Fake::start().await;
    let served = Served::over(&fake.socket);
    let cookie = served.sign_in();
    let large = format!("{{\"topic\": \"x\", \"payload\": \"{}\"}}", "a".repeat(200 * 1024));
    assert_eq!(served.order("POST", "/v1/publish", &cookie, &large).status, 413);
    let proof = format!("{{\"token\": \"{}\"}}", "a".repeat(5000));
    assert_eq!(served.order("POST", "/console/session", "", &proof).status, 413);
    let header = "a".repeat(40_000);
    assert!(matches!(served.ask("GET", "/", &[("x-large", &header)], "").status, 431 | 400 | 0));
    let many: Vec<(String, String)> = (0..200).map(|n| (format!("x-{n}"), "y".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert!(matches!(served.ask("GET", "/", &many, "").status, 431 | 400 | 0));
    let path = format!("/{}", "a".repeat(30_000));
    assert!(matches!(served.ask("GET", &path, &[], "").status, 414 | 431 | 400 | 0));
    let origin = served.origin();
    let endless = format!(
        "POST /v1/publish HTTP/1.1\r\nhost: {}\r\norigin: {origin}\r\ncookie: {cookie}\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\nconnection: close\r\n\r\n",
        served.address
    );
    let mut stream = served.connect();
    stream.write_all(endless.as_bytes()).unwrap();
    let chunk = format!("10000\r\n{}\r\n", "a".repeat(0x10000));
    while stream.write_all(chunk.as_bytes()).is_ok() {}
    assert!(
        matches!(read(&mut stream).status, 413 | 0),
        "it was cut off, whether or not its answer could still be read"
    );
    assert_eq!(served.ask("GET", "/", &[], "").status, 200, "others are served");
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_are_slow_hold_nobody_up_and_are_given_up() {
    let fake = Fake::start().await;
    let served = Served::over(&fake.socket);
    let cookie = served.sign_in();
    let origin = served.origin();
    let mut silent = served.connect();
    let mut halfway = served.connect();
    halfway.write_all(b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx-sl").unwrap();
    let mut bodyless = served.connect();
    let begun = format!(
        "POST /v1/rotate HTTP/1.1\r\nhost: {}\r\norigin: {origin}\r\ncookie: {cookie}\r\ncontent-type: application/json\r\n\
         content-length: 20\r\n\r\n{{",
        served.address
    );
    bodyless.write_all(begun.as_bytes()).unwrap();
    assert_eq!(served.ask("GET", "/", &[], "").status, 200);
    let began = Instant::now();
    assert_eq!(read(&mut bodyless).status, 408);
    for stream in [&mut silent, &mut halfway] {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
    }
    assert!(began.elapsed() < Duration::from_secs(25), "given up in time, not by this test's patience");
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_connections_as_anybody_likes_are_all_served_in_the_end() {
    let fake = Fake::start().await;
    let served = Served::over(&fake.socket);
    let mut idle: Vec<TcpStream> = (0..100).map(|_| served.connect()).collect();
    assert_eq!(served.ask("GET", "/", &[], "").status, 200, "as soon as the idle ones are given up");
    for stream in &mut idle {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_cannot_take_every_stream_of_the_daemon() {
    let fake = Fake::start().await;
    let served = Served::over(&fake.socket);
    let cookie = served.sign_in();
    let open = || {
        let mut stream = served.connect();
        let request =
            format!("GET /v1/events HTTP/1.1\r\nhost: {}\r\ncookie: {cookie}\r\n\r\n", served.address);
        stream.write_all(request.as_bytes()).unwrap();
        let mut line = String::new();
        let mut reader = BufReader::new(stream);
        reader.read_line(&mut line).unwrap();
        (line, reader)
    };
    let mut held: Vec<_> = (0..4).map(|_| open()).collect();
    assert!(held.iter().all(|(line, _)| line.contains("200")), "{:?}", held[3].0);
    assert!(open().0.contains("503"));
    assert_eq!(
        served.ask("GET", "/v1/status", &[("cookie", &cookie)], "").status,
        200,
        "orders still get through"
    );
    held.clear();
    let again = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        open().0.contains("200")
    });
    assert!(again, "a page that is closed gives its place back");
}

/// A daemon that answers everything with these bytes and tells what it was sent.
fn impostor(socket: &Path, answer: &'static str) -> mpsc::Receiver<String> {
    let listener = UnixListener::bind(socket).unwrap();
    let (told, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut bytes = [0; 16_384];
            let n = stream.read(&mut bytes).unwrap_or(0);
            let _ = told.send(String::from_utf8_lossy(&bytes[..n]).into_owned());
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    heard
}

#[test]
fn nothing_of_an_impostors_answer_becomes_a_page_or_a_header() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("s");
    let evil = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nset-cookie: a=b\r\nlocation: http://evil.example\r\n\
                content-security-policy: default-src *\r\naccess-control-allow-origin: *\r\ncontent-length: 30\r\n\r\n\
                <script>alert(1)</script>abcde";
    let heard = impostor(&socket, evil);
    let served = Served::over(&socket);
    let cookie = served.sign_in();
    let headers =
        [("cookie", cookie.as_str()), ("x-mine", "1"), ("authorization", "Bearer x"), ("last-event-id", "7")];
    for path in ["/v1/status", "/v1/events", "/v1/subscribe?filter=a%0d%0ax-injected:%201"] {
        let answer = served.ask("GET", path, &headers, "");
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"), "{answer:?}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert!(answer.header("content-security-policy").unwrap().contains("default-src 'none'"));
        for name in ["set-cookie", "location", "access-control-allow-origin"] {
            assert_eq!(answer.header(name), None);
        }
        let sent = heard.recv().unwrap().to_lowercase();
        for word in ["cookie", "x-mine", "authorization", "origin", "\r\nx-injected"] {
            assert!(!sent.contains(word), "{word} reached the daemon: {sent}");
        }
        assert!(sent.contains("host: certrotd\r\n") && sent.contains("last-event-id: 7\r\n"), "{sent}");
    }
    for id in ["x", "-1", "7 8", "1e3", "99999999999999999999999"] {
        let answer = served.ask("GET", "/v1/events", &[("cookie", &cookie), ("last-event-id", id)], "");
        assert_eq!(answer.status, 400, "{id}");
    }
    let smuggled = "{\"dryRun\": false, \"dryRun\": true}\r\n\r\nPOST /v1/disconnect HTTP/1.1\r\n\r\n";
    assert_eq!(
        served.order("POST", "/v1/rotate", &cookie, smuggled).status,
        400,
        "one JSON object, and nothing after it"
    );
    assert!(heard.try_recv().is_err(), "none of these reached it");
}

#[test]
fn a_daemon_that_is_not_there_or_breaks_off_is_told_in_words_with_what_clears_it() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("s");
    let served = Served::over(&socket);
    let cookie = served.sign_in();
    let get = |path: &str| served.ask("GET", path, &[("cookie", &cookie)], "");
    for path in ["/v1/status", "/v1/events"] {
        let answer = get(path);
        assert_eq!((answer.status, answer.code().as_str()), (502, "daemon-down"), "{answer:?}");
        assert!(answer.body.contains("systemctl start certrotd"), "{answer:?}");
    }
    let _heard = impostor(&socket, "");
    assert_eq!((get("/v1/status").status, get("/v1/status").code().as_str()), (502, "daemon-down"));
    assert_eq!(get("/").status, 200, "the page is there all the same");
}
