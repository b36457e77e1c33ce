//! A foreign relay in a process of its own, which can be killed and started again: same port, same folder.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::relays::free_address;

/// Which relay it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `nostr-relay-builder`, its events in LMDB.
    RelayBuilder,
    /// `nostr-rs-relay`, its events in SQLite.
    RsRelay,
}

impl Kind {
    /// Its name, also on the command line of the process.
    pub fn name(self) -> &'static str {
        match self {
            Self::RelayBuilder => "relay-builder",
            Self::RsRelay => "rs-relay",
        }
    }

    /// The relay of that name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::RelayBuilder, Self::RsRelay].into_iter().find(|kind| kind.name() == name)
    }
}

/// A relay's process, or between a kill and a start what is left of it. Killed when dropped.
pub struct RelayProcess {
    program: PathBuf,
    kind: Kind,
    address: SocketAddr,
    folder: TempDir,
    child: Option<Child>,
}

impl RelayProcess {
    /// Starts `program`, the binary `foreign-relay` of this crate, on a free port with an empty folder.
    pub fn start(program: &str, kind: Kind) -> Self {
        let address = free_address().expect("a free port");
        let folder = TempDir::new().expect("a temporary folder");
        let mut process = Self { program: program.into(), kind, address, folder, child: None };
        process.restart();
        process
    }

    /// Its WebSocket address.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it runs");
            child.wait().expect("our child");
        }
    }

    /// Starts it, up to the line by which it says that it listens.
    pub fn restart(&mut self) {
        self.kill();
        let mut command = Command::new(&self.program);
        command.arg(self.kind.name()).arg(self.address.to_string()).arg(self.folder.path());
        // It ends when its stdin does, should this process be killed.
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("foreign-relay runs");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        self.child = Some(child);
        BufReader::new(stdout).read_line(&mut line).expect("text");
        assert_eq!(line.trim_end(), self.url(), "{} says where it listens", self.kind.name());
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail where it has ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
