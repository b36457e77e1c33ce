//! The checks of received events, as the engine's threads do them (SPEC §8). Signatures are verified once for each
//! event, which changes nothing but the time it takes.

use std::collections::HashMap;

use nostr::event::{Event, EventId, Signature};
use sync_core::check::{Candidate, EventLimits};
use sync_core::link::{CheckJob, Checked};
use sync_core::store::LocalSets;

use crate::store::MemoryStore;

/// As wide as the defaults of the configuration.
const LIMITS: EventLimits = EventLimits { max_event_size: 512 * 1024, max_tags: 5_000 };

/// Remembers what was verified.
#[derive(Debug, Default)]
pub(super) struct Checker {
    signatures: HashMap<(EventId, Signature), bool>,
}

impl Checker {
    /// Checks a job; the event, too, where it is valid and to be stored.
    pub(super) fn check(&mut self, job: &CheckJob, store: &MemoryStore) -> (Checked, Option<Event>) {
        let candidate = Candidate::parse(&job.json, &LIMITS);
        let known = store.known(&[candidate.id()]).ok().and_then(|known| known.into_iter().next().flatten());
        candidate.check(job, known, |event| {
            *self.signatures.entry((event.id, event.sig)).or_insert_with(|| event.verify_signature())
        })
    }
}
