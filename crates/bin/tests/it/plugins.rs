//! Strategies from shared libraries, chosen in the configuration: what is listed, what stops the start, what becomes of bad ones.

use std::path::Path;

use serde_json::Value;
use testkit::plugins::{bad_library, rust_library};
use testkit::world::WorldSpec;

use crate::daemon::{Daemon, relay};
use crate::net::{Net, daemon_place, ids, notes, stored};
use crate::program::Place;
use crate::sync_command::sync;

/// A configuration that loads these libraries, and more.
fn loading(libraries: &[&Path], more: &str) -> Place {
    let load = |library: &&Path| format!("[[plugins.load]]\npath = {:?}\n", library.display().to_string());
    let load: String = libraries.iter().map(load).collect();
    Place::with_config(&format!("limits.allow_private_addresses = true\n{more}\n{load}"))
}

/// Loads the bad one, which does `how`; after it comes `req`.
fn with_bad(how: &str) -> Place {
    let more = format!(
        "sync.strategies = [\"bad\", \"req\"]\nplugins.call_timeout = \"500ms\"\n[strategy.bad]\nhow = {how:?}\n"
    );
    loading(&[&bad_library(&[])], &more)
}

fn listed(place: &Place, code: i32) -> Vec<Value> {
    let ended = place.run(&["strategies", "--json"]);
    assert_eq!(ended.code, Some(code), "{ended:?}");
    serde_json::from_str(&ended.stdout).expect("one JSON document")
}

#[test]
fn plugins_are_listed_with_all_that_is_known_of_them() {
    let library = rust_library("plugin-req");
    let place = loading(&[&library], "sync.strategies = [\"req-plugin\", \"negentropy\"]");
    let rows = listed(&place, 0);
    assert_eq!(rows.len(), 3, "{rows:#?}");
    assert_eq!((&rows[0]["name"], &rows[0]["kind"]), (&"req-plugin".into(), &"plugin".into()));
    assert_eq!((&rows[0]["state"], &rows[0]["position"]), (&"preferred".into(), &1.into()));
    assert_eq!((&rows[0]["version"], &rows[0]["abi"]), (&"0.1.0".into(), &"1.0".into()));
    assert_eq!(rows[0]["file"].as_str().map(Path::new), Some(&*library.canonicalize().expect("it is there")));
    assert_eq!(rows[0]["sha256"].as_str().map(str::len), Some(64));
    assert_eq!((&rows[1]["name"], &rows[1]["state"]), (&"negentropy".into(), &"fallback".into()));
    assert_eq!(
        (&rows[2]["name"], &rows[2]["state"], &rows[2]["file"]),
        (&"req".into(), &"unused".into(), &Value::Null)
    );
    let text = place.run(&["strategies"]).stdout;
    assert!(text.contains("req-plugin  plugin    preferred  0.1.0\n  file    /"), "{text}");
    assert!(text.contains("\n  sha256  "), "{text}");
}

#[test]
fn a_plugin_that_cannot_be_loaded_is_said_and_stops_the_start_only_where_it_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::copy(rust_library("plugin-req"), dir.path().join("a.so")).expect("copied");
    std::fs::copy(rust_library("plugin-req"), dir.path().join("b.so")).expect("copied");
    std::fs::write(dir.path().join("c.so"), "no library").expect("written");
    std::fs::write(dir.path().join("readme.txt"), "nor this").expect("written");
    let spoilt = bad_library(&["MAJOR=2"]);
    let more = format!("plugins.dir = {:?}", dir.path().display().to_string());
    let place = loading(&[&spoilt, Path::new("relative.so")], &more);
    let rows = listed(&place, 0);
    let failed: Vec<(&str, &str)> = rows
        .iter()
        .filter(|row| row["state"] == "failed")
        .map(|row| (row["file"].as_str().unwrap_or_default(), row["reason"].as_str().unwrap_or_default()))
        .collect();
    for (file, words) in [
        ("bad", "built for version 2"),
        ("relative.so", "must be absolute"),
        ("b.so", "a strategy `req-plugin` already"),
        ("c.so", "no library that can be loaded"),
    ] {
        assert!(
            failed.iter().any(|(path, reason)| path.contains(file) && reason.contains(words)),
            "{file}: {failed:#?}"
        );
    }
    assert_eq!((rows.len(), failed.len()), (7, 4), "{rows:#?}");

    let ended = place.run(&["config", "check"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "ok\n"), "{ended:?}");
    assert!(ended.stderr.contains("c.so can't be used: is no library"), "{ended:?}");

    let place = place.var("GRASP_SYNC_SYNC__STRATEGIES", r#"["bad", "req"]"#);
    let refused = place.refused();
    assert!(refused.contains("there is no strategy `bad`"), "{refused}");
    assert!(refused.contains("not loaded: ") && refused.contains("built for version 2"), "{refused}");
    assert!(!listed(&place, 2).is_empty(), "the list helps to find out why");
}

