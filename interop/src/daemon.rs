//! `grasp-sync run` as a user runs it: its configuration, its log lines, its admin endpoint, its end.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::product::{Store, command};

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long it may take to stop (CONTRACT.md).
const STOP: Duration = Duration::from_secs(5);
/// How often what can't be awaited is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The daemon, running. Killed when dropped.
pub struct Daemon {
    child: Child,
    lines: Receiver<String>,
    /// What it has said, as far as it was waited for.
    said: Vec<String>,
    admin: SocketAddr,
}

impl Daemon {
    /// `run` for a service of that domain, from these relays, on ports that are free. `more` is added to the
    /// configuration: keys with all their levels.
    pub fn start(store: &Store, domain: &str, bootstrap: &[&str], more: &str) -> Self {
        let config = format!(
            "service.domain = [{domain:?}]\nservice.listen = \"127.0.0.1:0\"\nadmin.listen = \"127.0.0.1:0\"\n\
             store.path = {:?}\nsync.bootstrap_relays = {bootstrap:?}\nlimits.allow_private_addresses = true\n{more}",
            store.path()
        );
        let file = store.beside().join("config.toml");
        fs::write(&file, config).expect("writable");
        let mut command = command();
        command.args([Path::new("run"), Path::new("--config"), &file]).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("INTEROP_GRASP_SYNC runs");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                eprintln!("{line}");
                // Nobody may be waiting for lines any more; they are still shown.
                let _ = sender.send(line);
            }
        });
        let admin = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut daemon = Self { child, lines, said: Vec::new(), admin };
        daemon.admin = daemon.wait_address("admin endpoint address=");
        daemon
    }

    /// Where its embedded own relay listens.
    pub fn own_relay(&mut self) -> String {
        format!("ws://{}", self.wait_address("own relay address="))
    }

    /// The address after these words, in a line said before or to come.
    fn wait_address(&mut self, words: &str) -> SocketAddr {
        let deadline = Instant::now() + PATIENCE;
        let mut at = 0;
        loop {
            if let Some(address) = self.said[at..].iter().find_map(|line| address_after(line, words)) {
                return address;
            }
            at = self.said.len();
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|error| panic!("no `{words}`: {error}"));
            self.said.push(line);
        }
    }

    /// `GET path`: the status code and the body.
    pub fn fetch(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.admin).expect("the endpoint listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer in UTF-8");
        let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        (code, body.to_owned())
    }

    /// `GET /status`.
    pub fn status(&self) -> Value {
        let (code, body) = self.fetch("/status");
        assert_eq!(code, 200, "{body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// The first status that `wanted` holds for.
    pub fn wait_status(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status();
            if wanted(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "waited in vain; the status is {status:#}");
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Waits until the relay's history is complete, by the admin endpoint's events.
    pub fn wait_connected(&self, relay: &str) {
        let deadline = Instant::now() + PATIENCE;
        let mut stream = TcpStream::connect(self.admin).expect("the endpoint listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
        let mut last = String::new();
        for line in BufReader::new(stream).lines() {
            let line = line.unwrap_or_else(|error| panic!("{relay} isn't complete ({error}); last: {last}"));
            let Some(data) = line.strip_prefix("data: ") else { continue };
            let data: Value = serde_json::from_str(data).expect("JSON");
            // The first event holds all relays, each later one a relay that changed.
            let reports = data["relays"].as_array().cloned().unwrap_or_else(|| vec![data]);
            for report in reports.iter().filter(|report| report["url"] == relay) {
                if report["status"] == "Connected" {
                    return;
                }
                last = report.to_string();
            }
            assert!(Instant::now() < deadline, "{relay} isn't complete; last: {last}");
        }
        panic!("the daemon ended its events; last: {last}");
    }

    /// SIGTERM; how it ended.
    pub fn stop(mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        let killed = std::process::Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(killed.success());
        let deadline = Instant::now() + STOP;
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status;
            }
            assert!(Instant::now() < deadline, "the daemon doesn't stop within {STOP:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Only where a test has failed: both fail where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn address_after(line: &str, words: &str) -> Option<SocketAddr> {
    line.split(words).nth(1)?.split_whitespace().next()?.parse().ok()
}
