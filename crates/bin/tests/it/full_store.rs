//! A store without room: said aloud, nothing that was stored is lost, and with room again the sync completes.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::world::{BulkSpec, bulk_events};

use crate::daemon::Daemon;
use crate::net::{Net, daemon_place, ids, stored};
use crate::program::Place;
use crate::sync_command::sync;

const SMALL: &str = "2MiB";

#[test]
fn sync_says_that_the_store_is_full_and_completes_when_there_is_room() {
    let events = bulk_events(&BulkSpec { count: 3_000, content_len: 2_000, ..BulkSpec::default() });
    let net = Net::of([events.clone()]);
    let place = Place::new().var("GRASP_SYNC_STORE__MAX_SIZE", SMALL);
    let synced = sync(&place, &net, &[]);
    let line = synced.only();
    assert_eq!((synced.code(), &line["status"]), (Some(3), &json!("degraded")), "{line:#}");
    assert!(line["reason"].as_str().is_some_and(|reason| reason.contains("store.max_size")), "{line:#}");
    let held = stored(&place);
    assert!(!held.is_empty() && held.len() < events.len() && held.is_subset(&ids(&events)), "{}", held.len());
    let verify = place.run(&["store", "verify"]);
    assert_eq!(verify.code, Some(0), "{verify:?}");

    let place = place.var("GRASP_SYNC_STORE__MAX_SIZE", "1GiB");
    let synced = sync(&place, &net, &[]);
    assert_eq!((synced.code(), &synced.only()["stored"]), (Some(0), &json!(events.len() - held.len())), "{synced:#?}");
    assert_eq!(stored(&place), ids(&events));
}

#[test]
fn the_daemon_shows_that_the_store_is_full() {
    let events = bulk_events(&BulkSpec { count: 2_000, content_len: 4_000, kind: 30617, ..BulkSpec::default() });
    // Each by itself, or they would replace one another.
    let announcements: Vec<_> = events
        .iter()
        .enumerate()
        .map(|(n, event)| {
            testkit::world::EventSpec::new(30617)
                .at(event.created_at.as_secs())
                .tag(["d", &format!("repo-{n}")])
                .content(&event.content)
                .sign(&testkit::world::keys(1, 1))
        })
        .collect();
    let net = Net::of([announcements.clone()]);
    let place = daemon_place(&net.urls(), "admission.mode = \"all\"\n").var("GRASP_SYNC_STORE__MAX_SIZE", SMALL);
    let mut daemon = Daemon::start(&place);
    let line = daemon.wait_line(|line| line.contains("intake waits until there is room"));
    assert!(line.contains("store.max_size"), "{line}");
    // What is shown is renewed once a second.
    let deadline = Instant::now() + Duration::from_secs(60);
    let shown = loop {
        let shown = daemon.fetch("/healthz");
        if shown.0 == 503 {
            break shown;
        }
        assert!(Instant::now() < deadline, "{shown:?}");
    };
    assert!(shown.1.contains("store.max_size"), "{}", shown.1);
    // It goes on serving its status, and claims nothing.
    let status = daemon.status();
    assert_ne!(status["relays"][0]["status"], "Connected", "{status:#}");
    let stopped = daemon.stop();
    assert_eq!(stopped.status.code(), Some(0), "{stopped:?}");
    assert_eq!(place.run(&["store", "verify"]).code, Some(0));

    // A start on the full store is one that waits, too.
    let mut daemon = Daemon::start(&place);
    daemon.wait_line(|line| line.contains("intake waits until there is room"));
    assert_ne!(daemon.status()["relays"][0]["status"], "Connected");
    assert_eq!(daemon.stop().status.code(), Some(0));
    let place = place.var("GRASP_SYNC_STORE__MAX_SIZE", "1GiB");
    let mut daemon = Daemon::start(&place);
    daemon.wait_status(|status| status["totals"]["store_events"] == announcements.len());
    assert_eq!(stored(&place), ids(&announcements), "with room all of it comes");
}
