//! What time takes away: expired events, bodies and rows of the rejected index.

use super::refs;
use super::step::Step;
use crate::admission::RejectReason;
use crate::store::{RejectedRow, StoreError};

impl Step<'_> {
    /// Lets go of what is due, and of rows beyond the bound; at most `max` of them. Returns how many.
    pub(super) fn sweep(&mut self, max: usize) -> Result<usize, StoreError> {
        // The store tells what ended before a time; an event has expired at its time.
        let expired = self.txn.expired(self.now.saturating_add(1), max)?;
        for id in &expired {
            self.remove(id, RejectReason::Expired)?;
        }
        if self.policy.is_none() {
            self.leave_to_be_judged()?;
        }
        let mut taken = expired.len();

        for id in self.txn.rejected_due(self.now, max.saturating_sub(taken))? {
            let Some(row) = self.txn.rejected(&id)? else { continue };
            if row.cold_until <= self.now {
                self.forget(&row)?;
            } else {
                self.txn.put_rejected(&RejectedRow { body: None, ..row })?;
            }
            taken += 1;
        }

        Ok(taken + self.trim(max.saturating_sub(taken))?)
    }

    /// Lets go of rows beyond the bound, the oldest first; at most `max` of them. Returns how many.
    pub(super) fn trim(&mut self, max: usize) -> Result<usize, StoreError> {
        let (hot, cold) = self.txn.rejected_count()?;
        let beyond = hot.saturating_add(cold).saturating_sub(self.config.max_rejected);
        let mut taken = 0;
        for _ in 0..beyond.min(max as u64) {
            let Some(id) = self.txn.rejected_oldest()? else { break };
            let Some(row) = self.txn.rejected(&id)? else { break };
            self.forget(&row)?;
            taken += 1;
        }
        Ok(taken)
    }

    /// Removes a row, and with it the slot's memory of the kept-out version, which would outlive it for ever.
    fn forget(&mut self, row: &RejectedRow) -> Result<(), StoreError> {
        let identifier = row.tags.iter().find(|(name, _)| *name == 'd').map_or("", |(_, value)| value);
        if let Some(slot) = refs::slot(row.kind, row.pubkey, identifier)
            && self.txn.slot(&slot)?.is_some_and(|head| head.id == row.id && !head.stored)
        {
            self.txn.remove_slot(&slot)?;
        }
        self.txn.remove_rejected(&row.id)
    }
}
