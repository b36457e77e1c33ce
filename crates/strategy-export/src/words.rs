//! The boundary's words in sync-core's, and back.

use strategy_abi::ffi::{meaning, verdict};
use strategy_abi::{Direction, Outcome, Profile, Reason, Verdict};
use sync_core::model::FailureReason;
use sync_core::nostr::event::EventId;
use sync_core::nostr::filter::Filter;
use sync_core::response::{Meaning, Said};
use sync_core::strategy::{self as ours, BadEvent, CheckVerdict, RelayProfile, SessionOutcome};

const MEANINGS: [(Meaning, u32); 14] = [
    (Meaning::Unknown, meaning::UNKNOWN),
    (Meaning::Unsupported, meaning::UNSUPPORTED),
    (Meaning::TooBig, meaning::TOO_BIG),
    (Meaning::SessionGone, meaning::SESSION_GONE),
    (Meaning::AuthRequired, meaning::AUTH_REQUIRED),
    (Meaning::Restricted, meaning::RESTRICTED),
    (Meaning::RateLimited, meaning::RATE_LIMITED),
    (Meaning::TooManyAtOnce, meaning::TOO_MANY_AT_ONCE),
    (Meaning::Blocked, meaning::BLOCKED),
    (Meaning::Invalid, meaning::INVALID),
    (Meaning::Error, meaning::ERROR),
    (Meaning::Duplicate, meaning::DUPLICATE),
    (Meaning::Purgatory, meaning::PURGATORY),
    (Meaning::Pow, meaning::POW),
];

pub(crate) fn filter(filter: &strategy_abi::Filter) -> Result<Filter, String> {
    serde_json::from_str(&filter.json).map_err(|error| format!("the filter can't be read: {error}"))
}

pub(crate) fn window(window: strategy_abi::Window) -> ours::Window {
    ours::Window { since: window.since, until: window.until }
}

pub(crate) fn window_back(window: ours::Window) -> strategy_abi::Window {
    strategy_abi::Window { since: window.since, until: window.until }
}

pub(crate) fn profile(profile: &Profile) -> RelayProfile {
    let number = |number: Option<u64>| number.map(|number| usize::try_from(number).unwrap_or(usize::MAX));
    RelayProfile {
        supported_nips: profile.nips.clone(),
        software: profile.software.clone(),
        max_subscriptions: number(profile.max_subscriptions),
        max_filters: number(profile.max_filters),
        max_limit: number(profile.max_limit),
        max_message_length: number(profile.max_message_length),
        max_subid_length: None,
    }
}

pub(crate) fn direction(direction: Direction) -> ours::Direction {
    match direction {
        Direction::Down => ours::Direction::Down,
        Direction::Up => ours::Direction::Up,
        Direction::Both => ours::Direction::Both,
    }
}

pub(crate) fn check(verdict: Verdict) -> CheckVerdict {
    match verdict {
        Verdict::New => CheckVerdict::New,
        Verdict::Known => CheckVerdict::Known,
        Verdict::Bad(why) => CheckVerdict::Bad(match why {
            verdict::BAD_TOO_LARGE => BadEvent::TooLarge,
            verdict::BAD_TOO_MANY_TAGS => BadEvent::TooManyTags,
            verdict::BAD_WRONG_ID => BadEvent::WrongId,
            verdict::BAD_NOT_ASKED => BadEvent::NotAsked,
            verdict::BAD_SIGNATURE => BadEvent::BadSignature,
            _ => BadEvent::Malformed,
        }),
    }
}

pub(crate) fn said(meaning: u32, text: &str, cap: Option<u64>, names_negentropy: bool) -> Said {
    let known = MEANINGS.iter().find(|(_, number)| *number == meaning);
    let meaning = known.map_or(Meaning::Unknown, |(ours, _)| *ours);
    Said { meaning, text: text.to_owned(), cap, names_negentropy }
}

pub(crate) fn ids(ids: Vec<EventId>) -> Vec<strategy_abi::Id> {
    ids.into_iter().map(|id| id.to_bytes()).collect()
}

pub(crate) fn outcome(outcome: SessionOutcome) -> Outcome {
    match outcome {
        SessionOutcome::Complete => Outcome::Complete,
        SessionOutcome::Incomplete { reason: why, text } => Outcome::Incomplete(reason(why), text),
        SessionOutcome::TooBig { cap, text } => Outcome::TooBig(cap, text),
        SessionOutcome::Unsupported { text } => Outcome::Unsupported(text),
        SessionOutcome::Failed { reason: why, text } => Outcome::Failed(reason(why), text),
    }
}

fn reason(reason: FailureReason) -> Reason {
    match reason {
        FailureReason::NotServed { ids: named, count } => Reason::NotServed { ids: ids(named), count },
        FailureReason::DenseSecond { second, more_than } => Reason::DenseSecond { second, more_than },
        FailureReason::TooBig { cap } => Reason::TooBig(cap),
        FailureReason::Unsupported => Reason::Unsupported,
        FailureReason::Refused { prefix } => {
            let known = MEANINGS.iter().find(|(ours, _)| ours.as_str() == prefix);
            Reason::Refused(known.map_or(meaning::UNKNOWN, |(_, number)| *number))
        }
        FailureReason::Timeout => Reason::Timeout,
        FailureReason::ConnectionLost => Reason::ConnectionLost,
        FailureReason::Protocol => Reason::Protocol,
        // What the boundary has no word for went wrong on this side.
        _ => Reason::Local,
    }
}
