//! `status --watch`: follows a daemon's event stream, waits for one that has gone, ends with 0 when it is interrupted.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use serde_json::{Value, json};

use crate::daemon::{Daemon, PATIENCE};
use crate::net::daemon_place;
use crate::program::Place;

/// The command, running. Killed when dropped.
struct Watcher {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

fn lines(stream: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || BufReader::new(stream).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    lines
}

impl Watcher {
    fn start(place: &Place, address: &str, flags: &[&str]) -> Self {
        let mut command = place.command(&[&["status", "--watch", "--admin", address], flags].concat());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let (stdout, stderr) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        Self { child, stdout: lines(stdout), stderr: lines(stderr) }
    }

    /// The next line of stdout for which this holds.
    fn line(&self, wanted: impl Fn(&str) -> bool) -> String {
        wait(&self.stdout, wanted)
    }

    /// The next line of stderr that has this in it.
    fn said(&self, wanted: &str) -> String {
        wait(&self.stderr, |line| line.contains(wanted))
    }

    fn signal(mut self, name: &str) -> ExitStatus {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
        self.child.wait().expect("our child")
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Both fail where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait(lines: &Receiver<String>, wanted: impl Fn(&str) -> bool) -> String {
    loop {
        let line = lines.recv_timeout(PATIENCE).expect("a line that was waited for");
        if wanted(&line) {
            return line;
        }
    }
}

/// An endpoint that somebody else made.
struct Fake(TcpListener);

impl Fake {
    fn listen(address: SocketAddr) -> Self {
        Self(TcpListener::bind(address).expect("a port"))
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("bound")
    }

    /// Takes a request for the stream, and begins to answer it.
    fn accept(&self) -> TcpStream {
        let (mut stream, _) = self.0.accept().expect("somebody asks");
        let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines().map_while(Result::ok);
        assert_eq!(lines.next().as_deref(), Some("GET /events HTTP/1.1"));
        assert!(lines.any(|line| line.is_empty()), "the end of the headers");
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).expect("read");
        stream
    }
}

fn tell(stream: &mut TcpStream, name: &str, data: &Value) {
    write!(stream, "event: {name}\ndata: {data}\n\n").expect("read");
}

fn relay(status: &str, reason: &str) -> Value {
    json!({ "url": "wss://relay.example.com", "status": status, "health": "Healthy", "reason": reason,
        "strategy": "req", "repos": 2, "root_events": 3, "pending_batches": 0, "events_stored": 99,
        "last_connected": 1_700_000_000, "last_error": null })
}

fn document() -> Value {
    let totals = json!({ "relays": 1, "connected": 1, "complete": 0, "degraded": 1, "dead": 0, "repos": 2,
        "root_events": 3, "pending_batches": 0, "store_events": 99 });
    json!({ "version": "1.2.3", "at": 1_700_000_000, "totals": totals, "later": true, "relays": [relay("Syncing", "")] })
}

const ANY_PORT: &str = "127.0.0.1:0";

#[test]
fn changes_are_shown_as_they_come_and_an_interrupt_ends_it_well() {
    let fake = Fake::listen(ANY_PORT.parse().expect("an address"));
    let watcher = Watcher::start(&Place::new(), &fake.address().to_string(), &[]);
    let mut stream = fake.accept();
    tell(&mut stream, "status", &document());
    watcher.line(|line| line.starts_with("relay.example.com") && line.contains("Syncing"));
    tell(&mut stream, "relay", &relay("ConnectedDegraded", "\u{1b}[2J\u{9b}2J 2 ids not served"));
    watcher.line(|line| line.starts_with("relay.example.com") && line.contains("ConnectedDegraded"));
    // No colours where no terminal is, and a stranger's escapes are words.
    assert_eq!(watcher.line(|line| line.contains("ids")), "  \\u{1b}[2J\\u{9b}2J 2 ids not served");
    tell(&mut stream, "changed", &json!({ "at": 1_700_000_001, "trouble": "the store is full" }));
    watcher.line(|line| line == "trouble: the store is full");
    tell(&mut stream, "gone", &json!({ "url": "wss://relay.example.com" }));
    watcher.line(|line| line.starts_with("RELAY"));
    assert_eq!(watcher.signal("INT").code(), Some(0));
}

#[test]
fn a_daemon_that_goes_away_is_said_and_waited_for() {
    let fake = Fake::listen(ANY_PORT.parse().expect("an address"));
    let address = fake.address();
    let watcher = Watcher::start(&Place::new(), &address.to_string(), &[]);
    let mut stream = fake.accept();
    tell(&mut stream, "status", &document());
    watcher.line(|line| line.contains("Syncing"));
    drop((stream, fake));
    let said = watcher.said("waiting for the daemon");
    assert!(said.contains(&format!("http://{address}/events")), "{said}");
    let fake = Fake::listen(address);
    tell(&mut fake.accept(), "status", &document());
    watcher.said("the daemon answers");
    watcher.line(|line| line.contains("Syncing"));
    // It went again: said again.
    watcher.said("waiting for the daemon");
    assert_eq!(watcher.signal("TERM").code(), Some(0));
}

#[test]
fn as_json_each_line_is_the_whole_document() {
    let fake = Fake::listen(ANY_PORT.parse().expect("an address"));
    let watcher = Watcher::start(&Place::new(), &fake.address().to_string(), &["--json"]);
    let mut stream = fake.accept();
    let mut expected = document();
    tell(&mut stream, "status", &expected);
    let read = |line: String| serde_json::from_str::<Value>(&line).expect("JSON");
    assert_eq!(read(watcher.line(|_| true)), expected);
    tell(&mut stream, "relay", &relay("Connected", "\u{9b}2J"));
    expected["relays"] = json!([relay("Connected", "\u{9b}2J")]);
    let line = watcher.line(|_| true);
    assert!(line.contains("\\u009b2J"), "{line}");
    assert_eq!(read(line), expected);
    assert_eq!(watcher.signal("INT").code(), Some(0));
}

#[test]
fn what_is_no_status_is_said_and_asked_for_again() {
    let fake = Fake::listen(ANY_PORT.parse().expect("an address"));
    let watcher = Watcher::start(&Place::new(), &fake.address().to_string(), &[]);
    tell(&mut fake.accept(), "status", &json!([1, 2]));
    watcher.said("does not tell a status document");
    tell(&mut fake.accept(), "status", &document());
    watcher.line(|line| line.contains("Syncing"));
}

#[test]
fn a_daemon_is_followed_to_its_end() {
    let place = daemon_place(&["ws://127.0.0.1:1"], "");
    let daemon = Daemon::start(&place);
    let watcher = Watcher::start(&Place::new(), &daemon.admin(), &["--json"]);
    let read = |line: &str| serde_json::from_str::<Value>(line).expect("JSON");
    watcher.line(|line| read(line)["version"] == env!("CARGO_PKG_VERSION"));
    // The relay that doesn't answer is an incident, and counted.
    let line = watcher.line(|line| read(line)["incidents"][0]["count"].as_u64() >= Some(2));
    let incident = &read(&line)["incidents"][0];
    assert_eq!(
        (&incident["kind"], &incident["relay"]),
        (&"connect_failed".into(), &"ws://127.0.0.1:1".into()),
        "{line}"
    );
    assert_eq!(daemon.stop().status.code(), Some(0));
    watcher.said("waiting for the daemon");
    assert_eq!(watcher.signal("INT").code(), Some(0));
}
