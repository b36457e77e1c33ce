//! What became of events: what the checks said, and what the store did.

use nostr::event::EventId;

use super::machine::{RelayLink, SubTarget};
use super::piece::At;
use super::{Checked, LinkNotice, LinkOutput, LiveKey, Token};
use crate::model::FailureReason;
use crate::store::{IntakeOutcome, LocalSets, StoreError};
use crate::strategy::CheckVerdict;
use crate::time::Now;
use crate::transport::{Fault, FaultKind};

/// Events and frames of no use that are borne whatever else a relay sends.
const MAX_BAD: u64 = 1_000;
/// Who waits for an event's fate.
#[derive(Debug, Clone, Copy)]
pub(super) enum Owner {
    Live(LiveKey),
    /// Whether it came by a page: what is fetched by id was counted as needed when it was named.
    Piece {
        at: At,
        paged: bool,
    },
}

impl RelayLink {
    /// Takes what became of a job's event in the store: once for each that was `New` and to be stored. Returns whether
    /// a live subscription's event was stored.
    pub fn settled(
        &mut self,
        token: Token,
        id: EventId,
        outcome: &Result<IntakeOutcome, StoreError>,
        local: &dyn LocalSets,
        now: Now,
    ) -> bool {
        self.release([id], local);
        let (at, paged) = match self.owners.remove(&token) {
            Some(Owner::Piece { at, paged }) => (at, paged),
            Some(Owner::Live(key)) => {
                if let Err(error) = outcome {
                    self.live_unstored(key, error, now);
                }
                return matches!(outcome, Ok(IntakeOutcome::Stored | IntakeOutcome::Held));
            }
            None => return false,
        };
        let Some(carried) = self.batches.get_mut(&at.batch) else { return false };
        // What comes again at the seam of two pages may not have been stored when it was checked.
        carried.counts.need += u64::from(paged && *outcome != Ok(IntakeOutcome::Duplicate));
        match outcome {
            Ok(IntakeOutcome::Stored | IntakeOutcome::Held) => carried.counts.stored += 1,
            Ok(IntakeOutcome::Duplicate) => carried.counts.duplicate += 1,
            Ok(IntakeOutcome::Deferred(reason)) => carried.reject(reason.as_str()),
            Ok(IntakeOutcome::Rejected(reason)) => carried.reject(reason.as_str()),
            Err(_) => carried.reject("store_error"),
        }
        if let Some(part) = carried.parts.get_mut(at.part) {
            let mut window = None;
            if let Some(piece) = part.pieces.get_mut(&at.piece) {
                window = Some(piece.span.window);
                piece.broken |= outcome.is_err();
                piece.failed |= outcome.is_err();
                self.dirty |= piece.settled(token);
            }
            match outcome {
                Ok(IntakeOutcome::Stored | IntakeOutcome::Duplicate) => {}
                // Not among what we have to compare by, and needed no more.
                Ok(IntakeOutcome::Held | IntakeOutcome::Deferred(_) | IntakeOutcome::Rejected(_)) => part.account(id),
                Err(error) => part.fail_once(window, FailureReason::Local, error.to_string()),
            }
        }
        self.pump_if_dirty(local, now);
        false
    }

    pub(super) fn owner_of(&self, target: SubTarget) -> Option<Owner> {
        match target {
            SubTarget::Live(key) => Some(Owner::Live(key)),
            SubTarget::Session { session, .. } => {
                self.sessions.get(&session).map(|running| Owner::Piece { at: running.at, paged: true })
            }
            SubTarget::Fetch(fetch) => {
                self.fetches.get(&fetch).map(|fetch| Owner::Piece { at: fetch.at, paged: false })
            }
            SubTarget::Probe(probe) => self.probes.get(&probe).map(|probe| Owner::Piece { at: probe.at, paged: false }),
        }
    }

    /// Whether what batches bring is stored.
    pub(super) fn stores(&self) -> bool {
        self.config.direction.down() && !self.config.dry_run
    }

    /// An event whose check has come back, in the order of the wire.
    pub(super) fn on_event(&mut self, wire: &str, checked: Checked, local: &dyn LocalSets, now: Now) {
        let Checked { token, id, created_at, verdict } = checked;
        let live = matches!(self.owners.get(&token), Some(Owner::Live(_)));
        let settled_now = verdict != CheckVerdict::New || !(live || self.stores());
        if settled_now
            && let Some(Owner::Piece { at, .. }) = self.owners.remove(&token)
            && let Some(carried) = self.batches.get_mut(&at.batch)
        {
            match verdict {
                CheckVerdict::New => {}
                CheckVerdict::Known => carried.counts.duplicate += 1,
                CheckVerdict::Bad(reason) => carried.drop_bad(reason),
            }
            if let Some(part) = carried.parts.get_mut(at.part) {
                // What was forged stays wanted: the relay may serve the event itself when it is asked again.
                if matches!(verdict, CheckVerdict::Bad(reason) if !reason.is_forgery()) {
                    part.account(id);
                }
                if let Some(piece) = part.pieces.get_mut(&at.piece) {
                    self.dirty |= piece.settled(token);
                }
            }
        }
        if settled_now {
            self.release([id], local);
        } else if let Some(Owner::Piece { at, .. }) = self.owners.get(&token).copied()
            && let Some(waiting) = self.piece(at).and_then(|piece| piece.outstanding.get_mut(&token))
        {
            *waiting = Some(id);
        }
        match verdict {
            CheckVerdict::Bad(reason) => {
                let batch = self.subs.get(wire).and_then(|sub| sub.batch);
                self.out.push_back(LinkOutput::Notice(LinkNotice::Bad { reason, batch }));
                self.rubbish(reason.as_str());
            }
            CheckVerdict::New | CheckVerdict::Known => self.good += 1,
        }
        let Some(target) = self.subs.get(wire).map(|sub| sub.target) else { return };
        self.heard(wire);
        match target {
            SubTarget::Live(key) => self.live_heard(wire, key),
            SubTarget::Session { session, sub, .. } => {
                self.session_event(session, sub, id, created_at, verdict, local, now)
            }
            SubTarget::Fetch(fetch) => self.fetch_event(fetch, id, created_at, verdict, now),
            SubTarget::Probe(probe) => self.probe_event(probe, id, created_at, verdict),
        }
    }

    /// Takes note of something that is of no use. A relay that sends more of that than of events is left (SPEC §8).
    pub(super) fn rubbish(&mut self, what: &str) {
        self.bad += 1;
        if self.bad > self.good.max(MAX_BAD) && !self.closing {
            self.closing = true;
            let (bad, good) = (self.bad, self.good);
            let text = format!("{bad} events and frames that are of no use, the last one: {what}; {good} good events");
            self.out.push_back(LinkOutput::Close(Fault { kind: FaultKind::Protocol, text }));
        }
    }
}
