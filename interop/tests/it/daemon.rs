//! Real git events on foreign relays: the daemon starts from one, finds the other by the announcements, and when it says
//! that a relay is complete it holds what the service accepts, event by event.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use interop::client::Client;
use interop::daemon::Daemon;
use interop::events;
use interop::moved::moved;
use interop::product::Store;
use interop::relays::{Relay, RelayBuilderRelay, RsRelay};
use interop::table;
use serde_json::Value;
use sync_core::model::RelayUrl;
use tempfile::TempDir;
use testkit::world;

use crate::real::{DOMAIN, disabled, out_there, publish, real};

/// Another relay that they list: the one that is to be found takes its place.
const LISTED: &str = "wss://gitnostr.com";

/// Puts `all` on the relay `whole`, runs the daemon from the relay `first` until `whole` is complete, and compares.
async fn mirrors(first: &dyn Relay, whole: &dyn Relay, title: &str, all: &[Value]) {
    let refused = publish(whole, all).await;
    let ids: BTreeSet<_> = all.iter().map(events::id).collect();
    let served = Client::connect(&whole.url()).await.served(&ids).await;
    let lines: String =
        all.iter().filter(|event| served.contains(&events::id(event))).map(|event| format!("{event}\n")).collect();
    let on_relay = world::from_jsonl(lines.as_bytes()).expect("a relay serves events");

    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let [first, whole] = [first, whole].map(|relay| RelayUrl::parse(&relay.url()).expect("a relay's address"));
    let set = |events: Vec<_>| events.iter().map(|event: &sync_core::nostr::event::Event| event.id.to_hex()).collect();
    let expected: BTreeSet<String> = set(world::accepted(&on_relay, DOMAIN, now));

    let store = Store::new();
    let others = out_there(all, &[first.clone(), whole.clone()]);
    let quick = "sync.batch_window = \"200ms\"\nsync.settle = \"300ms\"\n";
    let daemon = Daemon::start(&store, DOMAIN, &[first.as_str()], &format!("{quick}{}", disabled(&others)));
    daemon.wait_connected(whole.as_str());
    assert_eq!(daemon.stop().code(), Some(0));
    let held = store.ids();

    let left_out = events::left_out(all);
    let mut rows: BTreeMap<String, usize> = BTreeMap::new();
    for id in &ids {
        let why = match (left_out.get(id), refused.get(id)) {
            _ if held.contains(id) => "held".to_owned(),
            (Some(why), _) => format!("left out: {why}"),
            (_, Some(words)) => format!("left out: refused by the relay ({words})"),
            _ if !served.contains(id) => "left out: taken by the relay, and not served".to_owned(),
            _ if !expected.contains(id) => "left out: not of a repository that lists the service".to_owned(),
            _ => "MISSING".to_owned(),
        };
        *rows.entry(why).or_default() += 1;
    }
    table::print(
        &format!("{title}: {} git events, {} served", all.len(), served.len()),
        rows.into_iter().map(|(why, n)| (n, why)),
    );
    assert_eq!(held.difference(&expected).collect::<Vec<_>>(), Vec::<&String>::new(), "held, though not acceptable");
    assert_eq!(expected.difference(&held).collect::<Vec<_>>(), Vec::<&String>::new(), "missing without a reason");
    assert!(held.len() > 20, "the service's repositories: {}", held.len());
}

/// As they were published: they don't list the relay under test, which is asked for everything all the same, since the
/// daemon starts from it.
async fn started_from(relay: &dyn Relay, name: &str) {
    let Some(all) = real() else { return };
    mirrors(relay, relay, &format!("{name}, started from and not listed"), &all).await;
}

/// The daemon starts from a relay that has the announcements and nothing else. They list the other one.
async fn found_from(first: &dyn Relay, listed: &dyn Relay, name: &str) {
    let Some(all) = real() else { return };
    let all = moved(&all, LISTED, &listed.url());
    publish(first, all.iter().filter(|event| events::kind(event) == 30617)).await;
    mirrors(first, listed, &format!("{name}, found by the announcements"), &all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn started_from_relay_builder() {
    started_from(&RelayBuilderRelay::start().await, "relay-builder").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn started_from_rs_relay() {
    let folder = TempDir::new().expect("a temporary folder");
    started_from(&RsRelay::start(folder.path()), "rs-relay").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn found_from_rs_relay() {
    let folder = TempDir::new().expect("a temporary folder");
    found_from(&RsRelay::start(folder.path()), &RelayBuilderRelay::start().await, "relay-builder").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn found_from_relay_builder() {
    let folder = TempDir::new().expect("a temporary folder");
    found_from(&RelayBuilderRelay::start().await, &RsRelay::start(folder.path()), "rs-relay").await;
}
