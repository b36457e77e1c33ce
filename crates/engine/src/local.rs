//! The store as sessions see it, with long reads moved out of the runtime's way.

use std::ops::ControlFlow;

use sync_core::link::RelayMemory;
use sync_core::model::RelayUrl;
use sync_core::nostr::event::{Event, EventId};
use sync_core::nostr::filter::Filter;
use sync_core::store::{EventStore, KnownEvent, LocalSets, StoreError};
use sync_core::strategy::{ItemKey, KeyRange, SetView, Window};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::parking::Holder;

/// A store whose set views may take long without stalling other tasks, as one connection has it.
pub(crate) struct Local<'a>(pub(crate) &'a dyn EventStore, pub(crate) &'a Holder);

/// What the store remembers of a relay; what can't be read is said in the log, and costs time alone.
pub(crate) fn memory(store: &dyn EventStore, relay: &RelayUrl, overlap_s: u64, now: u64) -> RelayMemory {
    let prefix = RelayMemory::prefix(relay);
    let [coverage, remembered] = RelayMemory::TABLES.map(|table| {
        blocking(|| store.read_state_of(table, &prefix)).unwrap_or_else(|error| {
            tracing::warn!(%relay, %error, "can't read what is remembered of the relay");
            Vec::new()
        })
    });
    let memory = RelayMemory::restore(relay, coverage, remembered, overlap_s, now);
    for problem in &memory.problems {
        tracing::warn!("{problem}");
    }
    memory
}

impl LocalSets for Local<'_> {
    fn view<'a>(&'a self, filter: &Filter, window: Window, relay: &RelayUrl) -> Box<dyn SetView + 'a> {
        Box::new(LongView(self.0.view(filter, window, relay)))
    }

    fn known(&self, ids: &[EventId]) -> Result<Vec<Option<KnownEvent>>, StoreError> {
        self.0.known(ids)
    }

    fn event(&self, id: &EventId) -> Result<Option<Event>, StoreError> {
        self.0.event(id)
    }

    fn claim(&self, ids: &[EventId]) -> Vec<bool> {
        self.1.claim(ids)
    }

    fn release(&self, ids: &[EventId]) {
        self.1.release(ids);
    }
}

struct LongView<'a>(Box<dyn SetView + 'a>);

/// Runs `read` where it may block: on a runtime of several threads the others take over this one's tasks.
pub fn blocking<T>(read: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(read),
        _ => read(),
    }
}

impl SetView for LongView<'_> {
    fn count(&self, range: KeyRange) -> u64 {
        blocking(|| self.0.count(range))
    }

    fn fingerprint(&self, range: KeyRange) -> [u8; 16] {
        blocking(|| self.0.fingerprint(range))
    }

    fn items(&self, range: KeyRange, visit: &mut dyn FnMut(ItemKey) -> ControlFlow<()>) {
        blocking(|| self.0.items(range, visit));
    }

    fn split(&self, range: KeyRange, parts: usize) -> Vec<ItemKey> {
        blocking(|| self.0.split(range, parts))
    }
}
