//! What we have and the relay never showed. REQ has no other way to learn what a relay lacks.

use std::ops::ControlFlow;

use sync_core::nostr::event::EventId;
use sync_core::strategy::{ItemKey, KeyRange, SetView};

/// The local set at the start, less what the relay has shown: 48 bytes an item, whatever the relay sends.
pub(crate) struct Offer(Vec<(ItemKey, bool)>);

impl Offer {
    /// Ids in one output.
    const CHUNK: usize = 1_000;

    pub(crate) fn new(local: &dyn SetView) -> Self {
        let mut items = Vec::with_capacity(usize::try_from(local.count(KeyRange::ALL)).unwrap_or(0));
        local.items(KeyRange::ALL, &mut |item| {
            items.push((item, false));
            ControlFlow::Continue(())
        });
        Self(items)
    }

    /// The relay has this one.
    pub(crate) fn shown(&mut self, created_at: u64, id: &EventId) {
        let key = ItemKey::new(created_at, id);
        if let Ok(at) = self.0.binary_search_by_key(&key, |(item, _)| *item) {
            self.0[at].1 = true;
        }
    }

    /// What the relay never showed, in chunks; of the seconds that it has shown whole.
    pub(crate) fn chunks(self, is_whole: impl Fn(u64) -> bool) -> impl Iterator<Item = Vec<EventId>> {
        let lacks = move |(item, shown): &(ItemKey, bool)| !shown && is_whole(item.created_at);
        let mut rest = self.0.into_iter().filter(lacks).map(|(item, _)| EventId::from_byte_array(item.id));
        std::iter::from_fn(move || {
            let chunk: Vec<_> = rest.by_ref().take(Self::CHUNK).collect();
            (!chunk.is_empty()).then_some(chunk)
        })
    }
}
