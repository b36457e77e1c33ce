//! A history with a tenth of its events in one second, made once, and what the tests of long histories ask of a sync.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use nostr::event::Event;
use serde_json::json;
use testkit::relay::{Faults, RelayOptions};
use testkit::world::{BulkSpec, bulk_events};

use crate::net::{Net, ids, stored};
use crate::program::Place;
use crate::signed;
use crate::sync_command::Synced;

/// The second that holds a tenth of all.
pub(crate) const SECOND: u64 = 1_700_000_000;
/// Kinds of which every event is kept, each with an eighth of all, and as much of the second.
pub(crate) const KINDS: [u16; 8] = [1, 6, 7, 16, 1111, 1311, 1984, 9802];
/// All of it.
pub(crate) const WHOLE: usize = 30_000;

/// Signatures take a while.
static ALL: LazyLock<Vec<Event>> = LazyLock::new(|| {
    let mut events: Vec<Event> = KINDS.into_iter().flat_map(|kind| of_kind(kind, WHOLE / KINDS.len())).collect();
    events.sort_unstable_by_key(|event| (event.created_at, event.id));
    events
});

/// One a second but for the one second, by 16 authors.
fn of_kind(kind: u16, count: usize) -> Vec<Event> {
    let (before, within, after) = shares(count);
    let spec =
        |count, start, per_second| BulkSpec { kind, count, start, per_second, content_len: 40, ..BulkSpec::default() };
    let parts =
        [spec(before, SECOND - before as u64, 1), spec(within, SECOND, within as u64), spec(after, SECOND + 1, 1)];
    parts.iter().flat_map(bulk_events).collect()
}

/// How many of a kind's events lie before the second, in it, and after it.
fn shares(count: usize) -> (usize, usize, usize) {
    let within = count / 10;
    let before = (count - within) / 2;
    (before, within, count - within - before)
}

/// The `count` events about the second, a tenth of them in it; oldest first. `count` is a multiple of 80.
pub(crate) fn history(count: usize) -> Vec<Event> {
    let (before, within, after) = shares(count / KINDS.len());
    let (oldest, newest) = (SECOND - before as u64, SECOND + after as u64);
    let mut left = KINDS.map(|kind| (kind, within));
    let mut wanted = |event: &&Event| {
        let at = event.created_at.as_secs();
        if at != SECOND {
            return (oldest..=newest).contains(&at);
        }
        let of_kind = left.iter_mut().find(|(kind, _)| *kind == event.kind.as_u16());
        let (_, left) = of_kind.expect("one of the kinds");
        std::mem::replace(left, left.saturating_sub(1)) > 0
    };
    let events: Vec<Event> = ALL.iter().filter(&mut wanted).cloned().collect();
    assert_eq!(events.len(), count);
    events
}

/// A relay that shows at most `page` events of a REQ.
pub(crate) fn relay_with(events: &[Event], page: usize, set: impl FnOnce(&mut Faults)) -> Net {
    let mut net = Net::of([]);
    net.add(RelayOptions { events: events.to_vec(), max_limit: page, default_limit: page, ..RelayOptions::default() });
    net.relays[0].set_faults(set);
    net
}

/// A place whose store holds these events.
pub(crate) fn holding<'a>(events: impl IntoIterator<Item = &'a Event>) -> Place {
    let lines: String = events.into_iter().map(|event| signed::json(event) + "\n").collect();
    let place = Place::new().file("events.jsonl", &lines);
    assert_eq!(place.run(&["import", "events.jsonl"]).code, Some(0));
    place
}

/// It ended complete.
pub(crate) fn complete(synced: &Synced) {
    let line = synced.only();
    assert_eq!((synced.code(), &line["status"]), (Some(0), &json!("complete")), "{line:#}\n{}", synced.ended.stderr);
}

/// It ended degraded, with a reason that holds `words`.
pub(crate) fn degraded(synced: &Synced, words: &[&str]) {
    let line = synced.only();
    assert_eq!((synced.code(), &line["status"]), (Some(3), &json!("degraded")), "{line:#}");
    let reason = line["reason"].as_str().unwrap_or_default();
    assert!(words.iter().all(|word| reason.contains(word)), "{words:?} in {reason:?}");
}

/// The ids in a store that must be sound; none where there is no store yet.
pub(crate) fn sound(place: &Place) -> BTreeSet<String> {
    let verify = place.run(&["store", "verify"]);
    if verify.stderr.contains("no store") {
        return BTreeSet::new();
    }
    assert_eq!((verify.code, verify.stderr.as_str()), (Some(0), ""), "{verify:?}");
    stored(place)
}

/// The store is sound, and holds these events and no others.
pub(crate) fn holds<'a>(place: &Place, events: impl IntoIterator<Item = &'a Event>) {
    let (held, wanted) = (sound(place), ids(events));
    let (missing, more) = (wanted.difference(&held).count(), held.difference(&wanted).count());
    assert_eq!((missing, more), (0, 0), "missing, and too many, of {}", wanted.len());
}
