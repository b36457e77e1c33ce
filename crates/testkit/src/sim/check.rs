//! The checks of received events, as the engine's threads do them (SPEC §8). Signatures are verified once for each
//! event, which changes nothing but the time it takes.

use std::collections::HashMap;

use nostr::event::{Event, EventId, Signature};
use nostr::filter::MatchEventOptions;
use sync_core::link::{CheckJob, Checked};
use sync_core::store::{KnownEvent, LocalSets};
use sync_core::strategy::{BadEvent, CheckVerdict};

use crate::store::MemoryStore;

/// Remembers what was verified.
#[derive(Debug, Default)]
pub(super) struct Checker {
    signatures: HashMap<(EventId, Signature), bool>,
}

impl Checker {
    /// Checks a job; the event, too, where it is valid and to be stored.
    pub(super) fn check(&mut self, job: &CheckJob, store: &MemoryStore) -> (Checked, Option<Event>) {
        let nobody = EventId::from_byte_array([0; EventId::LEN]);
        let Ok(event) = serde_json::from_str::<Event>(&job.json) else {
            let verdict = CheckVerdict::Bad(BadEvent::Malformed);
            return (Checked { token: job.token, id: nobody, created_at: 0, verdict }, None);
        };
        let known = store.known(&[event.id]).ok().and_then(|known| known.into_iter().next().flatten());
        let verdict = self.verdict(&event, known, job);
        let created_at = if matches!(verdict, CheckVerdict::Bad(_)) { 0 } else { event.created_at.as_secs() };
        let answer = Checked { token: job.token, id: event.id, created_at, verdict };
        (answer, (verdict == CheckVerdict::New && job.store).then_some(event))
    }

    fn verdict(&mut self, event: &Event, known: Option<KnownEvent>, job: &CheckJob) -> CheckVerdict {
        let matches = || job.filters.iter().any(|filter| filter.match_event(event, MatchEventOptions::new()));
        if let Some(known) = known {
            return if known.created_at != event.created_at.as_secs() {
                CheckVerdict::Bad(BadEvent::WrongId)
            } else if !matches() {
                CheckVerdict::Bad(BadEvent::NotAsked)
            } else {
                CheckVerdict::Known
            };
        }
        if !event.verify_id() {
            CheckVerdict::Bad(BadEvent::WrongId)
        } else if !matches() {
            CheckVerdict::Bad(BadEvent::NotAsked)
        } else if !*self.signatures.entry((event.id, event.sig)).or_insert_with(|| event.verify_signature()) {
            CheckVerdict::Bad(BadEvent::BadSignature)
        } else {
            CheckVerdict::New
        }
    }
}
