//! What is wrong with relays: always, or for a while.

use std::num::NonZeroU64;

use nostr::event::EventId;

use super::plan::{Dice, Honesty};
use crate::relay::{DropAfter, Faults, NoNegentropy, OkAnswer, RateLimit, RateLimitAnswer, TooBig, TooBigWording};

/// A trouble that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Down: connections break, new ones are refused.
    Down,
    /// The handshake is answered with this HTTP status.
    Handshake(u16),
    /// The handshake is never answered.
    Hang,
    /// Nothing is said after so many frames.
    Stall(u64),
    /// Neither read nor written.
    HalfOpen,
    /// Connections break after so many frames, this often.
    Breaks(u64, u64),
    /// Half a message, then silence.
    HalfMessage(u64),
    /// Every REQ is refused.
    Refuses,
    /// Nobody may ask more than so often a minute.
    Limits(u64, RateLimitAnswer),
    /// NIP-77 is off.
    NoNegentropy(NoNegentropy),
    /// Nothing that is published is taken.
    TakesNothing(NotTaken),
}

/// How an own relay takes nothing for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// Its database is locked.
    Locked,
    /// Too much is published.
    TooFast,
    /// What is published waits for git data.
    Purgatory,
}

impl Trouble {
    /// What it changes.
    pub(super) fn apply(self, faults: &mut Faults) {
        match self {
            Self::Down => faults.refuse_connections = true,
            Self::Handshake(status) => faults.refuse_handshake = Some(status),
            Self::Hang => faults.hang_handshake = true,
            Self::Stall(frames) => faults.stall_after = Some(frames),
            Self::HalfOpen => faults.half_open = true,
            Self::Breaks(frames, times) => faults.drop_after = Some(DropAfter { frames, times: Some(times) }),
            Self::HalfMessage(frames) => faults.half_message_after = Some(frames),
            Self::Refuses => faults.refuse_req = Some("error: the database is gone".to_owned()),
            Self::Limits(after, answer) => faults.rate_limit = Some(RateLimit { after, per_ms: 60_000, answer }),
            Self::NoNegentropy(way) => faults.no_negentropy = Some(way),
            Self::TakesNothing(how) => {
                let (accepted, message) = match how {
                    NotTaken::Locked => (false, "error: database is locked"),
                    NotTaken::TooFast => (false, "rate-limited: slow down"),
                    NotTaken::Purgatory => (true, "purgatory: waits for its git data"),
                };
                faults.ok = Some(OkAnswer { accepted, message: message.to_owned() });
            }
        }
    }
}

/// A trouble that passes.
pub(super) fn passing(dice: &mut Dice) -> Trouble {
    match dice.below(12) {
        0 | 1 => Trouble::Down,
        2 => Trouble::Handshake(if dice.one_in(2) { 503 } else { 403 }),
        3 => Trouble::Hang,
        4 => Trouble::Stall(dice.within(0, 60)),
        5 => Trouble::HalfOpen,
        6 | 7 => Trouble::Breaks(dice.within(0, 80), dice.within(1, 12)),
        8 => Trouble::HalfMessage(dice.within(0, 40)),
        9 => Trouble::Refuses,
        10 => Trouble::Limits(dice.within(1, 20), rate_limit_answer(dice)),
        _ => Trouble::NoNegentropy(no_negentropy(dice)),
    }
}

/// Adds something that is always wrong with a relay, and says what may be asked of it still.
///
/// `Named`: what is withheld shows in reconciliations; a relay that takes no notice of `until` can't be paged; more
/// live subscriptions than fit are refused; much that nobody asked for is held against a relay. `Lossy`: spoilt events look as if their author had spoilt them; what comes
/// after EOSE looks like the end of the page before.
pub(super) fn lasting(dice: &mut Dice, faults: &mut Faults, ids: &[EventId]) -> Honesty {
    let every = |dice: &mut Dice| NonZeroU64::new(dice.within(2, 20));
    match dice.below(23) {
        0..=2 => faults.no_negentropy = Some(no_negentropy(dice)),
        3 => {
            let wording = [TooBigWording::FourthElement, TooBigWording::Bare, TooBigWording::Prose][dice.below(3)];
            faults.too_big = Some(TooBig { cap: dice.within(3, 60), wording });
        }
        4 => faults.max_negentropy = Some(dice.below(3) + 1),
        5 => faults.forget_negentropy_after = Some(dice.within(1, 3)),
        6 => faults.max_limit = Some(dice.below(30) + 3),
        7 => faults.page_cap = Some(dice.below(30) + 3),
        8 => faults.ignore_limit_zero = true,
        9 => faults.limit_zero_never_eose = true,
        10 => faults.unordered = true,
        11 => faults.repeat_eose = true,
        12 => faults.event_after_close = true,
        13 => faults.closed_after_ids = true,
        14 => {
            faults.mismatch_every = every(dice);
            return Honesty::Named;
        }
        15 => faults.invalid_json_every = every(dice),
        16 => faults.oversized_notice = Some(dice.below(5_000)),
        17 => {
            let answer = if dice.one_in(2) { RateLimitAnswer::Closed } else { RateLimitAnswer::Notice };
            faults.rate_limit = Some(RateLimit { after: dice.within(10, 60), per_ms: 60_000, answer });
        }
        18 => {
            faults.max_subscriptions = Some(dice.below(12) + 4);
            return Honesty::Named;
        }
        19 => {
            faults.withheld.extend((0..3).filter_map(|_| ids.get(dice.below(ids.len())).copied()));
            return Honesty::Named;
        }
        20 => {
            faults.ignore_until = true;
            return Honesty::Named;
        }
        21 => {
            if dice.one_in(2) {
                faults.wrong_id_every = every(dice);
            } else {
                faults.bad_signature_every = every(dice);
            }
            return Honesty::Lossy;
        }
        _ => {
            if dice.one_in(2) {
                faults.events_after_eose = dice.below(3) + 1;
            } else {
                faults.truncate_negentropy = Some(dice.below(30) + 5);
            }
            return Honesty::Lossy;
        }
    }
    Honesty::Whole
}

fn no_negentropy(dice: &mut Dice) -> NoNegentropy {
    NoNegentropy::ALL[dice.below(NoNegentropy::ALL.len())]
}

fn rate_limit_answer(dice: &mut Dice) -> RateLimitAnswer {
    [RateLimitAnswer::Closed, RateLimitAnswer::Notice, RateLimitAnswer::NoticeAndDrop][dice.below(3)]
}
