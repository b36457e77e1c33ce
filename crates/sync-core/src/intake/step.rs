//! One step of the intake: what holds for every event, whatever the policy.

use std::collections::{BTreeSet, VecDeque};

use nostr::event::{Event, EventId};

use super::IntakeConfig;
use super::refs::{self, DeletionTarget};
use crate::admission::{AdmissionPolicy, DeferReason, RejectReason};
use crate::model::{RelayUrl, RepoAddress, kinds};
use crate::store::{Dependency, IntakeOutcome, RejectedRow, SlotHead, StoreError, StoreTxn};

/// The most tags that a row of the rejected index describes.
pub const MAX_ROW_TAGS: usize = 256;

/// Why an event isn't in the store.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum KeptOut {
    /// For good.
    Rejected(RejectReason),
    /// By the own relay, in these words.
    Refused(String),
    /// Until one of these arrives.
    Deferred(DeferReason, Vec<Dependency>),
}

/// A step under way. [`Step::finish`] draws the consequences that are still open.
pub(super) struct Step<'a> {
    pub(super) txn: &'a mut dyn StoreTxn,
    pub(super) policy: Option<&'a AdmissionPolicy>,
    pub(super) config: &'a IntakeConfig,
    /// Unix seconds.
    pub(super) now: u64,
    /// Accepted in this step; what waits for them is still to be judged.
    pub(super) accepted: VecDeque<EventId>,
    /// Identifiers whose group has lost an accepted announcement, and is still to be settled.
    pub(super) shaken: BTreeSet<String>,
    /// The event that the external own relay has, by its word.
    pub(super) confirmed: Option<EventId>,
    /// What is held was held before: no bound is passed by it.
    pub(super) may_hold: bool,
}

impl<'a> Step<'a> {
    pub(super) fn new(
        txn: &'a mut dyn StoreTxn,
        policy: Option<&'a AdmissionPolicy>,
        config: &'a IntakeConfig,
        now: u64,
    ) -> Self {
        Self {
            txn,
            policy,
            config,
            now,
            accepted: VecDeque::new(),
            shaken: BTreeSet::new(),
            confirmed: None,
            may_hold: false,
        }
    }

    /// Takes in an event that nothing was decided about: judges it by the policy, stores it without one.
    pub(super) fn take_in(&mut self, event: &Event, relay: Option<&RelayUrl>) -> Result<(), StoreError> {
        if self.policy.is_some_and(|policy| policy.is_denied(event)) {
            return self.keep_out(event, KeptOut::Rejected(RejectReason::Denied), relay);
        }
        if let Some(reason) = self.screen(event)? {
            if matches!(reason, RejectReason::Deleted | RejectReason::Expired) {
                self.claim_slot(event)?;
            }
            return self.keep_out(event, KeptOut::Rejected(reason), relay);
        }
        match self.policy {
            None => {
                self.claim_slot(event)?;
                self.store(event)
            }
            // It takes its place among its versions when the own relay has it: until then the one before stands.
            Some(policy) if self.is_to_be_held(&event.id) && self.would_be_accepted(policy, event)? => {
                self.hold_arrival(event)
            }
            Some(policy) => {
                self.claim_slot(event)?;
                self.judge_arrival(policy, event, relay)
            }
        }
    }

    /// What was decided before about an event that comes again. The relay that offers it is remembered.
    pub(super) fn standing_verdict(
        &mut self,
        event: &Event,
        relay: Option<&RelayUrl>,
    ) -> Result<Option<IntakeOutcome>, StoreError> {
        let Some(mut row) = self.txn.rejected(&event.id)? else { return Ok(None) };
        if row.wanted.is_some() {
            // It is what was asked for; its row goes, or is written anew, with the verdict.
            return Ok(None);
        }
        // What it refused, and has all the same, it took from somebody else.
        let taken_since = row.rejected == Some(RejectReason::OwnRelay) && self.confirmed == Some(event.id);
        if taken_since || !row.is_known(self.policy.is_some()) || row.cold_until <= self.now {
            self.txn.remove_rejected(&event.id)?;
            return Ok(None);
        }
        if remember(&mut row.relays, relay) {
            self.txn.put_rejected(&row)?;
        }
        Ok(outcome_of(&row))
    }

