//! Published events: checked in the order of what each check costs, stored, and answered in the words of NIP-01.
//!
//! Whatever a batch's checks find, its events go to the store together, and their answers come after the commit.

use std::sync::Arc;

use nostr::event::{Event, EventId};
use nostr::filter::Filter;
use sync_core::admission::RejectReason;
use sync_core::check::{Candidate, EventLimits};
use sync_core::link::CheckJob;
use sync_core::store::{EventStore, IntakeOutcome, KnownEvent, StoreError, Submission};
use sync_core::strategy::{BadEvent, CheckVerdict};
use tokio::sync::oneshot;

use crate::message;

/// What publishing needs.
pub(crate) struct Publisher {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) events: EventLimits,
    pub(crate) max_future_s: u64,
}

/// What became of an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// `None` where the event doesn't say which it is.
    id: Option<EventId>,
    accepted: bool,
    text: String,
    /// The name by which it is counted.
    pub(crate) outcome: &'static str,
}

impl Verdict {
    /// The answer to the client.
    pub(crate) fn to_frame(&self) -> String {
        match &self.id {
            Some(id) => message::ok(&id.to_hex(), self.accepted, &self.text),
            None => message::notice(&self.text),
        }
    }

    /// Whether the message was no event at all.
    pub(crate) fn is_nonsense(&self) -> bool {
        self.id.is_none()
    }

    fn refused(id: EventId, text: impl Into<String>, outcome: &'static str) -> Self {
        Self { id: Some(id), accepted: false, text: text.into(), outcome }
    }
}

/// A batch on its way: verdicts in order, and for those that the store decides the rest of it.
pub(crate) struct Underway {
    verdicts: Vec<Result<Verdict, EventId>>,
    stored: oneshot::Receiver<Result<Vec<IntakeOutcome>, StoreError>>,
}

impl Underway {
    /// The verdicts, once the store has answered.
    pub(crate) async fn verdicts(self) -> Vec<Verdict> {
        let mut stored = match self.stored.await.unwrap_or(Err(StoreError::Closed)) {
            Ok(outcomes) => Ok(outcomes.into_iter()),
            Err(error) => Err(error),
        };
        let mut decide = |id| match &mut stored {
            Ok(outcomes) => outcomes.next().map_or_else(|| of_error(id, &StoreError::Closed), |it| of_outcome(id, it)),
            Err(error) => of_error(id, error),
        };
        self.verdicts.into_iter().map(|verdict| verdict.unwrap_or_else(&mut decide)).collect()
    }
}

impl Publisher {
    /// Checks a batch and hands what is good to the store. Blocks: for the checks, and while the store's queue is full.
    pub(crate) fn publish(&self, batch: &[String], now: u64) -> Underway {
        let candidates: Vec<Candidate> = batch.iter().map(|json| Candidate::parse(json, &self.events)).collect();
        let ids: Vec<EventId> = candidates.iter().map(Candidate::id).collect();
        // Where it can't be read everything counts as new: the writer, which decides, will see.
        let known = self.store.known(&ids).unwrap_or_else(|_| vec![None; ids.len()]);
        let mut events = Vec::new();
        let mut verdicts = Vec::with_capacity(batch.len());
        for (candidate, known) in candidates.into_iter().zip(known) {
            // What was kept out may be taken now: the store decides that anew.
            verdicts.push(self.check(candidate, known.filter(|known| known.stored), now, &mut events));
        }
        let (reply, stored) = oneshot::channel();
        if events.is_empty() {
            let _ = reply.send(Ok(Vec::new()));
        } else {
            let submission = Submission { events, relay: None, now, ..Submission::default() };
            let answer = move |result| {
                let _ = reply.send(result);
            };
            if let Err(error) = self.store.submit(submission, Box::new(answer)) {
                tracing::error!(%error, "the store takes no events");
            }
        }
        Underway { verdicts, stored }
    }

