//! An external own relay has the last word (SPEC §3): what the policy accepts is held until that relay has it.
//!
//! Holding is in place of accepting, at the one spot where anything is accepted: so nothing that depends on a held event
//! is accepted before it is, and what is offered never depends on what else is held. A held event takes its place among
//! the versions of its slot when it is confirmed; the accepted one before it stands until then, and longer where the own
//! relay refuses the new one. Confirming is taking the event in as if the own relay had sent it.

use nostr::event::{Event, EventId};

use super::IntakeConfig;
use super::refs;
use super::step::{KeptOut, Step};
use crate::admission::AdmissionPolicy;
use crate::model::RelayUrl;
use crate::store::{HeldRow, MAX_PAUSE_S, OwnAnswer, SlotHead, StoreError, StoreTxn};

/// The first pause before an event is offered again that the own relay takes later, seconds; it doubles.
const LATER_S: u64 = 5;
/// The pause before an event in purgatory is offered again, seconds: by then the own relay has forgotten it (WIRE.md).
const PURGATORY_S: u64 = 1800;
/// How often an event may be sent to purgatory before it counts as refused.
const MAX_PURGATORIES: u32 = 8;

/// Takes what the own relay said of an event in the outbox, with everything that follows. One that isn't held is left
/// alone.
///
/// # Errors
/// The transaction failed and must be aborted.
pub fn answer(
    txn: &mut dyn StoreTxn,
    policy: Option<&AdmissionPolicy>,
    config: &IntakeConfig,
    id: &EventId,
    answer: &OwnAnswer,
    now: u64,
) -> Result<(), StoreError> {
    let Some(row) = txn.held(id)? else { return Ok(()) };
    let mut step = Step::new(txn, policy, config, now);
    match answer {
        OwnAnswer::Has => {
            step.confirm(id)?;
            step.take_in(&row.event, None)?;
        }
        OwnAnswer::Never { text } => step.refuse(&row, text)?,
        OwnAnswer::Purgatory { text } if row.purgatories + 1 >= MAX_PURGATORIES => step.refuse(&row, text)?,
        OwnAnswer::Purgatory { .. } => {
            let next_at = now.saturating_add(PURGATORY_S);
            step.txn.put_held(&HeldRow { next_at, purgatories: row.purgatories + 1, ..row })?;
        }
        OwnAnswer::Later { .. } => {
            let pause = LATER_S.saturating_mul(1 << row.refusals.min(16)).min(MAX_PAUSE_S);
            let next_at = now.saturating_add(pause);
            step.txn.put_held(&HeldRow { next_at, refusals: row.refusals.saturating_add(1), ..row })?;
        }
    }
    step.finish()
}

/// After a change of policy or own relay: decides anew about what was held before, as if it arrived now, or where it had been
/// stored, as about what is stored; at most `max` events. Returns how many were taken.
///
/// # Errors
/// The transaction failed and must be aborted.
pub fn take_back(
    txn: &mut dyn StoreTxn,
    policy: &AdmissionPolicy,
    config: &IntakeConfig,
    now: u64,
    max: usize,
) -> Result<usize, StoreError> {
    let ids = txn.held_before_change(max)?;
    for id in &ids {
        let Some(row) = txn.held(id)? else { continue };
        txn.remove_held(id)?;
        // Their number is what it was: no bound is passed by it.
        let mut step = Step::new(txn, Some(policy), config, now);
        step.may_hold = true;
        if row.was_stored {
            step.put_back(&row.event)?;
            step.judge_in_place(policy, &row.event)?;
        } else {
            step.take_in(&row.event, None)?;
        }
        step.finish()?;
    }
    Ok(ids.len())
}

impl Step<'_> {
    /// Whether `relay` is the external own relay.
    pub(super) fn is_own(&self, relay: Option<&RelayUrl>) -> bool {
        relay.is_some() && relay == self.config.own_relay.as_ref()
    }

    /// The own relay has this event.
    pub(super) fn confirm(&mut self, id: &EventId) -> Result<(), StoreError> {
        self.confirmed = Some(*id);
        self.txn.remove_held(id)
    }

    /// Whether an event that would be accepted is to be held first.
    pub(super) fn is_to_be_held(&self, id: &EventId) -> bool {
        self.config.own_relay.is_some() && self.policy.is_some() && self.confirmed != Some(*id)
    }

    /// Holds an event that has just come, where there is room.
    pub(super) fn hold_arrival(&mut self, event: &Event) -> Result<(), StoreError> {
        let held = self.txn.held_before()?;
        if held >= self.config.max_held && !self.may_hold {
            return Err(StoreError::Full(format!("{held} events wait for the own relay, as many as may")));
        }
        self.hold(event)
    }

    /// Puts an event into the outbox, out of the store or the rejected index where it is there.
    pub(super) fn hold(&mut self, event: &Event) -> Result<(), StoreError> {
        if self.txn.held(&event.id)?.is_some() {
            return Ok(());
        }
        self.txn.remove_rejected(&event.id)?;
        let was_stored = self.txn.row(&event.id)?.is_some();
        if was_stored {
            self.txn.remove(&event.id)?;
            if let Some(slot) = refs::slot_of(event)
                && let Some(head) = self.txn.slot(&slot)?.filter(|head| head.id == event.id)
            {
                self.txn.set_slot(&slot, SlotHead { stored: false, ..head })?;
            }
        }
        self.txn.put_held(&HeldRow::new(event.clone(), was_stored))
    }

    /// The own relay never takes the event. What was stored before it was held is stored again, as what an import left.
    fn refuse(&mut self, row: &HeldRow, said: &str) -> Result<(), StoreError> {
        self.txn.remove_held(&row.event.id)?;
        if row.was_stored {
            return self.put_back(&row.event);
        }
        self.keep_out(&row.event, KeptOut::Refused(said.to_owned()), None)
    }

    /// Stores an event that was stored before, not accepted; unless it may no longer be.
    fn put_back(&mut self, event: &Event) -> Result<(), StoreError> {
        if let Some(reason) = self.screen(event)? {
            return self.keep_out(event, KeptOut::Rejected(reason), None);
        }
        self.claim_slot(event)?;
        self.store(event)
    }
}
