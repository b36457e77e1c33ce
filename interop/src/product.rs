//! `grasp-sync` as a user runs it: the binary that `INTEROP_GRASP_SYNC` names, its exit code, its stdout.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::events;

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

    /// A place for what belongs to it, such as a configuration.
    pub(crate) fn beside(&self) -> &Path {
        self.folder.path()
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

    /// What `export` yields, newest first.
    pub fn export(&self) -> Vec<Value> {
        let output = self.run(["export"]);
        assert!(output.status.success(), "export: {}", output.status);
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("an event")).collect()
    }

    /// The ids of what `export` yields.
    pub fn ids(&self) -> BTreeSet<String> {
        self.export().iter().map(events::id).collect()
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

/// The binary, with nothing of the caller's environment that would change what it says.
pub(crate) fn command() -> Command {
    let named = std::env::var_os("INTEROP_GRASP_SYNC");
    let mut command = Command::new(named.expect("INTEROP_GRASP_SYNC names the binary: run `cargo xtask interop`"));
    command.env_remove("RUST_LOG");
    command
}
