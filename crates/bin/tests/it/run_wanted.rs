//! `run` with what came too early: kept aside, let go of, and fetched again when what it waited for is here.

use std::time::Duration;

use testkit::world::{EventSpec, keys};

use crate::daemon::Daemon;
use crate::net::{DOMAIN, Net, daemon_place, ids, stored};

const LONG_AGO: u64 = 1_700_000_000;

#[test]
fn a_maintainer_whose_body_was_let_go_of_is_fetched_by_id_when_he_is_named() {
    let (owner, maintainer) = (keys(1, 1), keys(1, 2));
    let early = EventSpec::new(30617).at(LONG_AGO).tag(["d", "r"]).tag(["clone", "https://else.net/r.git"]);
    let early = early.sign(&maintainer);
    let net = Net::of([vec![early.clone()]]);
    let place = daemon_place(&net.urls(), "rejected.hot = \"1s\"\n");
    let mut daemon = Daemon::start(&place);
    daemon.wait_relays(net.urls(), "Connected");
    assert_eq!(daemon.metric("grasp_sync_rejected_index_size{tier=\"hot\"}"), Some(1.0));
    assert_eq!(daemon.stop().status.code(), Some(0));

    // The body's time must pass; what is due goes at the start.
    std::thread::sleep(Duration::from_millis(1_100));
    let mut daemon = Daemon::start(&place);
    daemon.wait_relays(net.urls(), "Connected");
    let asked_before = net.relays[0].stats().reqs.len();
    let root = EventSpec::new(30617)
        .at(LONG_AGO + 1)
        .tag(["d", "r"])
        .tag(["clone", &format!("https://{DOMAIN}/r.git")])
        .tag(["relays", &format!("wss://{DOMAIN}"), net.url(0)])
        .tag(["maintainers", &maintainer.public_key().to_hex()])
        .sign(&owner);
    let _ = net.relays[0].publish(root.clone());
    daemon.wait_status(|status| status["totals"]["store_events"] == 2);
    daemon.wait_relays(net.urls(), "Connected");
    assert_eq!(stored(&place), ids([&root, &early]));
    let stats = net.relays[0].stats();
    let by_id = stats.reqs.iter().skip(asked_before).flat_map(|request| &request.filters);
    assert!(
        by_id.flat_map(|filter| filter.ids.iter().flatten()).any(|id| *id == early.id),
        "it was asked for by its id"
    );
    assert_eq!(daemon.stop().status.code(), Some(0));
    let verified = place.run(&["store", "verify"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
}
