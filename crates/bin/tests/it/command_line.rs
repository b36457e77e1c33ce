//! Usage errors, help, and the exit codes that go with them.

use crate::program::Place;

#[test]
fn wrong_usage_is_exit_2_and_says_what_is_wrong() {
    for (args, word) in [
        (&[][..], "Usage"),
        (&["frobnicate"], "frobnicate"),
        (&["sync"], "<RELAY>"),
        (&["sync", "https://a.b"], "ws or wss"),
        (&["sync", "a.b", "--filter", "{\"kind\":1}"], "`kind` = 1"),
        (&["sync", "a.b", "--filter", "{\"kinds\":[\"1\"]}"], "`kinds` = [\"1\"]"),
        (&["sync", "a.b", "--filter", "nonsense"], "not JSON"),
        (&["sync", "a.b", "--direction", "sideways"], "down, up, both"),
        (&["sync", "a.b", "--since", "yesterday"], "unix seconds"),
        (&["sync", "a.b", "--strategy", "telepathy"], "available: negentropy, req"),
        (&["sync", "a.b", "--strategy", "req,,negentropy"], "empty name"),
        (&["export", "--filter", "{\"#dd\":[\"x\"]}"], "`#dd`"),
        (&["status", "--admin", "https://a.b"], "http://127.0.0.1:7448"),
        (&["completions", "tcsh"], "bash"),
        (&["config"], "Usage"),
        (&["config", "check", "--log", "loud"], "debug"),
    ] {
        let ended = Place::new().run(args);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{args:?}: {ended:?}");
        assert!(ended.stderr.contains(word), "{args:?}: {ended:?}");
    }
}

#[test]
fn help_and_version_are_data() {
    for args in [&["--help"][..], &["sync", "--help"], &["--version"], &["store", "verify", "-h"]] {
        let ended = Place::new().run(args);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{args:?}");
        assert!(ended.stdout.contains("grasp-sync"), "{args:?}: {ended:?}");
    }
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = Place::new().run(&["completions", shell]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{shell}");
        for word in ["run", "sync", "import", "export", "status", "config", "strategies", "store", "demo", "dry-run"] {
            assert!(ended.stdout.contains(word), "{shell}: {word}");
        }
        for word in ["load-plugin", "man-pages"] {
            assert!(!ended.stdout.contains(word), "{shell} offers {word}, which is not for users");
        }
    }
}

#[test]
fn the_manual_is_written_where_it_is_asked_for() {
    let place = Place::new();
    let ended = place.run(&["man-pages", "made/man1"]);
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (Some(0), "", ""), "{ended:?}");
    for page in ["grasp-sync.1", "grasp-sync-sync.1", "grasp-sync-store-verify.1"] {
        let text = std::fs::read_to_string(place.path().join("made/man1").join(page)).expect(page);
        assert!(text.contains(".SH SYNOPSIS") && text.contains(".SH \"EXIT STATUS\""), "{page}: {text}");
    }
    std::fs::write(place.path().join("file"), "").expect("written");
    let ended = place.run(&["man-pages", "file"]);
    assert!(ended.code == Some(1) && ended.stderr.starts_with("error: file: "), "{ended:?}");
}

#[test]
fn completions_need_no_configuration() {
    let place = Place::with_config("nonsense");
    assert_eq!(place.run(&["completions", "bash"]).code, Some(0));
    assert_eq!(place.run(&["--help"]).code, Some(0));
    assert_eq!(place.run(&["export"]).code, Some(2));
}

#[test]
fn import_of_a_file_that_is_not_there_fails() {
    let ended = Place::new().run(&["import", "none.jsonl"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
    assert!(ended.stderr.starts_with("error: none.jsonl: "), "{ended:?}");
}
