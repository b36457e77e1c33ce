//! Events for unit tests: real ids, signatures that nobody checks.

use nostr::event::{Event, EventId, Kind, Signature, Tag, Tags};
use nostr::key::PublicKey;
use nostr::types::Timestamp;

pub(crate) fn author(n: u8) -> PublicKey {
    PublicKey::from_byte_array([n; 32])
}

pub(crate) fn event(author: PublicKey, created_at: u64, kind: u16, tags: &[&[&str]]) -> Event {
    let tags = tags.iter().filter(|tag| !tag.is_empty()).map(|tag| Tag::parse(tag.iter().copied()).expect("not empty"));
    let tags = Tags::from_list(tags.collect());
    let (created_at, kind) = (Timestamp::from_secs(created_at), Kind::from(kind));
    let id = EventId::compute(&author, &created_at, &kind, &tags, "");
    Event::new(id, author, created_at, kind, tags, "", Signature::from_byte_array([0; 64]))
}