#[test]
fn what_is_pinned_is_not_loaded_from_the_directory_without_its_hash() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("a.so");
    std::fs::copy(rust_library("plugin-req"), &file).expect("copied");
    let pinned = format!(
        "plugins.dir = {:?}\n[[plugins.load]]\npath = {:?}\nsha256 = {:?}\n",
        dir.path().display().to_string(),
        file.display().to_string(),
        "0".repeat(64)
    );
    let rows = listed(&loading(&[], &pinned), 0);
    let of_file: Vec<_> = rows.iter().filter(|row| row["kind"] == "plugin").collect();
    assert_eq!((of_file.len(), &of_file[0]["state"]), (1, &"failed".into()), "{rows:#?}");
    let refused = loading(&[], "plugins.dir = \"here\"").refused();
    assert!(refused.contains("plugins.dir = \"here\"") && refused.contains("must be an absolute path"), "{refused}");
}

#[test]
fn a_plugin_checks_its_own_section() {
    let library = rust_library("plugin-req");
    let refused = loading(&[&library], "[strategy.req-plugin]\npage_size = 0\n").refused();
    assert!(refused.contains("strategy.req-plugin.page_size = 0"), "{refused}");
    assert!(refused.contains("must be a whole number from 1 to 5000"), "{refused}");
    let refused = loading(&[], "[[plugins.load]]\npath = \"/x.so\"\nsha256 = \"abc\"\n").refused();
    assert!(refused.contains("64 hex digits"), "{refused}");
    // A plugin that can't be asked stops what needs it, and nothing else.
    let hangs = "plugins.call_timeout = \"300ms\"\n[strategy.bad]\nhow = \"hang-check\"\n";
    let bad = bad_library(&[]);
    let place = loading(&[&bad], hangs);
    let rows = listed(&place, 0);
    let row = rows.iter().find(|row| row["name"] == "bad").unwrap_or_else(|| panic!("{rows:#?}"));
    assert_eq!((&row["state"], &row["reason"]), (&"failed".into(), &"check_config did not return within 300ms".into()));
    let ended = place.run(&["sync", "ws://127.0.0.1:9", "--strategy", "bad,req"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("--strategy: the strategy `bad` can't be used: check_config did not"), "{ended:?}");
    let ended = place.run(&["export"]);
    assert!(
        ended.code == Some(1) && ended.stderr.contains("no store"),
        "what needs no strategy asks for none: {ended:?}"
    );
    let refused = loading(&[&bad], &format!("sync.strategies = [\"bad\"]\n{hangs}")).refused();
    assert!(refused.contains("the strategy `bad` can't be used: check_config did not return"), "{refused}");
}

#[test]
fn a_library_that_hangs_or_crashes_while_it_is_loaded_takes_nothing_with_it() {
    let libraries = ["HANG_LOADING", "CRASH_LOADING", "EXIT_LOADING"].map(|define| bad_library(&[define]));
    let place = loading(&libraries.each_ref().map(|library| &**library), "plugins.call_timeout = \"500ms\"");
    let rows = listed(&place, 0);
    for (library, reason) in libraries.iter().zip([
        "loading did not return within 500ms",
        "loading it ended the process that tried: signal: 6 (SIGABRT)",
        "loading it ended the process that tried: exit status: 0",
    ]) {
        let file = library.display().to_string();
        let row = rows.iter().find(|row| row["file"] == *file).unwrap_or_else(|| panic!("{file}: {rows:#?}"));
        assert_eq!(row["state"], "failed", "{row:#?}");
        assert!(row["reason"].as_str().is_some_and(|told| told.starts_with(reason)), "{row:#?}");
    }
}

#[test]
fn sync_goes_by_a_plugin_alone_and_by_what_comes_after_one() {
    let events = notes(1_500);
    for (package, strategy) in
        [("plugin-req", "req-plugin"), ("plugin-negentropy", "negentropy-plugin"), ("window-req", "window-req")]
    {
        let place = loading(&[&rust_library(package)], "");
        let net = Net::of([events.clone()]);
        let synced = sync(&place, &net, &["--strategy", strategy]);
        assert_eq!(synced.code(), Some(0), "{synced:#?}");
        assert_eq!((&synced.only()["strategy"], &synced.only()["stored"]), (&strategy.into(), &1_500.into()));
    }
    // In both directions: from a plugin to what is built in, and the other way.
    let net =
        Net::faulty(events.clone(), |faults| faults.no_negentropy = Some(testkit::relay::NoNegentropy::NoticeDisabled));
    for order in ["negentropy-plugin,req", "negentropy,req-plugin"] {
        let place = loading(&[&rust_library("plugin-negentropy"), &rust_library("plugin-req")], "");
        let synced = sync(&place, &net, &["--strategy", order]);
        assert_eq!(synced.code(), Some(0), "{synced:#?}");
        let (from, to) = order.split_once(',').expect("two");
        let fallback = &synced.only()["fallbacks"][0];
        assert_eq!((&fallback["from"], &fallback["to"]), (&from.into(), &to.into()), "{synced:#?}");
        assert_eq!(stored(&place), ids(&events));
    }
}

#[test]
fn whatever_a_bad_plugin_does_the_next_strategy_completes_the_relay() {
    let events = notes(300);
    let falls_back = &|(how, words): (&str, &str)| {
        let place = with_bad(how);
        let net = Net::of([events.clone()]);
        let synced = sync(&place, &net, &[]);
        assert_eq!(synced.code(), Some(0), "{how}: {synced:#?}");
        let fallback = &synced.only()["fallbacks"][0];
        assert_eq!((&fallback["from"], &fallback["to"]), (&"bad".into(), &"req".into()), "{how}: {synced:#?}");
        assert!(fallback["reason"].as_str().is_some_and(|reason| reason.contains(words)), "{how}: {synced:#?}");
        assert_eq!(stored(&place), ids(&events), "{how}");
    };
    // Most of each is waiting, so all wait at once.
    std::thread::scope(|scope| {
        for case in [
            ("unsupported", ""),
            ("complete", "claims to be complete"),
            ("drained", "no answer has shown it"),
            ("forever", "questions that brought nothing"),
            ("garbage", "questions that brought nothing"),
            ("outputs", "outputs at once"),
            ("ids", "ids at once"),
            ("panic", "it is a bad one"),
            ("fail", "it is a bad one"),
            ("wide", "asks for seconds"),
            ("silent", "waits for nothing"),
            ("hang", "handle did not return within"),
            ("hang-create", "create did not return within"),
            ("hang-poll", "poll did not return within"),
            ("hang-suits", "suits did not return within"),
        ] {
            scope.spawn(move || falls_back(case));
        }
    });
}

#[test]
fn a_daemon_completes_a_world_by_a_plugin_alone() {
    let (net, world) = Net::world(3, WorldSpec { hops: 2, ..WorldSpec::default() });
    let library = rust_library("window-req");
    let more = format!("[[plugins.load]]\npath = {:?}\n", library.display().to_string());
    let place = daemon_place(&[net.url(0)], &more).var("GRASP_SYNC_SYNC__STRATEGIES", "window-req");
    let mut daemon = Daemon::start(&place);
    let status = daemon.wait_relays(net.urls(), "Connected");
    assert_eq!(stored(&place), ids(&world.accepted()), "read while the daemon runs");
    for url in net.urls() {
        assert_eq!(relay(&status, url).expect("listed")["strategy"], "window-req");
    }
    assert_eq!(
        (&status["plugins"][0]["name"], &status["plugins"][0]["state"]),
        (&"window-req".into(), &"loaded".into())
    );
    let batches = daemon.fetch("/metrics").1;
    assert!(batches.contains("grasp_sync_batches_total{strategy=\"window-req\""), "{batches}");
    assert_eq!(daemon.stop().status.code(), Some(0));
}

#[test]
fn a_daemon_goes_on_without_a_plugin_that_hangs_and_says_so() {
    let (net, world) = Net::world(3, WorldSpec::default());
    let library = bad_library(&[]);
    let more = format!(
        "[plugins]\ncall_timeout = \"500ms\"\n[[plugins.load]]\npath = {:?}\n[strategy.bad]\nhow = \"hang\"\n",
        library.display().to_string()
    );
    let place = daemon_place(&[net.url(0)], &more).var("GRASP_SYNC_SYNC__STRATEGIES", r#"["bad", "req"]"#);
    let mut daemon = Daemon::start(&place);
    let line = daemon.wait_line(|line| line.contains("the plugin is barred"));
    assert!(line.contains(" ERROR ") && line.contains("handle did not return within 500ms"), "{line}");
    let status = daemon.wait_relays(net.urls(), "Connected");
    assert_eq!((&status["plugins"][0]["name"], &status["plugins"][0]["state"]), (&"bad".into(), &"barred".into()));
    assert_eq!(stored(&place), ids(&world.accepted()));
    let ended = place.run(&["status", "--admin", &daemon.admin()]);
    assert!(ended.stdout.contains("plugin bad 0.1: barred\n  handle did not return within 500ms"), "{ended:?}");
    let stopped = daemon.stop();
    assert_eq!(stopped.status.code(), Some(0), "{stopped:?}");
    assert_eq!(stopped.stderr.matches("the plugin is barred until").count(), 1, "{}", stopped.stderr);
}
