//! nostr-tools, from npm, as a client of the daemon's embedded relay. What it does and expects is in
//! `nostr-tools/check.js`; here the daemon is started for it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::embedded::Embedded;

/// Whether node and npm are there; with a word about it where they aren't.
fn is_installed() -> bool {
    let missing = ["node", "npm"].into_iter().find(|program| {
        let asked = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        !asked.is_ok_and(|status| status.success())
    });
    if let Some(program) = missing {
        eprintln!("SKIPPED: nostr-tools against the embedded relay: {program} isn't installed");
    }
    missing.is_none()
}

#[tokio::test(flavor = "multi_thread")]
async fn nostr_tools_publishes_queries_subscribes_and_reconciles() {
    if !is_installed() {
        return;
    }
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("nostr-tools");
    let installed = Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&script).status();
    assert!(installed.expect("npm runs").success(), "npm ci in {}", script.display());

    let embedded = Embedded::start().await;
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("held.jsonl");
    let held = embedded.store.export();
    fs::write(&file, held.iter().map(|event| format!("{event}\n")).collect::<String>()).expect("writable");
    eprintln!("\nnostr-tools against the embedded relay: {} events are held", held.len());
    let mut node = Command::new("node");
    node.arg("check.js").arg(&embedded.url).arg(&file).arg(embedded.world.domain()).current_dir(&script);
    assert!(node.status().expect("node runs").success(), "check.js");
    assert_eq!(embedded.store.ids().len(), held.len() + 2, "what was taken is stored, and nothing else");
    assert_eq!(embedded.daemon.stop().code(), Some(0));
}
