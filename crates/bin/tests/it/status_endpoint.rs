//! `status` against an endpoint that answers well, badly, or not at all.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};

use crate::program::{Ended, Place};

/// Answers one request; returns its first line.
fn serve(answer: String) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody asks");
        let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines().map_while(Result::ok);
        let first = lines.next().expect("a request");
        assert!(lines.any(|line| line.is_empty()), "the end of the headers");
        stream.write_all(answer.as_bytes()).expect("read");
        first
    });
    (address, server)
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

const DOCUMENT: &str = r#"{"version":"1.2.3","at":1700000000,"totals":{"relays":1,"connected":1,"complete":0,"degraded":1,
"dead":0,"repos":2,"root_events":3,"pending_batches":0,"store_events":99},"relays":[{"url":"wss://relay.example.com",
"status":"ConnectedDegraded","health":"Healthy","reason":"2 ids not served","strategy":"negentropy","repos":2,
"root_events":3,"pending_batches":0,"events_stored":99,"last_connected":1700000000,"last_error":null}]}"#;

fn ask(answer: String, flags: &[&str]) -> Ended {
    let (address, server) = serve(answer);
    let place = Place::with_config(&format!("[admin]\nlisten = \"{address}\""));
    let ended = place.run(&[&["status"], flags].concat());
    assert_eq!(server.join().expect("the server ends"), "GET /status HTTP/1.1");
    ended
}

#[test]
fn relays_are_listed_with_their_reasons() {
    let ended = ask(ok(DOCUMENT), &[]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    assert!(ended.stdout.starts_with("grasp-sync 1.2.3: 1 relays, 1 connected"), "{ended:?}");
    assert!(ended.stdout.contains("relay.example.com"), "{ended:?}");
    assert!(ended.stdout.contains("ConnectedDegraded"), "{ended:?}");
    assert!(ended.stdout.contains("\n  2 ids not served\n"), "{ended:?}");
}

#[test]
fn the_document_is_passed_through() {
    let later = DOCUMENT.replacen('{', "{\"later_version\": [1], ", 1);
    let ended = ask(ok(&later), &["--json"]);
    assert_eq!((ended.code, ended.stdout.trim_end()), (Some(0), later.as_str()), "{ended:?}");
}

#[test]
fn answers_that_are_no_status_fail() {
    for (answer, word) in [
        (ok("<html>"), "does not answer with a status document"),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(), "404"),
        (
            "HTTP/1.1 421 Misdirected\r\nContent-Type: text/plain\r\nContent-Length: 16\r\n\r\nnot\x1b[2J by this\n"
                .to_owned(),
            "it answers 421 Misdirected Request: not\\u{1b}[2J by this\n",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{".to_owned(), "no status from"),
        ("220 smtp.example.com\r\n".to_owned(), "no status from"),
    ] {
        for flags in [&[][..], &["--json"]] {
            let ended = ask(answer.clone(), flags);
            assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
            assert!(ended.stderr.contains(word), "{ended:?}");
        }
    }
}

#[test]
fn no_daemon_is_said_so() {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    // With --admin a broken configuration doesn't matter.
    let ended = Place::with_config("nonsense").run(&["status", "--admin", &format!("http://{address}")]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
    assert!(ended.stderr.contains(&format!("http://{address}/status")), "{ended:?}");
    assert!(ended.stderr.contains("is the daemon running?"), "{ended:?}");
}

#[test]
fn an_endpoint_that_is_off_is_wrong_usage() {
    let ended = Place::with_config("[admin]\nlisten = \"\"").run(&["status"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("--admin URL"), "{ended:?}");
}
