//! A reader that has read enough is no failure: `grasp-sync … | head`.

use std::process::Stdio;

use crate::program::Place;

#[test]
fn a_closed_pipe_ends_quietly() {
    for args in [&["completions", "bash"][..], &["config", "show"], &["config", "check"], &["strategies"], &["--help"]]
    {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let place = Place::with_config("[service]\ndomain = [\"a.b\"]");
        let output = place.command(args).stdout(writer).stderr(Stdio::piped()).output().expect("starts");
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn nobody_at_stderr_is_no_panic() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let status = Place::with_config("nonsense").command(&["config", "check"]).stderr(writer).status().expect("starts");
    assert_eq!(status.code(), Some(2));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_a_failure() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("is there");
    let place = Place::new();
    let output = place.command(&["config", "show"]).stdout(full).stderr(Stdio::piped()).output().expect("starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("can't write the output"), "{output:?}");
}
