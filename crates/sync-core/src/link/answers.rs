//! What the relay says to sessions: events, ends, reconciliation messages, NOTICEs, and silence.

use nostr::event::EventId;

use super::fetch::FetchEnd;
use super::machine::{RelayLink, SubTarget};
use super::piece::MAX_SHOWN;
use super::running::Running;
use crate::model::FailureReason;
use crate::response::{Meaning, Said};
use crate::store::LocalSets;
use crate::strategy::{CheckVerdict, Input, SessionOutcome, SubId};
use crate::time::Now;

impl RelayLink {
    #[expect(clippy::too_many_arguments, reason = "an event's facts, and the two things that every input brings")]
    pub(super) fn session_event(
        &mut self,
        session: u64,
        sub: SubId,
        id: EventId,
        created_at: u64,
        verdict: CheckVerdict,
        local: &dyn LocalSets,
        now: Now,
    ) {
        if !matches!(verdict, CheckVerdict::Bad(_))
            && let Some(at) = self.sessions.get(&session).map(|running| running.at)
            && let Some(part) = self.part(at)
            && !part.uploaded.contains(&id)
            && let Some(piece) = part.pieces.get_mut(&at.piece)
            && piece.span.seen.is_some()
            && piece.shown.len() < MAX_SHOWN
        {
            piece.shown.insert(id);
        }
        // Otherwise it is counted when the store has spoken.
        if verdict == CheckVerdict::New
            && self.config.dry_run
            && let Some(running) = self.sessions.get(&session)
            && let Some(carried) = self.batches.get_mut(&running.at.batch)
            && self.config.direction.down()
        {
            // What a dry run leaves out of the store comes again at the seam of two pages.
            let part = &mut carried.parts[running.at.part];
            carried.counts.need += u64::from(!part.is_accounted(&id));
            part.account(id);
        }
        self.drive(session, Input::Event { sub, id, created_at, verdict }, local, now);
    }

    pub(super) fn session_eose(
        &mut self,
        session: u64,
        sub: SubId,
        finished: Option<bool>,
        local: &dyn LocalSets,
        now: Now,
    ) {
        self.drive(session, Input::Eose { sub, finished }, local, now);
    }

    pub(super) fn session_closed(&mut self, session: u64, sub: SubId, said: &Said, local: &dyn LocalSets, now: Now) {
        self.forget_wire(session, sub);
        self.drive(session, Input::Closed { sub, said }, local, now);
    }

    pub(super) fn session_neg_err(&mut self, session: u64, sub: SubId, said: &Said, local: &dyn LocalSets, now: Now) {
        self.forget_wire(session, sub);
        self.drive(session, Input::NegErr { sub, said }, local, now);
    }

    pub(super) fn session_neg_msg(
        &mut self,
        session: u64,
        sub: SubId,
        payload: Option<Vec<u8>>,
        local: &dyn LocalSets,
        now: Now,
    ) {
        // What isn't hex is handed on as nothing: no reconciliation message is empty.
        let payload = payload.unwrap_or_default();
        let strategy = self.sessions.get(&session).map(|running| running.strategy);
        self.drive(session, Input::NegMsg { sub, payload: &payload }, local, now);
        if let Some(strategy) = strategy
            && !self.unsupported.contains(&strategy)
        {
            self.proven.insert(strategy);
            if self.probing == Some(session) {
                self.probing = None;
            }
        }
    }

    fn forget_wire(&mut self, session: u64, sub: SubId) {
        if let Some(running) = self.sessions.get_mut(&session) {
            running.wires.remove(&sub);
        }
    }

    /// A NOTICE has no id: it binds by its wording, or where one question alone is open (WIRE.md).
    pub(super) fn on_notice(&mut self, said: &Said, local: &dyn LocalSets, now: Now) {
        let answers =
            !matches!(said.meaning, Meaning::Unknown | Meaning::Duplicate | Meaning::Purgatory | Meaning::Pow);
        if !answers {
            return;
        }
        let target = if said.names_negentropy {
            // The newest of those that were not answered yet: what came before was let in.
            self.subs
                .values()
                .filter_map(|sub| match sub.target {
                    SubTarget::Session { session, neg: true, .. } => Some(session),
                    _ => None,
                })
                .max_by_key(|session| (self.sessions.get(session).is_some_and(|s| s.rounds == 0), *session))
        } else {
            let mut questions = self.subs.values().filter(|sub| !matches!(sub.target, SubTarget::Live(_)));
            match (questions.next(), questions.next()) {
                (Some(only), None) => match only.target {
                    SubTarget::Session { session, .. } => Some(session),
                    SubTarget::Fetch(fetch) => {
                        self.fetch_ended(fetch, FetchEnd::Said(said), local, now);
                        None
                    }
                    SubTarget::Probe(probe) => {
                        self.probe_ended(probe, FetchEnd::Said(said), now);
                        None
                    }
                    SubTarget::Live(_) => None,
                },
                _ => None,
            }
        };
        if let Some(session) = target {
            self.drive(session, Input::Notice { said }, local, now);
        }
    }

    pub(super) fn session_timeouts(&mut self, local: &dyn LocalSets, now: Now) {
        let due: Vec<u64> = self
            .sessions
            .iter()
            .filter(|(_, running)| running.deadline().is_some_and(|(at, _)| at <= now.mono_ms))
            .map(|(id, _)| *id)
            .collect();
        for session in due {
            self.drive(session, Input::Timeout, local, now);
            let stuck =
                self.sessions.get(&session).and_then(Running::deadline).is_some_and(|(at, _)| at <= now.mono_ms);
            if stuck {
                let text = "the strategy did nothing about a deadline that had passed".to_owned();
                self.session_done(session, SessionOutcome::Failed { reason: FailureReason::Local, text }, now);
            }
        }
    }
}
