//! Subscriptions: stored events, EOSE, then what is accepted (NIP-01, NIP-67).
//!
//! Each has its own place in the feed: the stored events are those as of that place, and live events are those after it.
//! So none is told twice, none is left out, and whatever comes in meanwhile waits in the feed rather than in memory.

use std::collections::HashMap;
use std::sync::Arc;

use nostr::filter::Filter;
use sync_core::store::{Beyond, FeedSeq, Query, StoreError};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{Out, Session, unreadable_store};
use crate::budget::{Budget, Held};
use crate::live::{LiveEvent, Matcher};
use crate::message;
use crate::work::{Stored, Work};

/// Bytes of live events that are told at a time: an event that many subscriptions ask for is many frames.
const LIVE_BYTES: usize = 512 << 10;
/// Filters that live events are held against at a time, and then those of one more event: whoever asks for much with
/// many filters is told in more turns.
const LIVE_MATCHES: usize = 20_000;

/// The open subscriptions of a connection.
pub(super) struct Subscriptions {
    open: HashMap<String, Subscription>,
    /// The bytes that the filters of all of them may take.
    filter_bytes: Arc<Budget>,
    /// The kinds that any of them can match; made anew when it is needed, after a change.
    kinds: Option<Kinds>,
}

/// Kinds of events, in order; `None` for all.
struct Kinds(Option<Vec<u16>>);

impl Kinds {
    fn of<'a>(matchers: impl Iterator<Item = &'a Matcher>) -> Self {
        let mut kinds = Vec::new();
        for matcher in matchers {
            match matcher.kinds() {
                Some(more) => kinds.extend_from_slice(more),
                None => return Self(None),
            }
        }
        kinds.sort_unstable();
        kinds.dedup();
        Self(Some(kinds))
    }

    fn contain(&self, kind: u16) -> bool {
        self.0.as_ref().is_none_or(|kinds| kinds.binary_search(&kind).is_ok())
    }
}

struct Subscription {
    number: u64,
    /// The id as JSON.
    quoted: String,
    matchers: Vec<Matcher>,
    /// The feed is told up to here; `None` while stored events are on their way.
    place: Option<FeedSeq>,
    /// What its filters take.
    _held: Held,
}

impl Subscriptions {
    /// None yet; the filters of all that are to come may take so much.
    pub(super) fn new(filter_bytes: Arc<Budget>) -> Self {
        Self { open: HashMap::new(), filter_bytes, kinds: None }
    }

    /// The place of the one that is furthest behind, of those that are live.
    pub(super) fn place(&self) -> Option<FeedSeq> {
        self.open.values().filter_map(|subscription| subscription.place).min()
    }

    fn remove(&mut self, id: &str) -> Option<Subscription> {
        self.kinds = None;
        self.open.remove(id)
    }

    /// Tells whoever is at `from` or beyond; where that is much, only the first of `events`.
    pub(super) fn tell(&mut self, from: FeedSeq, events: &[Arc<LiveEvent>], upto: FeedSeq, now: u64, out: &mut Out) {
        let Self { open, kinds, .. } = self;
        let kinds = kinds.get_or_insert_with(|| Kinds::of(open.values().flat_map(|open| &open.matchers)));
        let (mut upto, mut bytes, mut matches) = (upto, 0, 0);
        for event in events {
            if !kinds.contain(event.event.kind.as_u16()) || event.is_expired(now) {
                continue;
            }
            for subscription in open.values() {
                // Those further behind than these events reach are told first what they lack.
                if subscription.place.is_some_and(|place| (from..event.seq).contains(&place))
                    && subscription.matchers.iter().inspect(|_| matches += 1).any(|matcher| matcher.matches(event))
                {
                    let frame = message::event(&subscription.quoted, &event.json);
                    bytes += frame.len();
                    out.say(frame);
                    out.events += 1;
                }
            }
            if bytes >= LIVE_BYTES || matches >= LIVE_MATCHES {
                upto = event.seq;
                break;
            }
        }
        for subscription in open.values_mut() {
            if let Some(place) = subscription.place.as_mut().filter(|place| (from..upto).contains(*place)) {
                *place = upto;
            }
        }
    }
}

impl Session {
    /// `bytes`: those of the message, which stand for what its filters take.
    pub(super) fn subscribe(&mut self, id: String, filters: Vec<Filter>, bytes: usize, head: FeedSeq) {
        let replaces = self.subscriptions.open.contains_key(&id);
        if !replaces && self.subscriptions.open.len() >= self.limits.max_subscriptions {
            self.out.limit("max_subscriptions");
            let max = self.limits.max_subscriptions;
            let reason = format!("error: too many subscriptions, at most {max} may be open");
            return self.out.say(message::closed(&id, &reason));
        }
        // The one that is replaced makes room; it is gone, too, where that isn't enough, and CLOSED says so.
        self.unsubscribe(&id);
        let held = match Held::of(&self.subscriptions.filter_bytes, bytes as u64) {
            Ok(held) => held,
            Err(limit) => {
                self.out.limit(limit);
                return self.out.say(message::closed(&id, &self.too_many_bytes(limit)));
            }
        };
        let (number, quoted) = (self.number(), message::quoted(&id));
        let max = self.limits.max_limit;
        let bounded =
            |filter: &Filter| Filter { limit: Some(filter.limit.map_or(max, |l| l.min(max))), ..filter.clone() };
        let query = Query::new(filters.iter().map(bounded)).looking_beyond();
        let matchers = filters.into_iter().map(Matcher::new).collect();
        let mut subscription = Subscription { number, quoted: quoted.clone(), matchers, place: None, _held: held };
        if query.is_finished() {
            subscription.place = Some(head);
            self.out.say(message::eose(&quoted, None));
        } else {
            self.work.push_back(Work::Stored(Box::new(Stored { id: id.clone(), number, quoted, query })));
        }
        self.subscriptions.kinds = None;
        self.subscriptions.open.insert(id, subscription);
    }

    fn too_many_bytes(&self, limit: &'static str) -> String {
        let (of, max) = match limit {
            "max_filter_bytes" => ("their filters", self.limits.max_filter_bytes),
            _ => ("the filters of all clients", self.limits.max_all_filter_bytes),
        };
        format!("error: too many subscriptions, {of} take more than {max} bytes")
    }

    pub(super) fn unsubscribe(&mut self, id: &str) {
        let Some(gone) = self.subscriptions.remove(id) else { return };
        self.work.retain(|work| !matches!(work, Work::Stored(stored) if stored.number == gone.number));
    }

    pub(super) fn stored(&mut self, stored: Box<Stored>, page: Result<Vec<Utf8Bytes>, StoreError>) {
        let subscription = self.subscriptions.open.get_mut(&stored.id);
        // It may have been closed, or replaced, while its page was read.
        let Some(subscription) = subscription.filter(|subscription| subscription.number == stored.number) else {
            return;
        };
        match page {
            Err(error) => {
                self.subscriptions.remove(&stored.id);
                self.out.say(message::closed(&stored.id, &unreadable_store(&error)));
            }
            Ok(frames) => {
                self.out.events += frames.len() as u64;
                self.out.frames.extend(frames);
                if !stored.query.is_finished() {
                    return self.work.push_back(Work::Stored(stored));
                }
                subscription.place = stored.query.as_of;
                let hint = match stored.query.beyond() {
                    Beyond::Nothing => Some(true),
                    Beyond::More => Some(false),
                    Beyond::Unknown => None,
                };
                self.out.say(message::eose(&stored.quoted, hint));
            }
        }
    }
}
