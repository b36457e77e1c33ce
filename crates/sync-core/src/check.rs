//! The checks of a received event, in the order of what each costs (SPEC §8): size, JSON, known?, id, filter, signature.

use nostr::event::{Event, EventId};
use nostr::filter::{Filter, MatchEventOptions};

use crate::link::{CheckJob, Checked};
use crate::store::KnownEvent;
use crate::strategy::{BadEvent, CheckVerdict};

/// Bounds on one event (CONTRACT.md, `[limits]`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventLimits {
    /// Bytes of its JSON.
    pub max_event_size: usize,
    /// Its tags.
    pub max_tags: usize,
}

/// An event on its way through the checks.
#[derive(Debug, Clone)]
pub enum Candidate {
    /// It can be read; nothing it says is checked.
    Parsed(Box<Event>),
    /// It can't be used.
    Bad {
        /// The id that it claims, so that whoever asked for it knows that it came; zeros where it claims none.
        id: EventId,
        /// Why.
        reason: BadEvent,
    },
}

impl Candidate {
    /// Reads the JSON of an event.
    pub fn parse(json: &str, limits: &EventLimits) -> Self {
        let bad = |reason| {
            let nobody = EventId::from_byte_array([0; EventId::LEN]);
            Self::Bad { id: claimed_id(json).unwrap_or(nobody), reason }
        };
        if json.len() > limits.max_event_size {
            return bad(BadEvent::TooLarge);
        }
        // The parser would take an array of the seven values, too, which is no event.
        if !json.trim_start().starts_with('{') {
            return bad(BadEvent::Malformed);
        }
        match serde_json::from_str::<Event>(json) {
            Ok(event) if event.tags.len() > limits.max_tags => {
                Self::Bad { id: event.id, reason: BadEvent::TooManyTags }
            }
            Ok(event) => Self::Parsed(Box::new(event)),
            Err(_) => bad(BadEvent::Malformed),
        }
    }

    /// The id that it claims.
    pub fn id(&self) -> EventId {
        match self {
            Self::Parsed(event) => event.id,
            Self::Bad { id, .. } => *id,
        }
    }

    /// The rest of the checks, and the answer to `job`; with the event where it is valid and to be stored. `known` is what
    /// the store knows of its id, `signed` says whether its signature is good and is asked last.
    pub fn check(
        self,
        job: &CheckJob,
        known: Option<KnownEvent>,
        signed: impl FnOnce(&Event) -> bool,
    ) -> (Checked, Option<Event>) {
        let id = self.id();
        let answer = |created_at, verdict| Checked { token: job.token, id, created_at, verdict };
        match self {
            Self::Bad { reason, .. } => (answer(0, CheckVerdict::Bad(reason)), None),
            Self::Parsed(event) => match verdict(&event, known, &job.filters, signed) {
                bad @ CheckVerdict::Bad(_) => (answer(0, bad), None),
                verdict => {
                    let answer = answer(event.created_at.as_secs(), verdict);
                    (answer, (verdict == CheckVerdict::New && job.store).then_some(*event))
                }
            },
        }
    }
}

/// A known id is taken at its word only where it agrees with the record.
fn verdict(
    event: &Event,
    known: Option<KnownEvent>,
    filters: &[Filter],
    signed: impl FnOnce(&Event) -> bool,
) -> CheckVerdict {
    let is_its_own = || match known {
        Some(known) => known.created_at == event.created_at.as_secs(),
        None => event.verify_id(),
    };
    if !is_its_own() {
        CheckVerdict::Bad(BadEvent::WrongId)
    } else if !filters.iter().any(|filter| filter.match_event(event, MatchEventOptions::new())) {
        CheckVerdict::Bad(BadEvent::NotAsked)
    } else if known.is_some() {
        CheckVerdict::Known
    } else if !signed(event) {
        CheckVerdict::Bad(BadEvent::BadSignature)
    } else {
        CheckVerdict::New
    }
}

