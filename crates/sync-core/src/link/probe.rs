//! Whether a relay left something out of a reconciliation without a word (WIRE.md: khatru compares its newest events
//! only).
//!
//! What a relay compared reaches down to some second: the oldest event that both have, or that it had and we needed. If
//! it left nothing out, a small REQ below that shows nothing; what it seemed to lack it doesn't serve when it is asked for
//! by id; and that second, compared once more by itself, shows nothing new. Costs two small requests and a reconciliation
//! of one second, and only where more was compared than ever before on this connection.

use std::sync::Arc;

use nostr::event::EventId;
use nostr::filter::Filter;

use super::Asked;
use super::fetch::FetchEnd;
use super::machine::{RelayLink, Sub, SubTarget};
use super::narrow;
use super::piece::{At, Span, Stage};
use super::windows::length;
use super::wire;
use crate::model::FailureReason;
use crate::response::Meaning;
use crate::store::LocalSets;
use crate::strategy::{CheckVerdict, Window, duration_text};
use crate::time::{MonoMillis, Now};

/// Events that a probe asks for.
const PROBE_EVENTS: usize = 10;
/// Relays that compare or show fewer events than this at once, and don't say so, aren't reckoned with: a second isn't looked
/// into for so few.
const LEAST_CAP: u64 = 10;
/// Times that a question is asked, where it isn't answered.
const MAX_TRIES: u32 = 2;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// What there is below the second down to which the relay compared, or at all where it compared nothing.
    Below,
    /// The ids that the relay seemed to lack.
    Lacking,
}

/// A question of a probe that is open.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) at: At,
    question: Question,
    tries: u32,
    pub(super) wire: String,
    /// Below it the relay compared nothing; `None`: it compared nothing at all.
    floor: Option<u64>,
    asked_at: MonoMillis,
    pub(super) deadline: MonoMillis,
}

impl RelayLink {
    /// Whether the reconciliation of a piece may have been cut. One that shows fewer records than another one did was not: a
    /// relay compares as many before it leaves any out.
    pub(super) fn needs_probe(&mut self, at: At) -> bool {
        if !self.config.direction.down() || self.config.dry_run {
            return false;
        }
        let Some(piece) = self.piece(at) else { return false };
        let (records, place) = (piece.records(), piece.span.strategy);
        if piece.probed || piece.failed || piece.span.chase {
            return false;
        }
        let Some(strategy) = self.strategy_at(at.batch, place) else { return false };
        let most = self.compared.get(&strategy).copied();
        self.compared.insert(strategy, records.max(most.unwrap_or(0)));
        most.is_none_or(|most| records > most || (records == most && records > 0))
    }

    pub(super) fn begin_probe(&mut self, at: At) {
        let Some(piece) = self.piece(at) else { return };
        if !piece.lacking.is_empty() {
            piece.to_probe.push((Question::Lacking, 1));
        }
        if piece.oldest().is_none_or(|floor| floor > piece.span.window.since) {
            piece.to_probe.push((Question::Below, 1));
        }
        piece.probed = true;
        piece.stage = Stage::Probing;
        self.touch();
    }

