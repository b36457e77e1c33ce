//! What connections hold at a time, bounded for each of them and for all together; given back when it is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::RelayLimits;

/// A sum of what is held, the most that it may come to, and the larger one that it is a part of.
#[derive(Debug)]
pub(crate) struct Budget {
    held: AtomicU64,
    max: u64,
    /// The name of this bound.
    limit: &'static str,
    within: Option<Arc<Budget>>,
}

impl Budget {
    /// One of its own.
    pub(crate) fn new(limit: &'static str, max: u64) -> Arc<Self> {
        Arc::new(Self { held: AtomicU64::new(0), max, limit, within: None })
    }

    /// One whose sum counts for `self`, too.
    pub(crate) fn part(self: &Arc<Self>, limit: &'static str, max: u64) -> Arc<Self> {
        Arc::new(Self { held: AtomicU64::new(0), max, limit, within: Some(Arc::clone(self)) })
    }

    fn take(&self, more: u64) -> Result<(), &'static str> {
        let grow = |held: u64| held.checked_add(more).filter(|held| *held <= self.max);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow).map_err(|_| self.limit)?;
        let taken = self.within.as_ref().map_or(Ok(()), |within| within.take(more));
        if taken.is_err() {
            self.held.fetch_sub(more, Ordering::Relaxed);
        }
        taken
    }

    fn give_back(&self, amount: u64) {
        self.held.fetch_sub(amount, Ordering::Relaxed);
        if let Some(within) = &self.within {
            within.give_back(amount);
        }
    }

    #[cfg(test)]
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }
}

/// A part of a budget, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Arc<Budget>,
    own: u64,
}

impl Held {
    /// Nothing yet.
    pub(crate) fn nothing(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), own: 0 }
    }

    /// As much of `budget`.
    ///
    /// # Errors
    /// The name of the bound that is in the way.
    pub(crate) fn of(budget: &Arc<Budget>, amount: u64) -> Result<Self, &'static str> {
        let mut held = Self::nothing(budget);
        held.grow(amount)?;
        Ok(held)
    }

    /// How much it is.
    pub(crate) fn own(&self) -> u64 {
        self.own
    }

    /// Holds so much more; or, where that fails, what it held before.
    ///
    /// # Errors
    /// The name of the bound that is in the way.
    pub(crate) fn grow(&mut self, more: u64) -> Result<(), &'static str> {
        self.budget.take(more)?;
        self.own += more;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.give_back(self.own);
    }
}

/// The budgets of one connection, or those of all.
#[derive(Debug, Clone)]
pub(crate) struct Budgets {
    /// Ids in reconciliations.
    pub(crate) ids: Arc<Budget>,
    /// Bytes of the filters of subscriptions.
    pub(crate) filter_bytes: Arc<Budget>,
}

impl Budgets {
    /// Those of all connections together.
    pub(crate) fn of_all(limits: &RelayLimits) -> Self {
        Self {
            ids: Budget::new("max_all_reconciliation_items", limits.max_all_reconciliation_items),
            filter_bytes: Budget::new("max_all_filter_bytes", limits.max_all_filter_bytes),
        }
    }

    /// Those of a new connection, each a part of one of these.
    pub(crate) fn of_connection(&self, limits: &RelayLimits) -> Self {
        Self {
            ids: self.ids.part("max_connection_reconciliation_items", limits.max_connection_reconciliation_items),
            filter_bytes: self.filter_bytes.part("max_filter_bytes", limits.max_filter_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_takes_nothing_and_what_is_dropped_is_given_back() {
        let all = Budget::new("all", 10);
        let (one, other) = (all.part("one", 7), all.part("other", 7));
        let (mut first, mut second) = (Held::nothing(&one), Held::nothing(&one));
        assert_eq!(first.grow(4), Ok(()));
        assert_eq!(first.grow(2), Ok(()));
        assert_eq!(second.grow(2), Err("one"));
        assert_eq!(second.grow(u64::MAX), Err("one"));
        let mut third = Held::nothing(&other);
        assert_eq!(third.grow(5), Err("all"));
        assert_eq!((one.held(), other.held(), all.held()), (6, 0, 6));
        assert_eq!(third.grow(4), Ok(()));
        assert_eq!((first.own(), second.own(), third.own()), (6, 0, 4));
        drop(first);
        assert_eq!((one.held(), other.held(), all.held()), (0, 4, 4));
        drop((second, third));
        assert_eq!((one.held(), other.held(), all.held()), (0, 0, 0));
    }
}