    /// Why an event can't be stored under any policy, if so.
    pub(super) fn screen(&self, event: &Event) -> Result<Option<RejectReason>, StoreError> {
        let (kind, created_at) = (event.kind.as_u16(), event.created_at.as_secs());
        if refs::is_ephemeral(kind) {
            return Ok(Some(RejectReason::Ephemeral));
        }
        if created_at > self.now.saturating_add(self.config.max_future_s) {
            return Ok(Some(RejectReason::FutureDated));
        }
        let slot = refs::slot_of(event);
        if let Some(slot) = &slot
            && self.txn.slot(slot)?.is_some_and(|head| supersedes((head.created_at, head.id), event))
        {
            return Ok(Some(RejectReason::Superseded));
        }
        if refs::expiration_of(event).is_some_and(|at| at <= self.now) {
            return Ok(Some(RejectReason::Expired));
        }
        let deleted = kind != kinds::DELETION
            && (self.txn.is_id_deleted(&event.id, &event.pubkey)?
                || match &slot {
                    Some(slot) => self.txn.slot_deleted_until(slot)?.is_some_and(|until| created_at <= until),
                    None => false,
                });
        Ok(deleted.then_some(RejectReason::Deleted))
    }

    /// Makes `event`, which passed as the newest version, the head of its slot; the one before is superseded.
    pub(super) fn claim_slot(&mut self, event: &Event) -> Result<(), StoreError> {
        let Some(slot) = refs::slot_of(event) else { return Ok(()) };
        let before = self.txn.slot(&slot)?;
        let head = SlotHead { created_at: event.created_at.as_secs(), id: event.id, stored: false };
        self.txn.set_slot(&slot, head)?;
        match before.filter(|before| before.id != event.id) {
            Some(before) if before.stored => self.remove(&before.id, RejectReason::Superseded),
            Some(before) => self.reject_row(&before.id, RejectReason::Superseded),
            None => Ok(()),
        }
    }

    /// Stores an event that is head of its slot, if it has one, and applies it if it is a deletion.
    pub(super) fn store(&mut self, event: &Event) -> Result<(), StoreError> {
        self.txn.remove_rejected(&event.id)?;
        self.txn.insert(event, refs::expiration_of(event))?;
        if let Some(slot) = refs::slot_of(event) {
            let head = SlotHead { created_at: event.created_at.as_secs(), id: event.id, stored: true };
            self.txn.set_slot(&slot, head)?;
        }
        if event.kind.as_u16() == kinds::DELETION { self.apply_deletion(event) } else { Ok(()) }
    }

    /// Removes a stored event, from the feed too, and remembers its id as one that isn't wanted.
    pub(super) fn remove(&mut self, id: &EventId, reason: RejectReason) -> Result<(), StoreError> {
        self.expel(id, KeptOut::Rejected(reason))
    }

    /// Takes a stored event out of store and feed; its row says why.
    pub(super) fn expel(&mut self, id: &EventId, why: KeptOut) -> Result<(), StoreError> {
        let (Some(row), Some(event)) = (self.txn.row(id)?, self.txn.event(id)?) else { return Ok(()) };
        if row.accepted.is_some() {
            let address = refs::is_announcement(&event).then(|| RepoAddress::of_event(&event)).flatten();
            self.txn.retract(id, row.kind, address.as_ref())?;
            if let Some(address) = address {
                self.shaken.insert(address.identifier.to_string());
            }
        }
        self.txn.remove(id)?;
        if let Some(slot) = refs::slot_of(&event)
            && let Some(head) = self.txn.slot(&slot)?.filter(|head| head.id == *id)
        {
            self.txn.set_slot(&slot, SlotHead { stored: false, ..head })?;
        }
        self.keep_out(&event, why, None)
    }

