//! Generated filters over generated events, and over real ones where they are present beside the repository: the relay's
//! answers against plain sorting.

use std::collections::BTreeSet;
use std::path::Path;

use nostr::event::Event;
use nostr::filter::{Filter, MatchEventOptions};
use serde_json::{Value, json};
use sync_core::model::RelayUrl;
use sync_core::time::Jitter;
use testkit::world::{World, WorldSpec};

use crate::support::{Relay, in_order, note, now};

const FILTERS: u64 = 150;

fn load(name: &str) -> Option<Vec<Event>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("SKIP: {} is absent", path.display());
        return None;
    };
    Some(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// Draws filters from what events hold.
struct Draw<'a> {
    random: Jitter,
    events: &'a [Event],
}

impl Draw<'_> {
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.random.next_u64() % end as u64).expect("small")
    }

    fn event(&mut self) -> &Event {
        let place = self.below(self.events.len());
        &self.events[place]
    }

    fn some<T>(&mut self, mut value: impl FnMut(&Event) -> T) -> Vec<T> {
        (0..=self.below(4)).map(|_| value(self.event())).collect()
    }

    fn filter(&mut self) -> Value {
        let mut filter = json!({});
        if self.below(3) == 0 {
            filter["kinds"] = json!(self.some(|event| event.kind));
        }
        if self.below(4) == 0 {
            filter["authors"] = json!(self.some(|event| event.pubkey));
        }
        if self.below(8) == 0 {
            filter["ids"] = json!(self.some(|event| event.id));
        }
        if self.below(3) == 0 {
            let tags: Vec<_> = (self.event().tags.iter())
                .filter_map(|tag| Some((tag.single_letter_tag()?.as_char(), tag.content()?.to_owned())))
                .collect();
            if !tags.is_empty() {
                let (letter, value) = &tags[self.below(tags.len())];
                filter[format!("#{letter}")] = json!([value, "nothing has this"]);
            }
        }
        let (one, other) = (self.event().created_at.as_secs(), self.event().created_at.as_secs());
        if self.below(3) == 0 {
            filter["since"] = json!(one.min(other));
        }
        if self.below(3) == 0 {
            filter["until"] = json!(one.max(other));
        }
        if self.below(2) == 0 {
            filter["limit"] = json!(1 + self.below(200));
        }
        filter
    }
}

/// What is to be answered, and whether a limit cut it.
fn expected(events: &[Event], filters: &[Value]) -> (Vec<String>, bool) {
    let (mut told, mut cut) = (BTreeSet::new(), false);
    for filter in filters {
        let filter: Filter = serde_json::from_value(filter.clone()).expect("a filter");
        let matching = || events.iter().filter(|event| filter.match_event(event, MatchEventOptions::new()));
        let limit = filter.limit.unwrap_or(usize::MAX);
        told.extend(matching().take(limit).map(|event| event.id));
        cut |= matching().count() > limit;
    }
    let ids = events.iter().filter(|event| told.contains(&event.id)).map(|event| event.id.to_hex());
    (ids.collect(), cut)
}

/// After everything that real clients have dated, by mistake or not.
const LATE: u64 = 2_000_000_000_000;

fn generated() -> Vec<Event> {
    let relays = ["wss://one.example", "wss://two.example"].map(|url| RelayUrl::parse(url).expect("valid"));
    let mut events = World::generate(WorldSpec::default(), &relays, "git.example.com").events();
    events.extend((0..1_000).map(note));
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_those_of_plain_sorting() {
    let real = ["nip34-git.jsonl", "edge.jsonl"].map(|name| (name, load(name)));
    for (name, events) in real.into_iter().chain([("generated", Some(generated()))]) {
        let Some(events) = events else { continue };
        let relay = Relay::start_open(|config| config.limits.page_events = 50).await;
        for events in events.chunks(1_000) {
            relay.store_at(events.to_vec(), LATE).await;
        }
        let mut stored = Vec::new();
        let store = std::sync::Arc::clone(&relay.store);
        sync_core::store::EventStore::query(&*store, &[Filter::new()], now(), &mut |event| {
            stored.push(event);
            std::ops::ControlFlow::Continue(())
        })
        .expect("reads");
        assert!(!stored.is_empty(), "{name}");
        let stored = in_order(stored);
        let seed = now();
        println!("{name}: {} events, seed {seed}", stored.len());
        let mut draw = Draw { random: Jitter::new(seed), events: &stored };
        let mut client = relay.client().await;
        for number in 0..FILTERS {
            let filters: Vec<Value> = (0..=draw.below(3)).map(|_| draw.filter()).collect();
            let (ids, hint) = client.stored("a", &filters).await;
            let (expected, cut) = expected(&stored, &filters);
            assert_eq!(ids, expected, "seed {seed}, filters {number}: {filters:?}");
            if let Some(hint) = hint {
                assert_eq!(hint, if cut { "more" } else { "finish" }, "seed {seed}, filters {number}: {filters:?}");
            }
        }
    }
}
