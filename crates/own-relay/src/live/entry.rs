//! An accepted event, made ready once for everybody who may want it.

use std::sync::Arc;

use nostr::event::Event;
use sync_core::intake::expiration_of;
use sync_core::store::{FeedChange, FeedPage, FeedSeq};

/// An accepted event with its place in the feed and its JSON.
#[derive(Debug)]
pub(crate) struct LiveEvent {
    pub(crate) seq: FeedSeq,
    pub(crate) event: Arc<Event>,
    pub(crate) json: Box<str>,
    /// The first values of its tags of one letter.
    pub(crate) tags: Box<[(u8, Box<str>)]>,
    expires_at: Option<u64>,
}

impl LiveEvent {
    pub(crate) fn new(seq: FeedSeq, event: Arc<Event>) -> Self {
        let tags = event.tags.iter();
        let tags = tags.filter_map(|tag| Some((tag.single_letter_tag()?.as_byte(), Box::from(tag.content()?))));
        Self {
            seq,
            json: serde_json::to_string(&*event).unwrap_or_default().into_boxed_str(),
            tags: tags.collect(),
            expires_at: expiration_of(&event),
            event,
        }
    }

    /// Whether its time is up (NIP-40).
    pub(crate) fn is_expired(&self, now: u64) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// About the bytes that it holds.
    pub(crate) fn size(&self) -> usize {
        2 * self.json.len() + 512
    }
}

/// The accepted events of a piece of the feed.
pub(crate) fn live_events(page: FeedPage) -> Vec<Arc<LiveEvent>> {
    let entries = page.entries.into_iter();
    entries
        .filter_map(|entry| match entry.change {
            FeedChange::Accepted(event) => Some(Arc::new(LiveEvent::new(entry.seq, event))),
            _ => None,
        })
        .collect()
}