    /// Writes the row of an event that isn't in the store. Relays that a former row knew stay known.
    pub(super) fn keep_out(&mut self, event: &Event, why: KeptOut, relay: Option<&RelayUrl>) -> Result<(), StoreError> {
        let mut relays = self.txn.rejected(&event.id)?.map(|row| row.relays).unwrap_or_default();
        remember(&mut relays, relay);
        let created_at = event.created_at.as_secs();
        let mut row = RejectedRow {
            id: event.id,
            created_at,
            kind: event.kind.as_u16(),
            pubkey: event.pubkey,
            tags: refs::indexed_tags(event, MAX_ROW_TAGS),
            rejected: None,
            deferred: None,
            said: String::new(),
            waits_for: Vec::new(),
            relays,
            hot_until: self.now,
            cold_until: self.now.saturating_add(self.config.cold_s),
            wanted: None,
            body: None,
        };
        match why {
            KeptOut::Rejected(reason) => {
                row.rejected = Some(reason);
                if reason == RejectReason::FutureDated {
                    // Not longer than the reason holds.
                    row.cold_until = row.cold_until.min(created_at.saturating_sub(self.config.max_future_s));
                }
            }
            KeptOut::Refused(said) => {
                row.rejected = Some(RejectReason::OwnRelay);
                row.said = said;
            }
            KeptOut::Deferred(reason, waits_for) => {
                row.deferred = Some(reason);
                row.waits_for = waits_for;
                row.hot_until = self.now.saturating_add(self.config.hot_s).min(row.cold_until);
                row.body = Some(Box::new(event.clone()));
            }
        }
        self.txn.put_rejected(&row)
    }

    /// Makes a row that waits one that is rejected for good.
    fn reject_row(&mut self, id: &EventId, reason: RejectReason) -> Result<(), StoreError> {
        let Some(row) = self.txn.rejected(id)?.filter(|row| row.deferred.is_some()) else { return Ok(()) };
        self.txn.put_rejected(&RejectedRow {
            rejected: Some(reason),
            deferred: None,
            waits_for: Vec::new(),
            wanted: None,
            body: None,
            ..row
        })
    }

    /// NIP-09: removes what its author deletes, and remembers it for what is still to come. Deletions stay.
    fn apply_deletion(&mut self, deletion: &Event) -> Result<(), StoreError> {
        for target in refs::deletion_targets(deletion) {
            match target {
                DeletionTarget::Event(id) => {
                    self.txn.delete_id(&id, &deletion.pubkey)?;
                    self.delete_now(&id, deletion)?;
                }
                DeletionTarget::Slot(slot) => {
                    let until = deletion.created_at.as_secs();
                    self.txn.delete_slot(&slot, until)?;
                    if let Some(head) = self.txn.slot(&slot)?.filter(|head| head.created_at <= until) {
                        self.delete_now(&head.id, deletion)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn delete_now(&mut self, id: &EventId, deletion: &Event) -> Result<(), StoreError> {
        let may_delete = |author, kind| author == deletion.pubkey && kind != kinds::DELETION;
        if let Some(event) = self.txn.event(id)? {
            if may_delete(event.pubkey, event.kind.as_u16()) {
                self.remove(id, RejectReason::Deleted)?;
            }
        } else if self.txn.rejected(id)?.is_some_and(|row| may_delete(row.pubkey, row.kind)) {
            self.reject_row(id, RejectReason::Deleted)?;
        }
        Ok(())
    }

    /// What has become of an event, at the end of the step.
    pub(super) fn outcome(&self, event: &Event) -> Result<IntakeOutcome, StoreError> {
        if self.txn.row(&event.id)?.is_some() {
            return Ok(IntakeOutcome::Stored);
        }
        if self.txn.held(&event.id)?.is_some() {
            return Ok(IntakeOutcome::Held);
        }
        let row = self.txn.rejected(&event.id)?;
        row.as_ref()
            .and_then(outcome_of)
            .ok_or_else(|| StoreError::Corrupt(format!("event {} was taken in and left no trace", event.id)))
    }
}

/// Whether the version at `(created_at, id)` is newer than `event`: the later one, on a tie the lower id (NIP-01).
fn supersedes((created_at, id): (u64, EventId), event: &Event) -> bool {
    (created_at, std::cmp::Reverse(id)) > (event.created_at.as_secs(), std::cmp::Reverse(event.id))
}

/// Adds a relay to those that offered an event; whether that changed anything.
pub(super) fn remember(relays: &mut Vec<RelayUrl>, relay: Option<&RelayUrl>) -> bool {
    match relay {
        Some(relay) if relays.len() < RejectedRow::MAX_RELAYS && !relays.contains(relay) => {
            relays.push(relay.clone());
            true
        }
        _ => false,
    }
}

fn outcome_of(row: &RejectedRow) -> Option<IntakeOutcome> {
    row.rejected.map(IntakeOutcome::Rejected).or_else(|| row.deferred.map(IntakeOutcome::Deferred))
}
