//! `grasp-sync` as a user runs it: the binary that `INTEROP_GRASP_SYNC` names, its exit code, its stdout.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::relays::free_address;

/// How long the daemon may take until a relay is complete.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long it may take to stop (CONTRACT.md).
const STOP: Duration = Duration::from_secs(5);

/// The summary of `import`: `stored 2, duplicate 0, rejected 3 (malformed 1, expired 2)`.
#[derive(Debug, PartialEq, Eq)]
pub struct Imported {
    /// Events that were stored; some may have been superseded since.
    pub stored: u64,
    /// Events that were there already.
    pub duplicate: u64,
    /// Those that were left out, by reason.
    pub rejected: BTreeMap<String, u64>,
}

impl Imported {
    fn parse(text: &str) -> Self {
        let words: Vec<_> = text.split([' ', ',', '(', ')', '\n']).filter(|word| !word.is_empty()).collect();
        let mut counts: BTreeMap<String, u64> = words
            .chunks(2)
            .map(|pair| match pair {
                [what, count] => (String::from(*what), count.parse().unwrap_or_else(|_| panic!("a count: {text}"))),
                _ => panic!("import's summary: {text}"),
            })
            .collect();
        let mut take = |what| counts.remove(what).unwrap_or_else(|| panic!("no {what}: {text}"));
        let (stored, duplicate, rejected) = (take("stored"), take("duplicate"), take("rejected"));
        assert_eq!(counts.values().sum::<u64>(), rejected, "each rejection has its reason: {text}");
        Self { stored, duplicate, rejected: counts }
    }
}

/// A store of its own, in a folder that goes with it.
pub struct Store {
    folder: TempDir,
}

impl Store {
    /// An empty one.
    pub fn new() -> Self {
        Self { folder: TempDir::new().expect("a temporary folder") }
    }

    /// Its directory.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn run<const N: usize>(&self, args: [&str; N]) -> Output {
        let store = self.path();
        let output = command().args(args).arg("--store").arg(&store).stdin(Stdio::null()).output();
        let output = output.expect("INTEROP_GRASP_SYNC runs");
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// `import FILE`, of these events: what it says of them.
    pub fn import(&self, events: &[Value]) -> Imported {
        let file = self.folder.path().join("events.jsonl");
        let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
        fs::write(&file, lines).expect("writable");
        let output = self.run(["import", &file.to_string_lossy()]);
        assert!(output.status.success(), "import: {}", output.status);
        Imported::parse(&String::from_utf8(output.stdout).expect("UTF-8"))
    }

    /// The ids of what `export` yields.
    pub fn ids(&self) -> BTreeSet<String> {
        let output = self.run(["export"]);
        assert!(output.status.success(), "export: {}", output.status);
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.lines().map(|line| crate::events::id(&serde_json::from_str(line).expect("an event"))).collect()
    }

    /// `sync RELAY --direction DIRECTION --json`: its exit code and what it says of the relay.
    pub fn sync(&self, relay: &str, direction: &str) -> (Option<i32>, Value) {
        let output = self.run(["sync", relay, "--direction", direction, "--json"]);
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let first = text.lines().next().unwrap_or_else(|| panic!("sync says nothing: {}", output.status));
        (output.status.code(), serde_json::from_str(first).expect("one line per relay"))
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

/// The daemon, running.
pub struct Daemon {
    child: Child,
    admin: SocketAddr,
}

impl Daemon {
    /// `run` for a service of that domain; `relay` is where it starts from, and those in `disabled` are left alone.
    pub fn start<'a>(store: &Store, domain: &str, relay: &str, disabled: impl Iterator<Item = &'a str>) -> Self {
        let admin = free_address().expect("a free port");
        let own = free_address().expect("a free port");
        let disabled: String = disabled.map(|relay| format!("[sync.relays.{relay:?}]\ndisabled = true\n")).collect();
        let config = format!(
            "[service]\ndomain = [{domain:?}]\nlisten = \"{own}\"\n[store]\npath = {:?}\n[sync]\n\
             bootstrap_relays = [{relay:?}]\nbatch_window = \"200ms\"\nsettle = \"300ms\"\n{disabled}\
             [limits]\nallow_private_addresses = true\n[admin]\nlisten = \"{admin}\"\n",
            store.path()
        );
        let file = store.folder.path().join("config.toml");
        fs::write(&file, config).expect("writable");
        let child = command().args([Path::new("run"), Path::new("--config"), &file]).stdin(Stdio::null()).spawn();
        Self { child: child.expect("INTEROP_GRASP_SYNC runs"), admin }
    }

    /// Waits until the relay's history is complete, by the admin endpoint's events.
    pub fn wait_connected(&mut self, relay: &str) {
        let deadline = Instant::now() + PATIENCE;
        let mut stream = loop {
            match TcpStream::connect(self.admin) {
                Ok(stream) => break stream,
                Err(error) => {
                    let ended = self.child.try_wait().expect("our child");
                    assert!(ended.is_none() && Instant::now() < deadline, "no admin endpoint: {error}, {ended:?}");
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        };
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
        let killed = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(killed.success());
        let deadline = Instant::now() + STOP;
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status;
            }
            assert!(Instant::now() < deadline, "the daemon doesn't stop within {STOP:?}");
            std::thread::sleep(Duration::from_millis(20));
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

fn command() -> Command {
    let named = std::env::var_os("INTEROP_GRASP_SYNC");
    let mut command = Command::new(named.expect("INTEROP_GRASP_SYNC names the binary: run `cargo xtask interop`"));
    command.env_remove("RUST_LOG");
    command
}
