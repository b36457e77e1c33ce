//! The daemon and other commands on one store: who may write, who may read, and what the others are told.

use testkit::world::WorldSpec;

use crate::daemon::{Daemon, PATIENCE};
use crate::net::{DOMAIN, Net, daemon_place, ids, notes, stored};
use crate::program::Place;
use crate::signed;

#[test]
fn one_writer_at_a_time_and_readers_beside_it() {
    let (net, world) = Net::world(1, WorldSpec::default());
    let place = daemon_place(&net.urls(), "").file("events.jsonl", &(signed::json(&notes(1)[0]) + "\n"));
    let mut daemon = Daemon::start(&place);
    daemon.wait_relays(net.urls(), "Connected");

    for args in [&["run"][..], &["sync", net.url(0)], &["import", "events.jsonl"], &["store", "compact"]] {
        let ended = place.run(args);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{args:?}: {ended:?}");
        let error = ended.stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
        assert!(error.contains("grasp-sync-data") && error.contains("another process"), "{args:?}: {ended:?}");
    }

    assert_eq!(stored(&place), ids(&world.accepted()));
    let stats = place.run(&["store", "stats"]);
    assert_eq!((stats.code, stats.stderr.as_str()), (Some(0), ""), "{stats:?}");
    assert!(stats.stdout.contains("30617"), "{stats:?}");
    let verify = place.run(&["store", "verify"]);
    assert_eq!((verify.code, verify.stderr.as_str()), (Some(0), ""), "{verify:?}");
    assert!(verify.stdout.ends_with(": sound\n"), "{verify:?}");

    assert_eq!(daemon.stop().status.code(), Some(0));
    let ended = place.run(&["sync", net.url(0)]);
    assert_eq!(ended.code, Some(0), "the store is free again: {ended:?}");
}

/// `run`, which must fail at once.
fn fails(place: &Place, args: &[&str]) -> String {
    let started = std::time::Instant::now();
    let ended = place.run(args);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
    assert!(started.elapsed() < PATIENCE && !ended.stderr.contains("panicked"), "{ended:?}");
    ended.stderr
}

#[test]
fn an_admin_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let place = daemon_place(&[], "").var("GRASP_SYNC_ADMIN__LISTEN", &address);
    let said = fails(&place, &["run"]);
    assert!(said.contains(&address) && said.contains("in use"), "{said}");
}

#[test]
fn a_store_that_can_not_be_is_named() {
    for path in ["file", "file/below"] {
        let place = daemon_place(&[], "").file("file", "not a store").var("GRASP_SYNC_STORE__PATH", path);
        for args in [&["run"][..], &["sync", "ws://127.0.0.1:1"], &["export"], &["store", "verify"]] {
            let said = fails(&place, args);
            assert!(said.contains(path), "{args:?}: {said}");
        }
        assert_eq!(std::fs::read_to_string(place.path().join("file")).expect("still there"), "not a store");
    }
}

#[test]
fn configurations_that_can_not_be_are_refused_by_run() {
    for (text, words) in [
        ("", &["service.domain"][..]),
        ("sync.batch_windw = \"2s\"", &["sync.batch_windw", "`batch_window`", "grasp-sync.toml"]),
        ("sync.discover = \"yes\"", &["sync.discover", "\"yes\"", "grasp-sync.toml"]),
        ("sync.strategies = [\"telepathy\"]", &["sync.strategies", "telepathy", "negentropy, req"]),
        ("strategy.req.timeout = \"soon\"", &["strategy.req.timeout", "soon"]),
        ("sync.bootstrap_relays = [\"http://a.b\"]", &["sync.bootstrap_relays", "http://a.b"]),
    ] {
        let text = if text.is_empty() { String::new() } else { format!("service.domain = [{DOMAIN:?}]\n{text}\n") };
        let ended = Place::with_config(&text).run(&["run"]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{text}: {ended:?}");
        assert!(words.iter().all(|word| ended.stderr.contains(word)), "{words:?}: {}", ended.stderr);
    }
}
