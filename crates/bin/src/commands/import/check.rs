//! The checks of SPEC §8 on a chunk of lines: size → JSON → known? → id → signature.

use std::sync::Arc;

use nostr::event::Event;
use sync_core::store::{EventStore, StoreError};
use sync_core::strategy::BadEvent;

use super::lines::{Chunk, Line};

/// What became of a chunk.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// Valid and not known to be stored.
    pub(super) events: Vec<Event>,
    /// How many were known to be stored.
    pub(super) known: u64,
    /// What was refused: the line's number and why, with words for a person.
    pub(super) bad: Vec<(u64, BadEvent, String)>,
    /// How many bytes of the input it took.
    pub(super) bytes: u64,
}

/// What bounds an event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Bytes of its JSON.
    pub(super) max_event_size: usize,
    /// Tags.
    pub(super) max_tags: usize,
}

/// Checks a chunk.
///
/// # Errors
/// The store can't be read.
pub(super) fn check(chunk: Chunk, bounds: Bounds, store: &Arc<dyn EventStore>) -> Result<Checked, StoreError> {
    let mut checked = Checked { bytes: chunk.bytes, ..Checked::default() };
    let mut parsed = Vec::with_capacity(chunk.lines.len());
    for (number, line) in chunk.lines {
        match parse(&line, bounds) {
            Ok(event) => parsed.push((number, event)),
            Err((reason, words)) => checked.bad.push((number, reason, words)),
        }
    }
    let ids: Vec<_> = parsed.iter().map(|(_, event)| event.id).collect();
    let known = store.known(&ids)?;
    for ((number, event), known) in parsed.into_iter().zip(known) {
        if known.is_some_and(|known| known.stored) {
            checked.known += 1;
        } else if !event.verify_id() {
            checked.bad.push((number, BadEvent::WrongId, format!("id {} is not the hash of the event", event.id)));
        } else if !event.verify_signature() {
            checked.bad.push((number, BadEvent::BadSignature, format!("the signature of {} is wrong", event.id)));
        } else {
            checked.events.push(event);
        }
    }
    checked.bad.sort_by_key(|(number, ..)| *number);
    Ok(checked)
}

fn parse(line: &Line, bounds: Bounds) -> Result<Event, (BadEvent, String)> {
    let Line::Bytes(bytes) = line else {
        return Err((BadEvent::TooLarge, format!("longer than {} bytes", bounds.max_event_size)));
    };
    // The parser would take an array of the fields too.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err((BadEvent::Malformed, "not a JSON object".to_owned()));
    }
    let event: Event = serde_json::from_slice(bytes).map_err(|error| (BadEvent::Malformed, error.to_string()))?;
    if event.tags.len() > bounds.max_tags {
        return Err((BadEvent::TooManyTags, format!("{} tags, more than {}", event.tags.len(), bounds.max_tags)));
    }
    Ok(event)
}
