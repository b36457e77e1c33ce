//! Twenty thousand real events: imported, sent to a relay, fetched from it into an empty store. Whatever is missing at the
//! end must have a reason.

use std::collections::{BTreeMap, BTreeSet};

use interop::client::Client;
use interop::events;
use interop::product::{Imported, Store};
use interop::relays::{Relay, RelayBuilderRelay, RsRelay};
use interop::table;
use serde_json::{Value, json};

/// Why a relay refused an upload, in the words it starts with (NIP-01), as `upload_refused` counts them.
fn prefix(words: &str) -> String {
    words.split_once(':').map_or("other", |(prefix, _)| prefix).to_owned()
}

fn count(line: &Value, key: &str) -> usize {
    line[key].as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or_else(|| panic!("no {key} in {line}"))
}

/// What the relay refuses, by id, when a plain client offers those that it doesn't serve.
async fn refused_by(relay: &dyn Relay, offered: &BTreeMap<String, &Value>) -> BTreeMap<String, String> {
    let mut client = Client::connect(&relay.url()).await;
    let served = client.served(offered.keys()).await;
    let mut refused = BTreeMap::new();
    for (id, event) in offered.iter().filter(|(id, _)| !served.contains(*id)) {
        let (taken, words) = client.publish(event).await;
        assert!(!taken, "the relay would have taken {id}, but `sync` didn't bring it there");
        refused.insert(id.clone(), words);
    }
    refused
}

/// What the relay refuses, for a caller to compare.
async fn there_and_back(relay: &dyn Relay, name: &str) -> BTreeMap<String, String> {
    let Some(file) = events::data("general.jsonl.gz") else { return BTreeMap::new() };
    let all = events::read(&file);
    let left_out = events::left_out(&all);

    let first = Store::new();
    let summary = first.import(&all);
    assert_eq!((summary.duplicate, summary.rejected.get("malformed")), (0, None), "{summary:?}");
    let imported = first.ids();
    let expected: BTreeSet<_> = all.iter().map(events::id).filter(|id| !left_out.contains_key(id)).collect();
    assert_eq!(imported.difference(&expected).count(), 0, "stored, though there is a reason not to");
    assert_eq!(expected.difference(&imported).count(), 0, "left out without a reason");

    let (code, up) = first.sync(&relay.url(), "up");
    let offered = all.iter().map(|event| (events::id(event), event)).filter(|(id, _)| imported.contains(id)).collect();
    let refused = refused_by(relay, &offered).await;
    let by_prefix = events::tally(refused.values().map(|words| prefix(words)));
    assert_eq!(up["upload_refused"], json!(by_prefix), "{up}");
    assert_eq!(count(&up, "uploaded") + refused.len(), imported.len(), "{up}");
    let (ending, status) = if refused.is_empty() { (0, "complete") } else { (3, "degraded") };
    assert_eq!((code, up["status"].as_str()), (Some(ending), Some(status)), "{up}");

    let (code, more) = first.sync(&relay.url(), "up");
    assert_eq!((code, count(&more, "uploaded")), (Some(ending), 0), "what is there is not sent again: {more}");
    assert_eq!(more["upload_refused"], json!(by_prefix), "{more}");

    let second = Store::new();
    let (code, down) = second.sync(&relay.url(), "down");
    assert_eq!((code, down["status"].as_str()), (Some(0), Some("complete")), "{down}");
    let fallbacks = down["fallbacks"].as_array().map_or(&[][..], Vec::as_slice);
    if relay.reconciles() {
        assert_eq!((down["strategy"].as_str(), fallbacks), (Some("negentropy"), &[][..]), "{down}");
    } else {
        // Found out by trying: what it answers, and that nothing is lost by it.
        let expected = json!([{ "from": "negentropy", "to": "req", "reason": "could not parse command" }]);
        assert_eq!(down["fallbacks"], expected, "{down}");
    }

    let fetched = second.ids();
    let mut rows = vec![(imported.len(), "imported".to_owned())];
    rows.extend(events::tally(left_out.values().copied()).into_iter().map(|(why, n)| (n, format!("left out: {why}"))));
    rows.push((count(&up, "uploaded"), "uploaded".to_owned()));
    let refusals = events::tally(refused.values().map(String::as_str));
    rows.extend(refusals.into_iter().map(|(words, n)| (n, format!("refused by the relay ({words})"))));
    rows.push((fetched.len(), "fetched again, into an empty store".to_owned()));
    let wraps = all.iter().filter(|event| events::kind(event) == 1059 && fetched.contains(&events::id(event)));
    rows.push((wraps.count(), "of these gift wraps, kind 1059".to_owned()));
    table::print(&format!("{name}: {} events there and back", all.len()), rows);

    assert_eq!(fetched.difference(&imported).count(), 0, "the relay has what nobody sent");
    let missing: BTreeSet<_> = imported.difference(&fetched).collect();
    assert_eq!(missing, refused.keys().collect(), "what is missing is what the relay refused, and nothing else");

    let (code, again) = second.sync(&relay.url(), "both");
    assert_eq!((code, count(&again, "stored"), count(&again, "uploaded")), (Some(0), 0, 0), "nothing is left: {again}");
    if relay.reconciles() {
        assert_eq!((count(&again, "need"), count(&again, "received")), (0, 0), "equal sets move no event: {again}");
    }
    refused
}

#[tokio::test(flavor = "multi_thread")]
async fn by_negentropy_with_relay_builder() {
    let refused = there_and_back(&RelayBuilderRelay::start().await, "relay-builder").await;
    let Some(file) = events::data("general.jsonl.gz") else { return };
    // Only the author may publish a protected event (NIP-70): every one of them is refused, and counted as such.
    let protected = events::read(&file).into_iter().filter(events::is_protected).map(|event| events::id(&event));
    let by_auth = refused.iter().filter(|(_, words)| prefix(words) == "auth-required").map(|(id, _)| id.clone());
    assert_eq!(by_auth.collect::<BTreeSet<_>>(), protected.collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn by_req_with_rs_relay() {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    there_and_back(&RsRelay::start(folder.path()), "rs-relay").await;
}

/// Signed by somebody, and yet no relay can hold them: a kind of −1, times that 32 bits don't hold.
#[test]
fn odd_events_are_counted_and_left_out() {
    let Some(file) = events::data("edge.jsonl") else { return };
    let all = events::read(&file);
    let store = Store::new();
    let summary = store.import(&all);
    table::print(&format!("{} odd events", all.len()), summary.rejected.iter().map(|(why, n)| (*n as usize, why)));
    let is_odd = |event: &&Value| event["kind"].as_i64().is_some_and(|kind| kind < 0);
    let malformed = all.iter().filter(is_odd).count() as u64;
    let ephemeral = all.iter().filter(|event| events::is_ephemeral(event)).count() as u64;
    let rejected = [
        ("malformed", malformed),
        ("ephemeral", ephemeral),
        ("future_dated", all.len() as u64 - malformed - ephemeral),
    ];
    let rejected = rejected.map(|(why, count)| (why.to_owned(), count)).into();
    assert_eq!(summary, Imported { stored: 0, duplicate: 0, rejected });
    assert_eq!(store.ids().len(), 0);
}
