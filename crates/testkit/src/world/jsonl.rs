//! Events as JSON lines.

use std::io::{self, BufRead};

use nostr::event::Event;

/// Why a file isn't events as JSON lines.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonlError {
    /// Reading failed.
    #[error("reading events failed: {0}")]
    Io(#[from] io::Error),
    /// A line isn't an event.
    #[error("line {line} is no event: {error}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        error: nostr::error::Error,
    },
}

/// One event a line, each ended by a newline.
pub fn to_jsonl<'a>(events: impl IntoIterator<Item = &'a Event>) -> String {
    events.into_iter().flat_map(|event| [event.as_json(), "\n".to_owned()]).collect()
}

/// Reads one event a line; empty lines are passed over. Ids and signatures aren't checked.
///
/// # Errors
/// Reading failed, or a line isn't an event.
pub fn from_jsonl(reader: impl BufRead) -> Result<Vec<Event>, JsonlError> {
    let mut events = Vec::new();
    for (place, line) in reader.lines().enumerate() {
        let line = line?;
        if !line.trim().is_empty() {
            events.push(Event::from_json(&line).map_err(|error| JsonlError::Line { line: place + 1, error })?);
        }
    }
    Ok(events)
}
