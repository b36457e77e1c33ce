//! What the end of a session means for its piece: done, again, in smaller windows, or by the next strategy.

use super::machine::RelayLink;
use super::narrow;
use super::piece::{At, Piece, Span, Stage};
use super::running::Running;
use super::windows::length;
use super::{LinkNotice, LinkOutput};
use crate::model::{BatchId, FailureReason, Fallback};
use crate::response::Meaning;
use crate::strategy::{SessionOutcome, Window};
use crate::time::Now;

/// Times that a strategy is tried on one window before the next one's turn.
const MAX_ATTEMPTS: u32 = 2;
/// Times that a session is put off because the relay wants less at once, before that counts as a failure.
const MAX_PUT_OFF: u32 = 8;
/// Pause before a session is tried again, milliseconds.
const RETRY_MS: u64 = 2_000;
/// Sessions of one part after which windows that are too big go to the next strategy: a relay can't make us count seconds.
const MAX_SESSIONS: u64 = 20_000;
/// Different fallbacks that a batch tells of.
const MAX_FALLBACKS: usize = 64;

impl RelayLink {
    pub(super) fn session_done(&mut self, id: u64, outcome: SessionOutcome, now: Now) {
        let Some(running) = self.end_session(id) else { return };
        let Running { at, strategy, rounds, asked_at, .. } = running;
        let told = match &outcome {
            SessionOutcome::Complete => "complete".to_owned(),
            SessionOutcome::Incomplete { text, .. } => format!("incomplete: {text}"),
            SessionOutcome::TooBig { text, .. } => format!("too big: {text}"),
            SessionOutcome::Unsupported { text } => format!("unsupported: {text}"),
            SessionOutcome::Failed { text, .. } => format!("failed: {text}"),
        };
        let failed = !matches!(outcome, SessionOutcome::Complete | SessionOutcome::TooBig { .. });
        let ended = LinkNotice::SessionEnded { batch: at.batch, session: id, rounds, outcome: told, failed };
        self.out.push_back(LinkOutput::Notice(ended));
        let Some(piece) = self.piece(at) else { return };
        match outcome {
            SessionOutcome::Complete => piece.stage = Stage::Settling,
            SessionOutcome::Incomplete { reason, text } => {
                piece.stage = Stage::Settling;
                self.fail_piece(at, reason, text);
            }
            SessionOutcome::Unsupported { text } => {
                let first = self.unsupported.insert(strategy);
                self.fall_back(at, FailureReason::Unsupported, &text, first);
            }
            SessionOutcome::TooBig { cap, text } => {
                let name = self.config.strategies[strategy].descriptor().name.clone();
                let mut learnt = self.memory.learnt(&name);
                learnt.too_big(cap, now.unix_s);
                self.memory.learn(&name, learnt);
                self.too_big(at, cap, &text);
            }
            SessionOutcome::Failed { reason, text } => {
                piece.attempts += 1;
                let attempts = piece.attempts;
                // Being asked for less at once says nothing about the strategy.
                let too_many = is_refusal(&reason, Meaning::TooManyAtOnce);
                let limited = reason == FailureReason::Timeout && self.turned_away(asked_at);
                let unknown = is_refusal(&reason, Meaning::AuthRequired) && self.auth_may_help();
                let put_off = too_many || limited || unknown || is_refusal(&reason, Meaning::RateLimited);
                if attempts >= if put_off { MAX_PUT_OFF } else { MAX_ATTEMPTS } {
                    return self.fall_back(at, reason, &text, false);
                }
                let cooling = self.quiet_until;
                let Some(piece) = self.piece(at) else { return };
                piece.stage = Stage::Waiting;
                piece.not_before = now.mono_ms + RETRY_MS;
                if put_off {
                    piece.not_before = piece.not_before.max(cooling);
                }
                if put_off && !unknown {
                    self.max_sessions = self.sessions.len().max(1);
                }
                // Reconciliations are counted by themselves (WIRE.md).
                if too_many && !self.config.strategies[strategy].descriptor().compares_sets {
                    self.shrink(self.subs.len(), now);
                }
            }
        }
    }

    /// The relay finds a window too big: it is asked for by shorter ones; a single second by the filter's own values; and
    /// where it has no more than one of each, by the next strategy.
    pub(super) fn too_big(&mut self, at: At, cap: Option<u64>, text: &str) {
        let Some(piece) = self.piece(at) else { return };
        let Span { filter, window, strategy, share_of, .. } = piece.span.clone();
        let name = self.strategy_at(at.batch, strategy).map(|s| self.config.strategies[s].descriptor().name.clone());
        let learnt = name.map(|name| self.memory.learnt(&name)).unwrap_or_default();
        let Some(part) = self.part(at) else { return };
        if length(window) > 1 && part.sessions < MAX_SESSIONS {
            part.pace.shrink(window, &learnt);
            return self.hand_on(at, strategy);
        }
        let halves = if length(window) == 1 { narrow::halves(&filter) } else { None };
        let second = window.since;
        if let Some((low, high)) = halves
            && part.split(second, 2, share_of.is_some(), learnt.target().unwrap_or(0))
        {
            for filter in [high, low] {
                part.todo.push(Span { share_of: Some(second), ..Span::new(filter, window, strategy) });
            }
            return self.set_aside(at);
        }
        if length(window) == 1
            && let Some(piece) = self.piece(at)
        {
            piece.span.beyond = cap;
        }
        self.fall_back(at, FailureReason::TooBig { cap }, text, false);
    }