    /// Asks what is to be asked, within the budget.
    pub(super) fn start_probes(&mut self, now: Now) {
        if self.probing.is_some() {
            return;
        }
        for at in self.places() {
            while self.free_subs() > 0 {
                let deadline = self.answer_deadline(at, now);
                let Some(piece) = self.piece(at) else { break };
                let Some((question, tries)) = piece.to_probe.pop() else { break };
                piece.probes += 1;
                let (floor, session) = (piece.oldest(), piece.session);
                let (mut expected, window) = (piece.span.filter.clone(), piece.span.window);
                let (asked, kind) = match question {
                    Question::Below => {
                        let until = floor.map_or(window.until, |floor| floor.saturating_sub(1).min(window.until));
                        (Window { until, ..window }.narrow(&expected).limit(PROBE_EVENTS), Asked::Probe)
                    }
                    Question::Lacking => {
                        let asked = Filter::new().ids(piece.lacking.iter().copied());
                        expected.ids.clone_from(&asked.ids);
                        (asked, Asked::Ids(piece.lacking.len() as u64))
                    }
                };
                let id = self.next_fetch;
                self.next_fetch += 1;
                let sub = Sub {
                    target: SubTarget::Probe(id),
                    filters: Arc::new([expected]),
                    batch: Some(at.batch),
                    question: None,
                };
                let wire = self.open_sub('p', sub);
                self.send(wire::req(&wire, &[asked]), Some(at.batch));
                self.asked(&wire, at.batch, session, kind);
                self.owes(now);
                self.probes.insert(id, Probe { at, question, tries, wire, floor, asked_at: now.mono_ms, deadline });
            }
        }
    }

    /// An event of a probe, after its checks.
    pub(super) fn probe_event(&mut self, probe: u64, id: EventId, created_at: u64, verdict: CheckVerdict) {
        let Some(Probe { at, question, floor, .. }) = self.probes.get(&probe) else { return };
        let (at, below) = (*at, floor.is_none_or(|floor| created_at < floor));
        let left_out = match verdict {
            CheckVerdict::Bad(_) => false,
            CheckVerdict::New => true,
            CheckVerdict::Known => *question == Question::Lacking || below,
        };
        if verdict == CheckVerdict::New
            && let Some(carried) = self.batches.get_mut(&at.batch)
        {
            carried.counts.need += 1;
        }
        // What went up in the meantime is served, and proves nothing.
        if left_out
            && self.part(at).is_some_and(|part| !part.uploaded.contains(&id))
            && let Some(piece) = self.piece(at)
        {
            piece.truncated = true;
        }
    }

    /// EOSE, CLOSED or nothing: what it has shown by then counts. A question that came too fast is asked again; one that a
    /// relay doesn't answer leaves open whether it left anything out, and that is said.
    pub(super) fn probe_ended(&mut self, probe: u64, end: FetchEnd<'_>, now: Now) {
        let Some(Probe { at, question, tries, wire, asked_at, deadline, .. }) = self.probes.remove(&probe) else {
            return;
        };
        self.answered(&wire, end.told());
        self.close_sub(&wire);
        self.touch();
        let meaning = match end {
            FetchEnd::Said(said) => said.meaning,
            FetchEnd::Silence if self.turned_away(asked_at) => Meaning::RateLimited,
            FetchEnd::Eose | FetchEnd::Silence => Meaning::Unknown,
        };
        let again = match meaning {
            Meaning::RateLimited => self.may_wait(at),
            Meaning::TooManyAtOnce if self.subs.len().max(1) < self.max_subs => {
                self.shrink(self.subs.len(), now);
                true
            }
            // A NOTICE in its place may not have said which question it answers.
            _ => matches!(end, FetchEnd::Silence) && tries < MAX_TRIES,
        };
        let Some(piece) = self.piece(at) else { return };
        piece.probes -= 1;
        if again {
            return piece.to_probe.push((question, tries + 1));
        }
        if piece.truncated || question == Question::Lacking {
            return;
        }
        let (reason, words) = match end {
            FetchEnd::Silence => (
                FailureReason::Timeout,
                format!("no answer within {}", duration_text(deadline.saturating_sub(asked_at))),
            ),
            FetchEnd::Said(said) if meaning != Meaning::Unknown => {
                (FailureReason::Refused { prefix: meaning.as_str().to_owned() }, said.text.clone())
            }
            FetchEnd::Said(_) | FetchEnd::Eose => return,
        };
        self.fail_piece(at, reason, format!("can't tell whether the reconciliation was cut short: {words}"));
    }

