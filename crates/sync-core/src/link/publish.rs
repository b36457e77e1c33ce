//! Publishing what the outbox holds to the own relay: several events in flight, and its word on each (SPEC §3).
//!
//! Unlike an upload, which belongs to a batch, each of these is answered to whoever handed it over. What isn't answered when
//! the connection ends is told nothing of, but for the first of it: the outbox offers it again.

use std::collections::{BTreeMap, VecDeque};

use nostr::event::{Event, EventId};

use super::machine::RelayLink;
use super::{LinkOutput, wire};
use crate::response::{Meaning, Said, SaidIn, classify};
use crate::store::{LocalSets, OwnAnswer, OwnVerdict};
use crate::time::{MonoMillis, Now};

/// Events without an answer at once, those that wait to be sent included.
const MAX_PUBLISHED: usize = 64;
/// Their bytes, but for the last of them.
const MAX_BYTES: usize = 4 << 20;
/// How long the own relay may take for an answer, milliseconds. Long, for what is offered again in vain costs it more.
const ANSWER_MS: MonoMillis = 60_000;

/// What is on its way.
#[derive(Debug, Default)]
pub(super) struct Publishing {
    /// Ids, and the frames to be sent.
    waiting: VecDeque<(EventId, String)>,
    in_flight: BTreeMap<EventId, InFlight>,
    /// Bytes of all of them.
    bytes: usize,
    sent: u64,
}

#[derive(Debug)]
struct InFlight {
    deadline: MonoMillis,
    /// In which order they were sent.
    place: u64,
    bytes: usize,
}

impl RelayLink {
    /// How many events may be handed over by [`RelayLink::publish`] at present. Grows by answers alone.
    pub fn publish_room(&self) -> usize {
        if self.publishing.bytes >= MAX_BYTES {
            return 0;
        }
        MAX_PUBLISHED.saturating_sub(self.publishing.waiting.len() + self.publishing.in_flight.len())
    }

    /// Sends an event as soon as the relay may be asked anything; [`LinkOutput::Published`] tells its answer. One that is on
    /// its way already is passed over. One that is larger than what the relay says it reads isn't sent: it would end the
    /// connection.
    pub fn publish(&mut self, event: Event, local: &dyn LocalSets, now: Now) {
        let id = event.id;
        let waits = self.publishing.waiting.iter().any(|(waiting, _)| *waiting == id);
        if !waits && !self.publishing.in_flight.contains_key(&id) {
            let frame = wire::event(&event);
            match self.config.profile.max_message_length {
                Some(max) if frame.len() > max => {
                    let text = format!("a message of {} bytes, and it reads {max}", frame.len());
                    self.out.push_back(LinkOutput::Published(OwnVerdict { id, answer: OwnAnswer::Never { text } }));
                }
                _ => {
                    self.publishing.bytes += frame.len();
                    self.publishing.waiting.push_back((id, frame));
                    self.touch();
                }
            }
        }
        self.pump_if_dirty(local, now);
    }

    pub(super) fn start_publishing(&mut self, now: Now) {
        while let Some((id, frame)) = self.publishing.waiting.pop_front() {
            let deadline = now.mono_ms.saturating_add(ANSWER_MS);
            self.publishing.sent += 1;
            let in_flight = InFlight { deadline, place: self.publishing.sent, bytes: frame.len() };
            self.publishing.in_flight.insert(id, in_flight);
            self.send(frame, None);
            self.owes(now);
        }
    }

    /// Takes an `OK`, if it is one to something published.
    pub(super) fn published(&mut self, id: EventId, accepted: bool, text: &str, now: Now) -> bool {
        if !self.landed(&id) {
            return false;
        }
        let said = classify(SaidIn::Ok, text, None);
        self.heed(&said, now);
        self.out.push_back(LinkOutput::Published(OwnVerdict { id, answer: word(accepted, said) }));
        true
    }

    /// An event is on its way no longer; whether it was.
    fn landed(&mut self, id: &EventId) -> bool {
        let Some(gone) = self.publishing.in_flight.remove(id) else { return false };
        self.publishing.bytes = self.publishing.bytes.saturating_sub(gone.bytes);
        true
    }

    /// The connection is gone. What was sent first and not answered may be what ended it: it is put off, so that it doesn't
    /// come first on the next one as well. Nothing is told of the rest.
    pub(super) fn publishing_lost(&mut self) {
        let lost = std::mem::take(&mut self.publishing);
        if let Some((id, _)) = lost.in_flight.into_iter().min_by_key(|(_, sent)| sent.place) {
            let text = "the connection ended before it was answered".to_owned();
            self.out.push_back(LinkOutput::Published(OwnVerdict { id, answer: OwnAnswer::Later { text } }));
        }
    }

    pub(super) fn publish_timeouts(&mut self, now: Now) {
        let late: Vec<EventId> = self
            .publishing
            .in_flight
            .iter()
            .filter(|(_, sent)| sent.deadline <= now.mono_ms)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            self.landed(&id);
            let text = "it was not answered in time".to_owned();
            self.out.push_back(LinkOutput::Published(OwnVerdict { id, answer: OwnAnswer::Later { text } }));
        }
    }

    pub(super) fn publish_deadline(&self) -> Option<MonoMillis> {
        self.publishing.in_flight.values().map(|sent| sent.deadline).min()
    }
}

/// What an OK of the own relay comes to (WIRE.md).
fn word(accepted: bool, said: Said) -> OwnAnswer {
    let Said { meaning, text, .. } = said;
    match meaning {
        Meaning::Purgatory => OwnAnswer::Purgatory { text },
        Meaning::Duplicate => OwnAnswer::Has,
        _ if accepted => OwnAnswer::Has,
        Meaning::Blocked
        | Meaning::Invalid
        | Meaning::Restricted
        | Meaning::Pow
        | Meaning::TooBig
        | Meaning::Unsupported => OwnAnswer::Never { text },
        // Rates, authentication, its own troubles; and words that nobody knows, which may be about any of them.
        _ => OwnAnswer::Later { text },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_its_consequence() {
        let says = |accepted, text: &str| word(accepted, classify(SaidIn::Ok, text, None));
        for (accepted, text) in [(true, ""), (true, "duplicate: have it"), (false, "duplicate: have it"), (true, "ok")]
        {
            assert_eq!(says(accepted, text), OwnAnswer::Has, "{accepted} {text}");
        }
        for accepted in [true, false] {
            let answer = says(accepted, "purgatory: no git data yet");
            assert_eq!(answer, OwnAnswer::Purgatory { text: "purgatory: no git data yet".to_owned() });
        }
        for text in ["blocked: no", "invalid: id", "restricted: members", "pow: 28 bits", "replaced: have newer event"]
        {
            assert_eq!(says(false, text), OwnAnswer::Never { text: text.to_owned() });
        }
        for text in ["rate-limited: slow down", "error: database is locked", "auth-required: who?", "", "no idea"] {
            assert_eq!(says(false, text), OwnAnswer::Later { text: text.to_owned() });
        }
    }
}
