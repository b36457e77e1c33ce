//! Real git events, and how they come to a relay.

use std::collections::{BTreeMap, BTreeSet};

use interop::client::Client;
use interop::events;
use interop::relays::Relay;
use serde_json::Value;
use sync_core::model::RelayUrl;

/// The service that most of the announcements list.
pub(crate) const DOMAIN: &str = "relay.ngit.dev";

/// The git events, and everything that tags a repository: each once, oldest first.
pub(crate) fn real() -> Option<Vec<Value>> {
    let files = [events::data("nip34-git.jsonl")?, events::data("nip34.jsonl.gz")?];
    let all = files.iter().flat_map(|file| events::read(file));
    let mut all: Vec<_> =
        all.map(|event| (events::id(&event), event)).collect::<BTreeMap<_, _>>().into_values().collect();
    all.sort_by_key(|event| event["created_at"].as_u64());
    Some(all)
}

/// Puts events on a relay; what it refuses, by id, with its words.
pub(crate) async fn publish<'a>(
    relay: &dyn Relay,
    events: impl IntoIterator<Item = &'a Value>,
) -> BTreeMap<String, String> {
    let mut client = Client::connect(&relay.url()).await;
    let mut refused = BTreeMap::new();
    for event in events {
        if let (false, words) = client.publish(event).await {
            refused.insert(events::id(event), words);
        }
    }
    refused
}

/// The relays out there that the events list: none of them may be connected to.
pub(crate) fn out_there(all: &[Value], here: &[RelayUrl]) -> BTreeSet<RelayUrl> {
    let tags = all.iter().filter_map(|event| event["tags"].as_array()).flatten().filter_map(Value::as_array);
    let listed = tags.filter(|tag| tag.first().is_some_and(|name| name == "relays")).flatten();
    let listed = listed.filter_map(Value::as_str).filter_map(|url| RelayUrl::parse(url).ok());
    listed.filter(|url| !here.contains(url)).collect()
}

/// The configuration by which the daemon leaves these relays alone.
pub(crate) fn disabled(relays: &BTreeSet<RelayUrl>) -> String {
    relays.iter().map(|relay| format!("sync.relays.{:?}.disabled = true\n", relay.as_str())).collect()
}
