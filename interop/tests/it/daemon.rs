//! Real git events on a foreign relay: the daemon starts from it, and holds them when it says that it is complete.

use std::collections::BTreeSet;

use interop::client::Client;
use interop::events;
use interop::product::{Daemon, Store};
use interop::relays::{Relay, RelayBuilderRelay, RsRelay};

/// Events whose repository isn't among the others: deferred, so not exported.
const ORPHANS: usize = 8;

async fn mirrors(relay: &dyn Relay) {
    let Some(file) = events::data("nip34-git.jsonl") else { return };
    let all = events::read(&file);
    let left_out = events::left_out(&all);
    let mut client = Client::connect(&relay.url()).await;
    for event in &all {
        let (taken, words) = client.publish(event).await;
        assert!(taken || left_out.contains_key(&events::id(event)), "{words}: {event}");
    }
    // A list of services is accepted where it names this one, and no service is configured.
    let expected: BTreeSet<_> = all
        .iter()
        .filter(|event| events::kind(event) != 10317)
        .map(events::id)
        .filter(|id| !left_out.contains_key(id))
        .collect();

    let store = Store::new();
    let mut daemon = Daemon::start(&store, &relay.url());
    daemon.wait_connected(&relay.url());
    assert_eq!(daemon.stop().code(), Some(0));

    let held = store.ids();
    assert_eq!(held.difference(&expected).count(), 0, "held, though there is a reason not to");
    let missing: BTreeSet<_> = expected.difference(&held).collect();
    assert!(missing.len() <= ORPHANS, "more is missing than the {ORPHANS} orphans: {missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_relay_builder() {
    mirrors(&RelayBuilderRelay::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_rs_relay() {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    mirrors(&RsRelay::start(folder.path())).await;
}
