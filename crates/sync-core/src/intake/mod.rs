//! What storing an event does to what is stored already, decided once for every store (SPEC §3, §8, §11).
//!
//! A store runs these functions within a write transaction ([`StoreTxn`]) and commits what they did, or nothing.
//!
//! - A **kept-out** event leaves a row in the rejected index. For one that is replaceable or addressable it still counts
//!   as a version: older ones are superseded by it (the slot's head says `stored: false`). Only what is on the deny list,
//!   ephemeral, or dated in the future, doesn't.
//! - **Announcements** of one identifier are a group. Accepted are those that qualify by themselves and, from there on,
//!   those whose authors an accepted one names as maintainers. The group is settled anew whenever a member comes or
//!   goes; members that are no longer reached leave the store and wait, as everything does that may still be named.
//!   An announcement that nothing accepted names yet is deferred where the policy can accept any at all, else rejected.
//! - **What waits** is judged again when what it waits for is accepted: by a work list, never by recursion. Rows whose
//!   body is gone are let go of ([`StoreTxn::release`]): their events count as unknown, and the feed tells that they are
//!   wanted from the relays that offered them. It tells so until they are known again or the row's time is up.
//! - **With an external own relay** ([`IntakeConfig::own_relay`]) what would be accepted is *held* in the outbox instead, until
//!   that relay has said its word; see `own`.
//! - **Acceptance stands.** A withdrawn repository or a deleted event takes no others with it: what was accepted by way
//!   of it stays.
//!
//! Bounds: [`MAX_DEPENDENCIES`], [`MAX_MAINTAINERS`], [`MAX_GROUP`], [`MAX_ROW_TAGS`], [`MAX_HOT_BYTES`],
//! [`RejectedRow::MAX_RELAYS`], and those of [`IntakeConfig`].
//!
//! [`RejectedRow::MAX_RELAYS`]: crate::store::RejectedRow::MAX_RELAYS

mod hot;
mod judge;
mod own;
mod refs;
mod step;
mod sweep;
#[cfg(test)]
pub(crate) mod testing;

use nostr::event::{Event, EventId};

pub use hot::{Departed, HotBodies, HotBody, MAX_HOT_BYTES};
pub use judge::MAX_GROUP;
pub use own::{answer, take_back};
pub use refs::{MAX_DEPENDENCIES, MAX_MAINTAINERS, expiration_of, references, slot_of};
pub use step::MAX_ROW_TAGS;

use crate::admission::{AdmissionPolicy, RejectReason};
use crate::model::RelayUrl;
use crate::store::{IntakeOutcome, OwnAnswer, StoreError, StoreTxn};
use step::Step;

/// Bounds of the intake (CONTRACT.md, `[limits]` and `[rejected]`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntakeConfig {
    /// How far in the future an event may be dated, seconds. Default 900.
    pub max_future_s: u64,
    /// How long the body of a deferred event is kept, seconds. Default 120.
    pub hot_s: u64,
    /// How long a row of the rejected index is kept, seconds. Default 7 days.
    pub cold_s: u64,
    /// Rows of the rejected index. Default 1,000,000. [`trim`] and [`sweep`] bring them down to it.
    pub max_rejected: u64,
    /// The external own relay, where there is one: what would be accepted is held until it has said its word, and what
    /// it serves itself is accepted at once. Default none.
    pub own_relay: Option<RelayUrl>,
    /// Held events, beyond which no transaction takes anything in that would be held: [`StoreError::Full`]. What waited in
    /// the rejected index or in the store is held all the same. Default 100,000.
    pub max_held: u64,
}

impl Default for IntakeConfig {
    fn default() -> Self {
        Self {
            max_future_s: 900,
            hot_s: 120,
            cold_s: 7 * 86_400,
            max_rejected: 1_000_000,
            own_relay: None,
            max_held: 100_000,
        }
    }
}

