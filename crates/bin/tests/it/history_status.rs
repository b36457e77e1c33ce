//! The daemon tells how far a relay's history has come while it is being read.

use serde_json::Value;
use testkit::relay::{Drip, TooBig, TooBigWording};
use testkit::world::WorldSpec;

use crate::daemon::{Daemon, relay};
use crate::net::{Net, daemon_place, ids, stored};

/// A filter of which something is drained, and something isn't.
fn is_under_way(filter: &Value) -> bool {
    let some = |list: &str| filter[list].as_array().is_some_and(|windows| !windows.is_empty());
    filter["filter"].is_string() && some("drained") && some("open")
}

#[test]
fn the_status_shows_what_is_drained_of_a_slow_relay() {
    let spec = WorldSpec { repos: 40, roots_per_repo: 8, replies_per_root: 4, ..WorldSpec::default() };
    let (net, world) = Net::world(1, spec);
    net.relays[0].set_faults(|faults| {
        faults.too_big = Some(TooBig { cap: 20, wording: TooBigWording::FourthElement });
        faults.drip = Some(Drip { piece: 400, pause_ms: 20 });
    });
    let place = daemon_place(&[net.url(0)], "");
    let mut daemon = Daemon::start(&place);
    let coverage = |status: &Value| relay(status, net.url(0)).map(|relay| relay["coverage"].clone());
    daemon.wait_status(|status| {
        coverage(status).is_some_and(|all| all.as_array().is_some_and(|all| all.iter().any(is_under_way)))
    });
    let status = daemon.wait_status(|status| {
        let batch = &status["batches"][0];
        batch["windows_drained"].as_u64() > Some(0) && batch["windows_open"].as_u64() > Some(0)
    });
    let batch = &status["batches"][0];
    assert_eq!((&batch["relay"], &batch["strategy"]), (&net.url(0).into(), &"negentropy".into()), "{batch:#}");
    assert!(batch["filters_drained"].as_u64() < batch["filters"].as_u64(), "{batch:#}");
    net.relays[0].set_faults(|faults| faults.drip = None);
    let status = daemon.wait_relays(net.urls(), "Connected");
    assert_eq!(coverage(&status), Some(serde_json::json!([])), "nothing is under way: {status:#}");
    assert_eq!(status["batches"], serde_json::json!([]), "{status:#}");
    // Every event was counted in the second in which it was stored, but for what came since the last tick.
    let stored_by_seconds = |status: &Value| -> u64 {
        status["events_per_second"].as_array().into_iter().flatten().filter_map(Value::as_u64).sum()
    };
    daemon.wait_status_with(|daemon, status| {
        let counted = daemon.metric("ngit_sync_events_synced_total").expect("counted");
        counted > 0.0 && stored_by_seconds(status) as f64 == counted
    });
    assert_eq!(stored(&place), ids(&world.accepted()));
    assert_eq!(daemon.stop().status.code(), Some(0));
}
