//! A session at work: what it waits for, its own time, and the local set as it sees it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;

use nostr::filter::Filter;

use super::piece::At;
use crate::model::RelayUrl;
use crate::store::LocalSets;
use crate::strategy::{ItemKey, KeyRange, Message, SetView, SubId, SyncSession, VecSet, Window};
use crate::time::{MonoMillis, Now};

/// A session at work.
pub(super) struct Running {
    pub(super) at: At,
    /// It looks for what the ones before it left out.
    pub(super) verifies: bool,
    /// Index into the link's strategies.
    pub(super) strategy: usize,
    pub(super) session: Box<dyn SyncSession>,
    pub(super) filter: Filter,
    pub(super) window: Window,
    pub(super) wires: BTreeMap<SubId, String>,
    /// Messages that wait for the budget, for the backlog to shrink or for a cool-down to end, in order.
    pub(super) held: VecDeque<Message>,
    /// Since when it waits for us and not for the relay: its time stands still.
    pub(super) stands_since: Option<MonoMillis>,
    /// How long its time has stood still before, milliseconds.
    pub(super) stood_ms: u64,
    pub(super) rounds: u64,
    /// When it last asked anything.
    pub(super) asked_at: MonoMillis,
}

impl Running {
    /// Whether the next move is ours. One that has another question open waits for the relay all the same.
    fn waits_for_us(&self) -> bool {
        match self.held.front() {
            Some(Message::NegMsg { .. }) => true,
            Some(Message::Req { .. } | Message::NegOpen { .. }) => self.wires.is_empty(),
            Some(Message::Close { .. } | Message::NegClose { .. }) | None => false,
        }
    }

    /// Stops or starts its time.
    pub(super) fn set_time(&mut self, now: Now) {
        match (self.waits_for_us(), self.stands_since) {
            (true, None) => self.stands_since = Some(now.mono_ms),
            (false, Some(since)) => {
                self.stood_ms += now.mono_ms.saturating_sub(since);
                self.stands_since = None;
            }
            _ => {}
        }
    }

    /// What its clock shows.
    pub(super) fn time(&self, now: Now) -> Now {
        let mono_ms = self.stands_since.unwrap_or(now.mono_ms).saturating_sub(self.stood_ms);
        Now { mono_ms, ..now }
    }

    /// When its deadline passes, by our clock.
    pub(super) fn deadline(&self) -> Option<(MonoMillis, &'static str)> {
        let (at, what) = self.session.next_timeout().filter(|_| self.stands_since.is_none())?;
        Some((at.saturating_add(self.stood_ms), what))
    }
}

/// The local set, read from the store only when the strategy asks.
pub(super) struct LazyView<'a> {
    pub(super) local: &'a dyn LocalSets,
    pub(super) filter: &'a Filter,
    pub(super) window: Window,
    pub(super) relay: &'a RelayUrl,
}

impl LazyView<'_> {
    /// What `range` is of it: a store may have to read whatever lies in the window.
    fn view(&self, range: KeyRange) -> Box<dyn SetView + '_> {
        let since = self.window.since.max(range.start.created_at);
        let until = self.window.until.min(range.end.created_at);
        if since > until {
            return Box::new(VecSet::default());
        }
        self.local.view(self.filter, Window { since, until }, self.relay)
    }
}

impl SetView for LazyView<'_> {
    fn count(&self, range: KeyRange) -> u64 {
        self.view(range).count(range)
    }

    fn fingerprint(&self, range: KeyRange) -> [u8; 16] {
        self.view(range).fingerprint(range)
    }

    fn items(&self, range: KeyRange, visit: &mut dyn FnMut(ItemKey) -> ControlFlow<()>) {
        self.view(range).items(range, visit);
    }

    fn split(&self, range: KeyRange, parts: usize) -> Vec<ItemKey> {
        self.view(range).split(range, parts)
    }
}
