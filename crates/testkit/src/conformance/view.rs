//! The local set, lent to a session: counts how it is looked at.

use std::cell::Cell;
use std::ops::ControlFlow;

use sync_core::strategy::{ItemKey, KeyRange, SetView, VecSet};

/// How a session looked at the local set during one input.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Looks {
    /// Items in it.
    pub(super) len: u64,
    /// Calls.
    pub(super) calls: u64,
    /// Items that were visited one by one.
    pub(super) items: u64,
}

/// A view that counts.
pub(super) struct Counted<'a> {
    set: &'a VecSet,
    calls: Cell<u64>,
    items: Cell<u64>,
}

impl<'a> Counted<'a> {
    pub(super) fn new(set: &'a VecSet) -> Self {
        Self { set, calls: Cell::new(0), items: Cell::new(0) }
    }

    pub(super) fn looks(&self) -> Looks {
        Looks { len: self.set.count(KeyRange::ALL), calls: self.calls.get(), items: self.items.get() }
    }

    fn called(&self) -> &VecSet {
        self.calls.set(self.calls.get() + 1);
        self.set
    }
}

impl SetView for Counted<'_> {
    fn count(&self, range: KeyRange) -> u64 {
        self.called().count(range)
    }

    fn fingerprint(&self, range: KeyRange) -> [u8; 16] {
        self.called().fingerprint(range)
    }

    fn items(&self, range: KeyRange, visit: &mut dyn FnMut(ItemKey) -> ControlFlow<()>) {
        self.called().items(range, &mut |item| {
            self.items.set(self.items.get() + 1);
            visit(item)
        });
    }

    fn split(&self, range: KeyRange, parts: usize) -> Vec<ItemKey> {
        self.called().split(range, parts)
    }
}
