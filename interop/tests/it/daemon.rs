//! Real git events on a foreign relay: the daemon starts from it, and when it says that it is complete it holds what the
//! service accepts, event by event.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use interop::client::Client;
use interop::events;
use interop::moved::moved;
use interop::product::{Daemon, Store};
use interop::relays::{Relay, RelayBuilderRelay, RsRelay};
use interop::table;
use serde_json::Value;
use sync_core::model::RelayUrl;
use tempfile::TempDir;
use testkit::world;

/// The service that most of the announcements list.
const DOMAIN: &str = "relay.ngit.dev";
/// Another relay that they list: the one under test takes its place.
const LISTED: &str = "wss://gitnostr.com";

/// The git events, and everything that tags a repository: each once, oldest first.
fn real() -> Option<Vec<Value>> {
    let files = [events::data("nip34-git.jsonl")?, events::data("nip34.jsonl.gz")?];
    let all = files.iter().flat_map(|file| events::read(file));
    let mut all: Vec<_> =
        all.map(|event| (events::id(&event), event)).collect::<BTreeMap<_, _>>().into_values().collect();
    all.sort_by_key(|event| event["created_at"].as_u64());
    Some(all)
}

/// Puts `all` on the relay, runs the daemon until it is complete, and compares; how many events it holds.
async fn mirrors(relay: &dyn Relay, title: &str, all: &[Value]) -> usize {
    let mut client = Client::connect(&relay.url()).await;
    let mut refused = BTreeMap::new();
    for event in all {
        if let (false, words) = client.publish(event).await {
            refused.insert(events::id(event), words);
        }
    }
    let ids: BTreeSet<_> = all.iter().map(events::id).collect();
    let served = client.served(&ids).await;
    let lines: String =
        all.iter().filter(|event| served.contains(&events::id(event))).map(|event| format!("{event}\n")).collect();
    let on_relay = world::from_jsonl(lines.as_bytes()).expect("a relay serves events");

    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let url = RelayUrl::parse(&relay.url()).expect("a relay's address");
    let set = |events: Vec<_>| events.iter().map(|event: &sync_core::nostr::event::Event| event.id.to_hex()).collect();
    let expected: BTreeSet<String> = set(world::accepted(&on_relay, DOMAIN, now));

    let store = Store::new();
    let mut daemon = Daemon::start(&store, DOMAIN, &relay.url());
    daemon.wait_connected(url.as_str());
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
    held.len()
}

/// As they were published: they don't list the relay under test, so that it is asked for announcements alone.
#[tokio::test(flavor = "multi_thread")]
async fn repositories_of_relay_builder() {
    let Some(all) = real() else { return };
    assert!(mirrors(&RelayBuilderRelay::start().await, "relay-builder, not listed", &all).await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_of_rs_relay() {
    let Some(all) = real() else { return };
    let folder = TempDir::new().expect("a temporary folder");
    assert!(mirrors(&RsRelay::start(folder.path()), "rs-relay, not listed", &all).await > 0);
}

/// With the relay under test in a listed one's place: all three layers are asked of it.
#[tokio::test(flavor = "multi_thread")]
async fn listed_repositories_of_relay_builder() {
    let Some(all) = real() else { return };
    let relay = RelayBuilderRelay::start().await;
    let all = moved(&all, LISTED, &relay.url());
    assert!(mirrors(&relay, "relay-builder, listed", &all).await > 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn listed_repositories_of_rs_relay() {
    let Some(all) = real() else { return };
    let folder = TempDir::new().expect("a temporary folder");
    let relay = RsRelay::start(folder.path());
    let all = moved(&all, LISTED, &relay.url());
    assert!(mirrors(&relay, "rs-relay, listed", &all).await > 20);
}