/// Takes a checked event in: one atomic step with everything that follows from it. With a policy the event is judged,
/// and what waited for it is judged again; without one whatever can be stored is stored, and what a policy kept out
/// before is taken in too. `relay` is remembered in the row of an event that is kept out, whenever it is offered.
///
/// # Errors
/// The transaction failed and must be aborted.
pub fn take(
    txn: &mut dyn StoreTxn,
    policy: Option<&AdmissionPolicy>,
    config: &IntakeConfig,
    event: &Event,
    relay: Option<&RelayUrl>,
    now: u64,
) -> Result<IntakeOutcome, StoreError> {
    if txn.row(&event.id)?.is_some() {
        return Ok(IntakeOutcome::Duplicate);
    }
    let mut step = Step::new(txn, policy, config, now);
    if step.is_own(relay) {
        step.confirm(&event.id)?;
    } else if step.txn.held(&event.id)?.is_some() {
        return Ok(IntakeOutcome::Held);
    }
    if let Some(outcome) = step.standing_verdict(event, relay)? {
        return Ok(outcome);
    }
    step.take_in(event, relay)?;
    step.finish()?;
    step.outcome(event)
}

/// Takes note that `relay` offers an event that was kept out. An id that isn't in the rejected index is left alone, but for
/// one that is held or was refused by the own relay: that this relay offers it is its word.
///
/// # Errors
/// The transaction failed and must be aborted.
pub fn note_offer(
    txn: &mut dyn StoreTxn,
    policy: Option<&AdmissionPolicy>,
    config: &IntakeConfig,
    id: &EventId,
    relay: &RelayUrl,
    now: u64,
) -> Result<(), StoreError> {
    let is_own = config.own_relay.as_ref() == Some(relay);
    if is_own {
        answer(txn, policy, config, id, &OwnAnswer::Has, now)?;
    }
    let Some(mut row) = txn.rejected(id)? else { return Ok(()) };
    if is_own && row.rejected == Some(RejectReason::OwnRelay) && row.wanted.is_none() {
        // It refused the event once, and has it now: it is to be fetched from there.
        row.relays = vec![relay.clone()];
        return txn.release(&row).map(drop);
    }
    if step::remember(&mut row.relays, Some(relay)) { txn.put_rejected(&row) } else { Ok(()) }
}

/// Judges a stored event that was not judged under this policy, with everything that follows, as [`take`] does. An event
/// that isn't accepted stays stored, and is judged again when what it tags is accepted. One that is accepted already is
/// left as it is: a store whose policy has changed takes the marks of acceptance from all its events, and voids the
/// rejected index, before it judges the first.
///
/// # Errors
/// The transaction failed and must be aborted.
pub fn judge_stored(
    txn: &mut dyn StoreTxn,
    policy: &AdmissionPolicy,
    config: &IntakeConfig,
    event: &Event,
    now: u64,
) -> Result<(), StoreError> {
    let mut step = Step::new(txn, Some(policy), config, now);
    step.judge_in_place(policy, event)?;
    step.finish()
}

/// Lets go of what is due at `now`: expired events, bodies and rows of the rejected index, rows beyond its bound.
/// At most `max` steps; returns how many were taken.
///
/// # Errors
/// The transaction failed and must be aborted.
pub fn sweep(
    txn: &mut dyn StoreTxn,
    policy: Option<&AdmissionPolicy>,
    config: &IntakeConfig,
    now: u64,
    max: usize,
) -> Result<usize, StoreError> {
    let mut step = Step::new(txn, policy, config, now);
    let taken = step.sweep(max)?;
    step.finish()?;
    Ok(taken)
}

/// Lets go of rows of the rejected index beyond its bound, the oldest first, at most `max`; returns how many went. A
/// store that does so in every transaction, with room for what the transaction added, never commits more rows than
/// [`IntakeConfig::max_rejected`].
///
/// # Errors
/// The transaction failed and must be aborted.
pub fn trim(txn: &mut dyn StoreTxn, config: &IntakeConfig, max: usize) -> Result<usize, StoreError> {
    // Nothing of it depends on the time or the policy.
    Step::new(txn, None, config, 0).trim(max)
}
