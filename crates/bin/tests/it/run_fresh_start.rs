//! `run` with an empty store: discovery, completion, what it shows, and its end.

use std::time::Duration;

use serde_json::Value;
use testkit::world::WorldSpec;

use crate::daemon::{Daemon, STOP, relay};
use crate::net::{DOMAIN, Net, ids, stored};
use crate::program::Place;

#[test]
fn five_lines_find_three_relays_and_everything_that_admission_accepts() {
    let (net, world) = Net::world(3, WorldSpec { hops: 2, ..WorldSpec::default() });
    let place = Place::with_config(&format!(
        "service.domain = [{DOMAIN:?}]\nservice.listen = \"127.0.0.1:0\"\nadmin.listen = \"127.0.0.1:0\"\n\
         sync.bootstrap_relays = [{:?}]\nlimits.allow_private_addresses = true\n",
        net.url(0)
    ))
    .var("GRASP_SYNC_SYNC__BATCH_WINDOW", "500ms");
    let mut daemon = Daemon::start(&place);
    let status = daemon.wait_relays(net.urls(), "Connected");

    assert_eq!(stored(&place), ids(&world.accepted()), "read while the daemon runs");
    for url in net.urls() {
        shows_every_field(relay(&status, url).expect("listed"));
    }
    assert_eq!(status["relays"].as_array().map(Vec::len), Some(3), "{status:#}");
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    let totals = &status["totals"];
    assert_eq!((&totals["relays"], &totals["connected"], &totals["complete"]), (&3.into(), &3.into(), &3.into()));
    assert_eq!(totals["store_events"], world.accepted().len());
    assert_eq!(status["trouble"], "", "that it has only begun is said no more");
    let repos = world.repos().count() as u64;
    assert!(totals["repos"].as_u64() >= Some(repos), "{totals}");

    assert_eq!(daemon.fetch("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(daemon.fetch("/").0, 200);
    assert_eq!(daemon.fetch("/nothing").0, 404);
    shows_metrics(&daemon, &net, world.accepted().len());
    is_shown_by_the_status_command(&place, &daemon, &net);

    let stopped = daemon.stop();
    assert_eq!(stopped.status.code(), Some(0), "{stopped:?}");
    assert!(stopped.took < STOP, "{:?}", stopped.took);
    assert!(!stopped.stderr.contains(" ERROR "), "{}", stopped.stderr);
    assert!(!stopped.stderr.contains(" WARN "), "{}", stopped.stderr);
}

#[test]
fn sigint_stops_it_too() {
    let net = Net::of([Vec::new()]);
    let place = crate::net::daemon_place(&net.urls(), "");
    let mut daemon = Daemon::start(&place);
    daemon.wait_relays(net.urls(), "Connected");
    daemon.signal("INT");
    let stopped = daemon.ended();
    assert_eq!(stopped.status.code(), Some(0), "{stopped:?}");
}

/// The fields of CONTRACT.md, of a relay that is complete.
fn shows_every_field(relay: &Value) {
    assert_eq!((&relay["status"], &relay["health"]), (&"Connected".into(), &"Healthy".into()), "{relay:#}");
    assert_eq!((&relay["reason"], &relay["strategy"]), (&"".into(), &"negentropy".into()), "{relay:#}");
    assert_eq!((&relay["pending_batches"], &relay["last_error"]), (&0.into(), &Value::Null), "{relay:#}");
    assert!(relay["repos"].as_u64() > Some(0) && relay["root_events"].as_u64() > Some(0), "{relay:#}");
    assert!(relay["events_stored"].as_u64() > Some(0), "{relay:#}");
    assert!(relay["last_connected"].as_u64() > Some(1_700_000_000), "{relay:#}");
}

fn shows_metrics(daemon: &Daemon, net: &Net, events: usize) {
    let (code, text) = daemon.fetch("/metrics");
    assert_eq!(code, 200);
    let value = |name: &str| daemon.metric(name).unwrap_or_else(|| panic!("no {name} in\n{text}"));
    for url in net.urls() {
        assert_eq!(value(&format!("ngit_sync_relay_connected{{relay={url:?}}}")), 3.0);
        assert_eq!(value(&format!("ngit_sync_relay_status{{relay={url:?}}}")), 1.0);
        assert_eq!(value(&format!("ngit_sync_relay_failures{{relay={url:?}}}")), 0.0);
        assert_eq!(value(&format!("ngit_sync_connection_attempts_total{{relay={url:?},result=\"success\"}}")), 1.0);
        assert!(value(&format!("grasp_sync_bytes_total{{relay={url:?},direction=\"down\"}}")) > 1000.0);
    }
    assert_eq!(value("ngit_sync_relays_tracked_total"), 3.0);
    assert_eq!(value("ngit_sync_relays_connected_total"), 3.0);
    assert_eq!(value("ngit_sync_relays_dead_total"), 0.0);
    // Some were replaced or deleted by others that came later.
    assert!(value("ngit_sync_events_synced_total") >= events as f64, "{text}");
    assert_eq!(value("grasp_sync_store_events"), events as f64);
    for name in [
        "grasp_sync_batches_total{",
        "grasp_sync_batch_seconds_bucket{",
        "grasp_sync_events_received_total{outcome=\"stored\"}",
        "grasp_sync_rejected_index_size{tier=\"hot\"}",
        "grasp_sync_rejected_index_size{tier=\"cold\"}",
        "grasp_sync_store_commit_seconds_count",
    ] {
        assert!(text.lines().any(|line| line.starts_with(name)), "no {name} in\n{text}");
    }
}

fn is_shown_by_the_status_command(place: &Place, daemon: &Daemon, net: &Net) {
    let ended = place.run(&["status", "--admin", &daemon.admin()]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    assert!(ended.stdout.contains("3 relays, 3 connected, 3 complete, 0 degraded, 0 dead"), "{ended:?}");
    let ended = place.run(&["status", "--json", "--admin", &daemon.admin()]);
    let document: Value = serde_json::from_str(&ended.stdout).expect("one JSON document");
    assert!(net.urls().iter().all(|url| relay(&document, url).is_some()), "{document:#}");
}

#[test]
fn status_changes_are_streamed() {
    use std::io::{BufRead, BufReader, Write};
    let (net, _) = Net::world(1, WorldSpec::default());
    let place = crate::net::daemon_place(&net.urls(), "");
    let daemon = Daemon::start(&place);
    let address = daemon.admin().trim_start_matches("http://").to_owned();
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
    let mut lines = BufReader::new(stream).lines().map(|line| line.expect("the stream goes on"));
    assert!(lines.any(|line| line.trim() == "event: status"));
    let connected = lines.any(|line| line.starts_with("data: ") && line.contains("\"Connected\""));
    assert!(connected, "it ended before the relay was complete");
    assert_eq!(daemon.stop().status.code(), Some(0), "an open stream doesn't hold it up");
}
