//! A store in memory with just what `import` and `export` need, and faults that a test sets.

use std::sync::{Mutex, MutexGuard};

use nostr::event::{Event, EventId};
use nostr::filter::{Filter, MatchEventOptions};
use sync_core::model::RelayUrl;
use sync_core::store::{
    EventStore, FeedListener, FeedPage, FeedSeq, HeldEvent, IntakeOutcome, KnownEvent, LocalSets, OutboxState,
    OwnVerdict, PageSize, Query, Reply, StateTable, StateWrite, StoreError, Submission,
};
use sync_core::strategy::{ItemKey, SetView, VecSet, Window};

/// Events in the order in which they came.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) events: Mutex<Vec<Event>>,
    /// Full once it holds so many.
    pub(crate) room: Option<usize>,
    /// Drops replies instead of answering.
    pub(crate) writer_dies: bool,
}

impl Memory {
    pub(crate) fn events(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().expect("no test panics while it holds this")
    }

    fn take(&self, event: Event) -> Result<IntakeOutcome, StoreError> {
        let mut events = self.events();
        if events.iter().any(|known| known.id == event.id) {
            return Ok(IntakeOutcome::Duplicate);
        }
        if self.room.is_some_and(|room| events.len() >= room) {
            return Err(StoreError::Full("no room".to_owned()));
        }
        events.push(event);
        Ok(IntakeOutcome::Stored)
    }
}

impl LocalSets for Memory {
    fn view<'a>(&'a self, _: &Filter, _: Window, _: &RelayUrl) -> Box<dyn SetView + 'a> {
        Box::new(VecSet::default())
    }

    fn known(&self, ids: &[EventId]) -> Result<Vec<Option<KnownEvent>>, StoreError> {
        let known = |event: &Event| KnownEvent { created_at: event.created_at.as_secs(), stored: true };
        Ok(ids.iter().map(|id| self.events().iter().find(|event| event.id == *id).map(known)).collect())
    }

    fn event(&self, id: &EventId) -> Result<Option<Event>, StoreError> {
        Ok(self.events().iter().find(|event| event.id == *id).cloned())
    }
}

impl EventStore for Memory {
    fn query_page(&self, query: &mut Query, _: u64, _: PageSize) -> Result<Vec<Event>, StoreError> {
        let mut events = self.events().clone();
        let parts = &mut query.parts;
        events.retain(|event| parts.iter().any(|part| part.filter.match_event(event, MatchEventOptions::new())));
        events.sort_by_key(|event| (std::cmp::Reverse(event.created_at), event.id));
        parts.iter_mut().for_each(|part| part.finished = true);
        Ok(events)
    }

    fn query_items(&self, _: &mut Query, _: u64, _: usize) -> Result<Vec<ItemKey>, StoreError> {
        Err(StoreError::Closed)
    }

    fn submit(&self, submission: Submission, reply: Reply) -> Result<(), StoreError> {
        assert_eq!(submission.relay, None, "an import comes from no relay");
        if !self.writer_dies {
            reply(submission.events.into_iter().map(|event| self.take(event)).collect());
        }
        Ok(())
    }

    fn write_state(&self, _: Vec<StateWrite>) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    fn read_state_of(&self, _: StateTable, _: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        Err(StoreError::Closed)
    }

    fn feed(&self, _: FeedSeq, _: usize) -> Result<FeedPage, StoreError> {
        Err(StoreError::Closed)
    }

    fn feed_head(&self) -> Result<FeedSeq, StoreError> {
        Err(StoreError::Closed)
    }

    fn on_feed(&self, _: FeedListener) {}

    fn judge_backlog(&self, _: u64) -> Result<u64, StoreError> {
        Err(StoreError::Closed)
    }

    fn outbox(&self, _: u64, _: usize) -> Result<Vec<HeldEvent>, StoreError> {
        Ok(Vec::new())
    }

    fn outbox_state(&self) -> Result<OutboxState, StoreError> {
        Ok(OutboxState::default())
    }

    fn answer_outbox(&self, _: Vec<OwnVerdict>, _: u64) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    fn event_count(&self) -> Result<u64, StoreError> {
        Ok(self.events().len() as u64)
    }

    fn rejected_count(&self) -> Result<(u64, u64), StoreError> {
        Ok((0, 0))
    }
}