fn claimed_id(json: &str) -> Option<EventId> {
    #[derive(serde::Deserialize)]
    struct Claim<'a> {
        #[serde(borrow)]
        id: std::borrow::Cow<'a, str>,
    }
    EventId::from_hex(&serde_json::from_str::<Claim<'_>>(json).ok()?.id).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::intake::testing::{author, event};

    const LIMITS: EventLimits = EventLimits { max_event_size: 2_000, max_tags: 2 };

    fn job(filter: Filter) -> CheckJob {
        CheckJob {
            token: 7,
            json: String::new(),
            filters: Arc::new([filter]),
            store: true,
            batch: None,
            question: None,
        }
    }

    /// An event whose id is the hash of what it says.
    fn honest() -> Event {
        let mut event = event(author(1), 100, 1, &[&["t", "x"]]);
        event.id = EventId::compute(&event.pubkey, &event.created_at, &event.kind, &event.tags, &event.content);
        event
    }

    fn checked(event: &Event, filter: Filter, known: Option<u64>, signed: bool) -> CheckVerdict {
        let known = known.map(|created_at| KnownEvent { created_at, stored: true });
        let json = serde_json::to_string(event).expect("an event");
        Candidate::parse(&json, &LIMITS).check(&job(filter), known, |_| signed).0.verdict
    }

    #[test]
    fn each_check_has_its_word() {
        let (good, any) = (honest(), Filter::new());
        let other = Filter::new().kind(nostr::event::Kind::from_u16(2));
        let mut forged = good.clone();
        forged.content.push('!');
        assert_eq!(checked(&good, any.clone(), None, true), CheckVerdict::New);
        assert_eq!(checked(&forged, any.clone(), None, true), CheckVerdict::Bad(BadEvent::WrongId));
        assert_eq!(checked(&good, other.clone(), None, true), CheckVerdict::Bad(BadEvent::NotAsked));
        assert_eq!(checked(&good, any.clone(), None, false), CheckVerdict::Bad(BadEvent::BadSignature));
        assert_eq!(checked(&good, other, Some(100), true), CheckVerdict::Bad(BadEvent::NotAsked));
        assert_eq!(checked(&good, any, Some(100), false), CheckVerdict::Known, "its signature was good before");
    }

    #[test]
    fn a_known_id_with_another_time_is_a_lie() {
        assert_eq!(checked(&honest(), Filter::new(), Some(99), true), CheckVerdict::Bad(BadEvent::WrongId));
    }

    #[test]
    fn what_can_not_be_used_still_says_which_it_was() {
        let good = honest();
        let json = serde_json::to_string(&good).expect("an event");
        let bad = |json: &str, reason| {
            let candidate = Candidate::parse(json, &LIMITS);
            let (answer, event) = candidate.check(&job(Filter::new()), None, |_| true);
            assert_eq!((answer.token, answer.verdict, event), (7, CheckVerdict::Bad(reason), None));
            answer.id
        };
        assert_eq!(bad(&json.replace("\"kind\":1", "\"kind\":-1"), BadEvent::Malformed), good.id);
        let padded = json.replace("\"content\":\"", &format!("\"content\":\"{}", "x".repeat(2_000)));
        assert_eq!(bad(&padded, BadEvent::TooLarge), good.id);
        assert_eq!(bad(&json.replace("[[\"t\",\"x\"]]", "[[\"t\"],[\"t\"],[\"t\"]]"), BadEvent::TooManyTags), good.id);
        assert_eq!(bad("[1,2]", BadEvent::Malformed), EventId::from_byte_array([0; 32]));
    }

    #[test]
    fn the_event_goes_on_only_where_it_is_to_be_stored() {
        let json = serde_json::to_string(&honest()).expect("an event");
        let stored = |store| {
            let job = CheckJob { store, ..job(Filter::new()) };
            Candidate::parse(&json, &LIMITS).check(&job, None, |_| true).1.is_some()
        };
        assert!(stored(true) && !stored(false));
    }
}
