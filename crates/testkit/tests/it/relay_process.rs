//! The relay as a process of its own.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use nostr::filter::Filter;
use serde_json::json;
use testkit::world::to_jsonl;

use crate::client::{Client, event_ids, ids, notes, req};

fn spawn(arguments: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_scripted-relay"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let stdout = child.stdout.take().expect("piped");
    (child, BufReader::new(stdout))
}

fn line(stdout: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    line.trim_end().to_owned()
}

#[tokio::test]
async fn serves_a_file_until_stdin_ends() {
    let events = notes(3);
    let file = std::env::temp_dir().join(format!("scripted-relay-{}.jsonl", std::process::id()));
    std::fs::write(&file, to_jsonl(&events)).expect("writes");
    let path = file.to_str().expect("UTF-8");
    let (mut child, mut stdout) = spawn(&["--events", path, "--faults", r#"{"max_limit":2}"#]);
    let listening = line(&mut stdout);
    let addr = listening.strip_prefix("listening ws://").expect("an address").parse().expect("host and port");
    std::fs::remove_file(&file).expect("removes");

    let mut client = Client::connect(addr).await.expect("connects");
    client.say(&req("s", &[Filter::new()])).await;
    assert_eq!(ids(&client.hear_until("EOSE").await, "s"), event_ids(&events[..2]));

    let mut stdin = child.stdin.take().expect("piped");
    writeln!(stdin, "{}", json!({ "refuse_req": "blocked: closed for today" })).expect("writes");
    assert_eq!(line(&mut stdout), "faults set");
    client.say(&req("t", &[Filter::new()])).await;
    assert_eq!(client.hear().await, Some(json!(["CLOSED", "t", "blocked: closed for today"])));
    drop(stdin);
    assert!(child.wait().expect("ends").success());
}

#[test]
fn wrong_arguments_are_named() {
    for arguments in [["--nonsense", "1"], ["--port", "no"], ["--faults", "{\"x\":1}"], ["--events", "/nonexistent"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_scripted-relay")).args(arguments).output().expect("runs");
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(arguments[0]), "{output:?}");
    }
}
