//! `run` as a process: its log lines, its admin endpoint, its end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::Place;

/// How long anything may take that is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);
/// How long the daemon may take to stop (CONTRACT.md).
pub(crate) const STOP: Duration = Duration::from_secs(5);
/// How often what can't be awaited is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The daemon, running. Killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    lines: Receiver<String>,
    /// What it has said so far.
    said: Vec<String>,
    admin: SocketAddr,
}

/// What a daemon that has ended left behind.
#[derive(Debug)]
pub(crate) struct Stopped {
    pub(crate) status: ExitStatus,
    pub(crate) took: Duration,
    pub(crate) stderr: String,
}

impl Daemon {
    /// `run` in `place`, up to its admin endpoint. `admin.listen` must have port 0.
    pub(crate) fn start(place: &Place) -> Self {
        Self::start_with(place, &[])
    }

    pub(crate) fn start_with(place: &Place, flags: &[&str]) -> Self {
        let mut command = place.command(&[&["run"], flags].concat());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let stderr = child.stderr.take().expect("piped");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            BufReader::new(stderr).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let mut daemon = Self { child, lines, said: Vec::new(), admin: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let line = daemon.wait_line(|line| line.contains("admin endpoint"));
        let address = line.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next());
        daemon.admin = address.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no address in {line}"));
        daemon
    }

    /// Where its admin endpoint is.
    pub(crate) fn admin(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// Where its embedded own relay listens.
    pub(crate) fn own_relay(&mut self) -> String {
        let line = self.wait_line(|line| line.contains("own relay address="));
        let address = line.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next());
        format!("ws://{}", address.unwrap_or_else(|| panic!("no address in {line}")))
    }

    /// The first line, said before or to come, that `wanted` holds for.
    pub(crate) fn wait_line(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut at = 0;
        loop {
            if let Some(line) = self.said[at..].iter().find(|line| wanted(line)) {
                return line.clone();
            }
            at = self.said.len();
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Timeout) => panic!("waited in vain for a line of:\n{}", self.said.join("\n")),
                Err(RecvTimeoutError::Disconnected) => panic!("it ended; it said:\n{}", self.said.join("\n")),
            }
        }
    }

    /// Everything it has said by now.
    pub(crate) fn said(&mut self) -> String {
        self.said.extend(self.lines.try_iter());
        self.said.join("\n")
    }

    /// `GET path`: the status code and the body.
    pub(crate) fn fetch(&self, path: &str) -> (u16, String) {
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
    pub(crate) fn status(&self) -> Value {
        let (code, body) = self.fetch("/status");
        assert_eq!(code, 200, "{body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// The first status that `wanted` holds for.
    pub(crate) fn wait_status(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        self.wait_status_with(|_, status| wanted(status))
    }

    /// The same, for what shows elsewhere too, as in a metric.
    pub(crate) fn wait_status_with(&mut self, mut wanted: impl FnMut(&Self, &Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status();
            if wanted(self, &status) {
                return status;
            }
            if Instant::now() >= deadline {
                panic!("waited in vain; the status is {status:#}\nit said:\n{}", self.said());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Waits until each of these relays has this status, and nothing is in flight.
    pub(crate) fn wait_relays<'a>(&mut self, relays: impl IntoIterator<Item = &'a str> + Clone, wanted: &str) -> Value {
        self.wait_status(|status| {
            status["totals"]["pending_batches"] == 0
                && relays.clone().into_iter().all(|url| relay(status, url).is_some_and(|r| r["status"] == wanted))
        })
    }

    /// The value of a metric, by its name with its labels, as it stands in `/metrics`.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = self.fetch("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
        line.map(|value| value.parse().expect("a number"))
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent =
            std::process::Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn stop(self) -> Stopped {
        self.signal("TERM");
        self.ended()
    }

    /// Waits until it has ended, for as long as a stop may take.
    pub(crate) fn ended(mut self) -> Stopped {
        let asked = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                break status;
            }
            if asked.elapsed() > STOP {
                panic!("it doesn't stop within {STOP:?}; it said:\n{}", self.said());
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let took = asked.elapsed();
        // The reader ends with the pipe.
        self.said.extend(self.lines.iter());
        Stopped { status, took, stderr: self.said.join("\n") }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A relay's part of a status document.
pub(crate) fn relay<'a>(status: &'a Value, url: &str) -> Option<&'a Value> {
    status["relays"].as_array()?.iter().find(|relay| relay["url"] == url)
}
