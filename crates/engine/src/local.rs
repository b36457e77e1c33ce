//! The store as sessions see it, with long reads moved out of the runtime's way.

use std::ops::ControlFlow;

use sync_core::model::RelayUrl;
use sync_core::nostr::event::{Event, EventId};
use sync_core::nostr::filter::Filter;
use sync_core::store::{EventStore, KnownEvent, LocalSets, StoreError};
use sync_core::strategy::{ItemKey, KeyRange, SetView, Window};
use tokio::runtime::{Handle, RuntimeFlavor};

/// A store whose set views may take long without stalling other tasks.
pub(crate) struct Local<'a>(pub(crate) &'a dyn EventStore);

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
}

struct LongView<'a>(Box<dyn SetView + 'a>);

/// Runs `read` where it may block: on a runtime of several threads the others take over this one's tasks.
pub(crate) fn blocking<T>(read: impl FnOnce() -> T) -> T {
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
