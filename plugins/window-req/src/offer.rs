//! What we have and the relay never showed. REQ has no other way to learn what a relay lacks.

use std::ops::ControlFlow;

use strategy_abi::{Id, Item, Set};

/// The set at the start, less what the relay has shown: 48 bytes an item, whatever the relay sends.
pub(crate) struct Offer(Vec<(Item, bool)>);

impl Offer {
    /// Ids in one output.
    const CHUNK: usize = 1_000;

    pub(crate) fn new(set: &Set<'_>) -> Self {
        let mut items = Vec::with_capacity(usize::try_from(set.count(Item::MIN, Item::MAX)).unwrap_or(0));
        set.items(Item::MIN, Item::MAX, |item| {
            items.push((item, false));
            ControlFlow::Continue(())
        });
        Self(items)
    }

    /// The relay has this one.
    pub(crate) fn shown(&mut self, created_at: u64, id: Id) {
        if let Ok(at) = self.0.binary_search_by_key(&Item { created_at, id }, |(item, _)| *item) {
            self.0[at].1 = true;
        }
    }

    /// What the relay never showed, in chunks; of the seconds that it has shown whole.
    pub(crate) fn chunks(&self, is_whole: impl Fn(u64) -> bool) -> Vec<Vec<Id>> {
        let lacks = |(item, shown): &&(Item, bool)| !shown && is_whole(item.created_at);
        let ids: Vec<Id> = self.0.iter().filter(lacks).map(|(item, _)| item.id).collect();
        ids.chunks(Self::CHUNK).map(<[Id]>::to_vec).collect()
    }
}
