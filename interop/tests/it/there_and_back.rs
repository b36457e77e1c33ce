//! Twenty thousand real events: imported, sent to a relay, fetched from it into an empty store. Whatever is missing at the
//! end must have a reason.

use std::collections::BTreeSet;

use interop::client::Client;
use interop::events;
use interop::product::Store;
use interop::relays::{Relay, RelayBuilderRelay, RsRelay};

async fn there_and_back(relay: &dyn Relay) {
    let Some(file) = events::data("general.jsonl.gz") else { return };
    let all = events::read(&file);
    let left_out = events::left_out(&all);

    let first = Store::new();
    first.import(&all);
    let imported = first.ids();
    let expected: BTreeSet<_> = all.iter().map(events::id).filter(|id| !left_out.contains_key(id)).collect();
    assert_eq!(imported.difference(&expected).count(), 0, "stored, though there is a reason not to");
    assert_eq!(expected.difference(&imported).count(), 0, "left out without a reason");
    eprintln!("imported {} of {}: {:?}", imported.len(), all.len(), events::tally(left_out.values().copied()));

    let (code, up) = first.sync(&relay.url(), "up");
    assert!(matches!(code, Some(0 | 3)), "{code:?}: {up}");
    let refused: u64 = up["upload_refused"].as_object().into_iter().flatten().filter_map(|(_, n)| n.as_u64()).sum();
    assert_eq!(up["uploaded"].as_u64().unwrap_or_default() + refused, imported.len() as u64, "{up}");

    let second = Store::new();
    let (code, down) = second.sync(&relay.url(), "down");
    assert_eq!((code, &down["status"]), (Some(0), &"complete".into()), "{down}");
    let strategy = down["strategy"].as_str().unwrap_or_default();
    let fallbacks = down["fallbacks"].as_array().map_or(0, Vec::len);
    if relay.reconciles() {
        assert_eq!((strategy, fallbacks), ("negentropy", 0), "{down}");
    } else {
        assert!(strategy.contains("req") && fallbacks > 0, "{down}");
    }

    let fetched = second.ids();
    assert_eq!(fetched.difference(&imported).count(), 0, "the relay has what nobody sent");
    let missing: BTreeSet<_> = imported.difference(&fetched).cloned().collect();
    let served = Client::connect(&relay.url()).await.served(&missing).await;
    assert_eq!(served.len(), 0, "the relay serves what sync didn't bring: {served:?}");
    eprintln!(
        "{}: {} there and back, {} not: refused {}",
        relay.url(),
        fetched.len(),
        missing.len(),
        up["upload_refused"]
    );
    assert!(missing.len() as u64 <= refused, "taken by the relay, but not served: {missing:?}");

    let (code, again) = second.sync(&relay.url(), "down");
    assert_eq!((code, &again["stored"]), (Some(0), &0.into()), "a second sync finds nothing: {again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn by_negentropy_with_relay_builder() {
    there_and_back(&RelayBuilderRelay::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_req_with_rs_relay() {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    there_and_back(&RsRelay::start(folder.path())).await;
}