    pub(super) fn probe_timeouts(&mut self, now: Now) {
        let late: Vec<u64> =
            self.probes.iter().filter(|(_, probe)| probe.deadline <= now.mono_ms).map(|(id, _)| *id).collect();
        late.into_iter().for_each(|id| self.probe_ended(id, FetchEnd::Silence, now));
    }

    /// All questions of a piece's probe are answered.
    pub(super) fn probed(&mut self, at: At, local: &dyn LocalSets, now: Now) {
        let Some(piece) = self.piece(at) else { return };
        piece.truncated |= if piece.doubted { piece.left_out_again } else { !piece.duplicates.is_empty() };
        if !piece.truncated {
            // Nothing was left out below: it can have been cut within the oldest second alone.
            piece.undecided = piece.oldest().filter(|_| piece.records() >= LEAST_CAP && !piece.failed);
            if let Some(second) = piece.undecided {
                self.compare_alone(at, second, local);
            }
            return self.finish(at, local, now);
        }
        piece.truncated = false;
        piece.probed = false;
        if !std::mem::replace(&mut piece.doubted, true) {
            // It may have been published just now: what the probe brought is here by now, so that another round that
            // reaches down to it says so.
            piece.stage = Stage::Waiting;
            piece.verifications = piece.verifications.max(1);
            return self.touch();
        }
        let (records, window, place) = (piece.records(), piece.span.window, piece.span.strategy);
        let text = format!("it compared {records} records and left others out without a word");
        if let Some(strategy) = self.strategy_at(at.batch, place) {
            let name = self.config.strategies[strategy].descriptor().name.clone();
            let mut learnt = self.memory.learnt(&name);
            learnt.truncated(records, now.unix_s);
            self.memory.learn(&name, learnt);
        }
        if records == 0 && length(window) > 1 {
            // It compares nothing, so that shorter windows would show nothing either.
            return self.fall_back(at, FailureReason::TooBig { cap: None }, &text, false);
        }
        self.too_big(at, None, &text);
    }

    /// Compares the second at which a reconciliation ended once more, by itself: where it holds fewer records than were
    /// compared before, it isn't cut. A window of one second is compared by narrower filters, as far as values are known: where
    /// these show more, the next strategy reads the second.
    fn compare_alone(&mut self, at: At, second: u64, local: &dyn LocalSets) {
        let relay = self.config.relay.clone();
        let Some(place) = self.piece(at).map(|piece| piece.span.strategy) else { return };
        let next = self.has_next(at.batch, place).then_some(place + 1);
        let Some(part) = self.part(at) else { return };
        let Some(piece) = part.pieces.get_mut(&at.piece) else { return };
        let Span { filter, strategy, share_of, seen, .. } = piece.span.clone();
        let (replaces, alone) = (share_of.is_some(), Window { since: second, until: second });
        if length(piece.span.window) > 1 {
            part.todo.push(Span::new(filter, alone, strategy));
            return;
        }
        // What went up for the filter is compared now, too.
        let records = piece.records().saturating_add(part.uploaded.len() as u64);
        let (filters, proves) = match narrow::halves(&filter) {
            Some((low, high)) => (vec![high, low], true),
            None => (narrow::by_values_seen(&filter, second, &relay, local), false),
        };
        if filters.is_empty() {
            // Nothing narrower can be asked, and nothing says that there is more.
            if let Some(piece) = part.pieces.get_mut(&at.piece) {
                piece.undecided = None;
            }
            return;
        }
        let shares = filters.len() as u64;
        if !part.split(second, shares + u64::from(replaces), replaces, records) {
            return;
        }
        let seen = if proves { seen } else { seen.or_else(|| part.question(second, records, next)) };
        let span = |filter| Span { share_of: Some(second), seen, ..Span::new(filter, alone, strategy) };
        part.todo.extend(filters.into_iter().map(span));
        if let Some(piece) = part.pieces.get_mut(&at.piece) {
            piece.stood_for = true;
        }
    }
}