    /// What of a piece isn't drained goes to the next strategy; where none is left, it is missing.
    pub(super) fn fall_back(&mut self, at: At, reason: FailureReason, text: &str, first: bool) {
        let Some(place) = self.piece(at).map(|piece| piece.span.strategy) else { return };
        self.tell_fall_back(at.batch, place, text, first);
        if self.has_next(at.batch, place) {
            self.hand_on(at, place + 1);
        } else {
            self.fail_piece(at, reason, text);
            if let Some(piece) = self.piece(at) {
                piece.stage = Stage::Settling;
            }
        }
    }

    /// What of a piece isn't drained is to be taken up again, at `place` of the order. What it has brought up already finds
    /// its end all the same.
    pub(super) fn hand_on(&mut self, at: At, place: usize) {
        let Some(part) = self.part(at) else { return };
        let Some(piece) = part.pieces.get_mut(&at.piece) else { return };
        // What is claimed and not settled yet is asked for again: it may turn out not to be stored.
        let mut rest = piece.rest();
        rest.reverse();
        let span = piece.span.clone();
        part.todo.extend(rest.into_iter().map(|window| Span { window, strategy: place, ..span.clone() }));
        self.set_aside(at);
    }

    fn set_aside(&mut self, at: At) {
        if let Some(piece) = self.piece(at) {
            piece.handed_on = true;
            piece.stage = Stage::Settling;
        }
        self.touch();
    }

    /// No strategy is left for a piece, or for the next span where none is named.
    pub(super) fn nobody_left(&mut self, batch: BatchId, part: usize, piece: Option<u64>) {
        let text = "no strategy is left that this relay supports";
        let at = At { batch, part, piece: piece.unwrap_or(0) };
        let Some(part) = self.part(at) else { return };
        match piece {
            Some(_) => {
                self.fail_piece(at, FailureReason::Unsupported, text);
                if let Some(piece) = self.piece(at) {
                    piece.stage = Stage::Settling;
                }
            }
            None => {
                let Some(span) = part.todo.pop() else { return };
                if part.failures.is_empty() {
                    part.fail(Some(span.window), FailureReason::Unsupported, text);
                } else {
                    part.fail_once(Some(span.window), FailureReason::Unsupported, text);
                }
                if let Some(second) = span.share_of {
                    part.share_ended(second, true, None);
                }
            }
        }
        self.touch();
    }

    /// Takes note of what is missing of a piece.
    pub(super) fn fail_piece(&mut self, at: At, reason: FailureReason, text: impl Into<String>) {
        let Some(part) = self.part(at) else { return };
        let Some(piece) = part.pieces.get_mut(&at.piece) else { return };
        piece.failed = true;
        let window = missing(piece);
        part.fail(Some(window), reason, text);
    }

    /// Tells that the strategy at `place` gave up.
    pub(super) fn tell_fall_back(&mut self, batch: BatchId, place: usize, reason: &str, first: bool) {
        let Some(carried) = self.batches.get_mut(&batch) else { return };
        let name = |at: usize| self.config.strategies[at].descriptor().name.to_string();
        let to = carried.order.iter().skip(place + 1).find(|next| !self.unsupported.contains(next));
        let to = to.map(|next| name(*next)).unwrap_or_default();
        let from = carried.order.get(place).map(|at| name(*at)).unwrap_or_default();
        let fallback = Fallback { from: from.clone(), to: to.clone(), reason: reason.to_owned() };
        if carried.fallbacks.len() < MAX_FALLBACKS && !carried.fallbacks.contains(&fallback) {
            carried.fallbacks.push(fallback);
        }
        let notice = LinkNotice::FellBack { batch, from, to, reason: reason.to_owned(), first };
        self.out.push_back(LinkOutput::Notice(notice));
        self.touch();
    }

    pub(super) fn strategy_at(&self, batch: BatchId, place: usize) -> Option<usize> {
        self.batches.get(&batch)?.order.get(place).copied()
    }

    pub(super) fn has_next(&self, batch: BatchId, place: usize) -> bool {
        self.batches
            .get(&batch)
            .is_some_and(|carried| carried.order.iter().skip(place + 1).any(|next| !self.unsupported.contains(next)))
    }
}

/// The time in which something of a piece is missing.
fn missing(piece: &Piece) -> Window {
    let rest = piece.rest();
    match (rest.last(), rest.first()) {
        (Some(oldest), Some(newest)) => Window { since: oldest.since, until: newest.until },
        _ => piece.span.window,
    }
}

fn is_refusal(reason: &FailureReason, meaning: Meaning) -> bool {
    matches!(reason, FailureReason::Refused { prefix } if prefix == meaning.as_str())
}