    /// A verdict, or the id of an event that the store decides about and that is added to `events`.
    fn check(
        &self,
        candidate: Candidate,
        known: Option<KnownEvent>,
        now: u64,
        events: &mut Vec<Event>,
    ) -> Result<Verdict, EventId> {
        if let Candidate::Parsed(event) = &candidate
            && let Some(verdict) = self.refuse(event, now)
        {
            return Ok(verdict);
        }
        let job = CheckJob {
            token: 0,
            json: String::new(),
            filters: Arc::new([Filter::new()]),
            store: true,
            batch: None,
            question: None,
        };
        let (checked, event) = candidate.check(&job, known, Event::verify_signature);
        let id = checked.id;
        match (checked.verdict, event) {
            (CheckVerdict::Bad(reason), _) => Ok(self.of_bad(id, reason)),
            (CheckVerdict::New, Some(event)) => {
                events.push(event);
                Err(id)
            }
            _ => Ok(of_outcome(id, IntakeOutcome::Duplicate)),
        }
    }

    /// What is refused whoever signed it.
    fn refuse(&self, event: &Event, now: u64) -> Option<Verdict> {
        let refused = |text: String, outcome| Some(Verdict::refused(event.id, text, outcome));
        if event.tags.iter().any(|tag| tag.as_slice().first().is_some_and(|name| name == "-")) {
            return refused("blocked: protected events (NIP-70) are not taken here".to_owned(), "protected");
        }
        if event.kind.is_ephemeral() {
            let (text, outcome) = words(RejectReason::Ephemeral);
            return refused(text.to_owned(), outcome);
        }
        if event.created_at.as_secs() > now.saturating_add(self.max_future_s) {
            let text = format!("invalid: created_at is more than {} s in the future", self.max_future_s);
            return refused(text, RejectReason::FutureDated.as_str());
        }
        None
    }

    fn of_bad(&self, id: EventId, reason: BadEvent) -> Verdict {
        let text = match reason {
            BadEvent::Malformed => "invalid: this is no event".to_owned(),
            BadEvent::TooLarge => format!("invalid: the event has more than {} bytes", self.events.max_event_size),
            BadEvent::TooManyTags => format!("invalid: the event has more than {} tags", self.events.max_tags),
            BadEvent::WrongId => "invalid: the id is not the hash of the event".to_owned(),
            BadEvent::BadSignature => "invalid: the signature is wrong".to_owned(),
            _ => "invalid: the event can't be taken".to_owned(),
        };
        let claims_none = id == EventId::from_byte_array([0; EventId::LEN]);
        Verdict { id: (!claims_none).then_some(id), accepted: false, text, outcome: reason.as_str() }
    }
}

fn of_outcome(id: EventId, outcome: IntakeOutcome) -> Verdict {
    let (accepted, text, outcome) = match outcome {
        IntakeOutcome::Stored => (true, "", "stored"),
        // Another relay has the last word, and isn't served here.
        IntakeOutcome::Held => (true, "", "held"),
        IntakeOutcome::Duplicate => (true, "duplicate: already have this event", "duplicate"),
        IntakeOutcome::Deferred(reason) => {
            (true, "purgatory: kept aside until something that it depends on is accepted", reason.as_str())
        }
        IntakeOutcome::Rejected(reason) => {
            let (text, outcome) = words(reason);
            (false, text, outcome)
        }
    };
    Verdict { id: Some(id), accepted, text: text.to_owned(), outcome }
}

fn words(reason: RejectReason) -> (&'static str, &'static str) {
    let text = match reason {
        RejectReason::Superseded => "replaced: have newer event",
        RejectReason::Deleted => "blocked: deleted by its author",
        RejectReason::Expired => "invalid: the event has expired",
        RejectReason::Ephemeral => "blocked: ephemeral events are neither stored nor relayed here",
        RejectReason::FutureDated => "invalid: created_at is too far in the future",
        RejectReason::NotListed => "blocked: the announcement does not list this service",
        RejectReason::GraspListElsewhere => "blocked: the list does not name this service",
        RejectReason::Denied => "blocked: not accepted here",
        RejectReason::TooLarge => "invalid: the event is larger than the store can take",
        _ => "blocked: not accepted here",
    };
    (text, reason.as_str())
}

fn of_error(id: EventId, error: &StoreError) -> Verdict {
    let text = match error {
        StoreError::Full(_) => "error: the store is full, try again later",
        _ => "error: the store failed, try again later",
    };
    Verdict::refused(id, text, "store_error")
}
