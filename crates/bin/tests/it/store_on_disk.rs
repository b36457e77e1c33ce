//! `import`, `export` and `store …` of the program itself, over a store on disk.

use std::io::Write;
use std::process::Stdio;

use crate::program::Place;
use crate::signed::{event, json};

fn lines(numbers: impl IntoIterator<Item = u64>) -> String {
    numbers.into_iter().map(|n| json(&event(n)) + "\n").collect()
}

#[test]
fn events_go_in_and_come_out() {
    let place = Place::new().file("events.jsonl", &lines(0..700));
    let ended = place.run(&["import", "events.jsonl"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    assert_eq!(ended.stdout, "stored 700, duplicate 0, rejected 0\n");
    let ended = place.run(&["export"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert!(ended.stdout == lines((0..700).rev()), "newest first, each once");
    let filter = format!(r#"{{"ids":["{}","{}"]}}"#, event(3).id, event(5).id);
    assert_eq!(place.run(&["export", "--filter", &filter]).stdout, lines([5, 3]));
    assert_eq!(place.run(&["export", "--filter", r#"{"kinds":[7]}"#]).stdout, "");
    assert_eq!(place.run(&["import", "events.jsonl"]).stdout, "stored 0, duplicate 700, rejected 0\n");
}

#[test]
fn stdin_is_read_too_and_what_is_refused_is_named() {
    let place = Place::new();
    for args in [&["import"][..], &["import", "-"]] {
        let mut command = place.command(args);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let text = format!("{}nonsense\n{}", lines([1]), lines([2]).replace("note", "nota"));
        child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains(", rejected 2 (malformed 1, wrong_id 1)\n"), "{said}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.starts_with("line 2: malformed: ") && said.contains("\nline 3: wrong_id: "), "{said}");
    }
    assert_eq!(place.run(&["export"]).stdout, lines([1]));
}

#[test]
fn input_without_any_event_is_a_failure() {
    let ended = Place::new().file("page.html", "<html>\n</html>\n").run(&["import", "page.html"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), "stored 0, duplicate 0, rejected 2 (malformed 2)\n"));
    assert!(ended.stderr.ends_with("error: no line of the input is an event\n"), "{ended:?}");
    let ended = Place::new().file("empty", "").run(&["import", "empty"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "stored 0, duplicate 0, rejected 0\n"));
}

#[test]
fn a_store_is_looked_after() {
    let place = Place::new().file("events.jsonl", &lines(0..50));
    assert_eq!(place.run(&["import", "events.jsonl", "--store", "there"]).code, Some(0));
    let stats = place.run(&["store", "stats", "--store", "there"]);
    assert_eq!((stats.code, stats.stderr.as_str()), (Some(0), ""), "{stats:?}");
    assert!(stats.stdout.contains("       1            50\n     all            50\n"), "{stats:?}");
    assert!(stats.stdout.contains("at most 64GiB\n"), "{stats:?}");
    let verify = place.run(&["store", "verify", "--store", "there"]);
    assert_eq!((verify.code, verify.stderr.as_str()), (Some(0), ""), "{verify:?}");
    assert!(verify.stdout.starts_with("50 events and ") && verify.stdout.ends_with(" checked: sound\n"), "{verify:?}");
    let compact = place.run(&["--store", "there", "store", "compact"]);
    assert_eq!((compact.code, compact.stderr.as_str()), (Some(0), ""), "{compact:?}");
    assert!(compact.stdout.starts_with("compacted: "), "{compact:?}");
    assert_eq!(place.run(&["export", "--store", "there"]).stdout.lines().count(), 50);
}

#[test]
fn a_store_that_is_not_there_is_named() {
    for args in [&["export"][..], &["store", "stats"], &["store", "verify"]] {
        let ended = Place::new().run(args);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{args:?}: {ended:?}");
        assert!(ended.stderr.contains("./grasp-sync-data"), "{args:?}: {ended:?}");
    }
}

#[test]
fn an_export_to_a_closed_pipe_ends_quietly() {
    let place = Place::new().file("events.jsonl", &lines(0..400));
    assert_eq!(place.run(&["import", "events.jsonl"]).code, Some(0));
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = place.command(&["export"]).stdout(writer).stderr(Stdio::piped()).output().expect("starts");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}
