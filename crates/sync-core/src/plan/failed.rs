//! What was tried and is not complete at one relay (SPEC §5 `failed`): items in groups that failed together, each with
//! what is missing and when to try again. Outlives reconnects and restarts.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use nostr::event::EventId;
use serde::{Deserialize, Serialize};

use crate::model::{Failure, FailureReason, PendingItems, RepoAddress};

/// Items that failed in one batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedGroup {
    /// Whether layer 1 is among it.
    #[serde(default)]
    pub announcements: bool,
    /// What isn't complete.
    pub items: PendingItems,
    /// Single events that could not be asked for (SPEC §11).
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub ids: BTreeSet<EventId>,
    /// What is missing, at most [`FailedGroup::MAX_FAILURES`].
    pub failures: Vec<Failure>,
    /// How many failures there were in all.
    pub failure_count: u64,
    /// When to try again, unix seconds.
    pub retry_at: u64,
    /// How often it was tried, at least 1.
    pub tries: u32,
    /// Whether it is being tried: no timer is needed.
    #[serde(skip)]
    pub retrying: bool,
}

impl FailedGroup {
    /// The most failures that are kept.
    pub const MAX_FAILURES: usize = 8;
    /// The longest filter text that is kept, in bytes.
    const MAX_FILTER: usize = 400;

    /// A group of what a batch could not complete.
    pub fn new(announcements: bool, items: PendingItems, failures: Vec<Failure>, retry_at: u64, tries: u32) -> Self {
        let failure_count = failures.len() as u64;
        let mut failures = failures;
        failures.truncate(Self::MAX_FAILURES);
        for failure in &mut failures {
            cut_text(&mut failure.filter, Self::MAX_FILTER);
            cut_text(&mut failure.text, Self::MAX_FILTER);
        }
        let ids = BTreeSet::new();
        Self { announcements, items, ids, failures, failure_count, retry_at, tries, retrying: false }
    }

    fn is_empty(&self) -> bool {
        !self.announcements && self.items.is_empty() && self.ids.is_empty()
    }
}

/// Whether these failures are of a kind that asking again soon can't mend: only the daily sync chases them.
pub(crate) fn is_withheld(failures: &[Failure]) -> bool {
    !failures.is_empty()
        && failures
            .iter()
            .all(|f| matches!(f.reason, FailureReason::NotServed { .. } | FailureReason::DenseSecond { .. }))
}

/// Cuts at a character's boundary.
fn cut_text(text: &mut String, max: usize) {
    if text.len() > max {
        let end = (0..=max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
}

/// What is to be tried again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Due {
    /// Whether layer 1 is among it.
    pub announcements: bool,
    /// Repositories and root events.
    pub items: PendingItems,
    /// Single events.
    pub ids: BTreeSet<EventId>,
}

/// Everything that is not complete at one relay. An item is in one group.
#[derive(Debug, Clone, Default)]
pub struct FailedItems {
    groups: BTreeMap<u64, FailedGroup>,
    repos: HashMap<RepoAddress, u64>,
    root_events: HashMap<EventId, u64>,
    next: u64,
    dirty: BTreeSet<u64>,
}

impl FailedItems {
    /// From persisted groups. Where an item is in several, because a change of the others was not written, the last group
    /// counts.
    pub fn restore(groups: impl IntoIterator<Item = (u64, FailedGroup)>) -> Self {
        let groups: BTreeMap<u64, FailedGroup> = groups.into_iter().collect();
        let (mut failed, mut stale) = (Self::default(), BTreeSet::new());
        for (number, group) in groups {
            failed.remove(group.announcements, &group.items);
            failed.remove_ids(&group.ids);
            stale.append(&mut failed.dirty);
            failed.put(number, group);
            failed.dirty.clear();
            failed.next = failed.next.max(number.saturating_add(1));
        }
        failed.dirty = stale;
        failed
    }

    /// Whether nothing is missing.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The groups by number.
    pub fn groups(&self) -> &BTreeMap<u64, FailedGroup> {
        &self.groups
    }

    /// Whether the repository failed and isn't due at `now` (unix seconds).
    pub fn holds_repo(&self, repo: &RepoAddress, now: u64) -> bool {
        !self.repos.is_empty() && self.repos.get(repo).is_some_and(|number| self.is_held(*number, now))
    }

    /// Whether the root event failed and isn't due at `now` (unix seconds).
    pub fn holds_root_event(&self, event: &EventId, now: u64) -> bool {
        !self.root_events.is_empty() && self.root_events.get(event).is_some_and(|number| self.is_held(*number, now))
    }

    /// Whether layer 1 failed and isn't due at `now` (unix seconds).
    pub fn holds_announcements(&self, now: u64) -> bool {
        self.groups.values().any(|group| group.announcements && group.retry_at > now)
    }

    /// How often the given items were tried, at most; 0 for never.
    pub fn tries(&self, announcements: bool, items: &PendingItems) -> u32 {
        let numbers = items.repos.iter().filter_map(|repo| self.repos.get(repo));
        let numbers = numbers.chain(items.root_events.iter().filter_map(|event| self.root_events.get(event)));
        let layer_1 = self.groups.values().filter(|group| announcements && group.announcements);
        numbers.filter_map(|number| self.groups.get(number)).chain(layer_1).map(|group| group.tries).max().unwrap_or(0)
    }

    /// How often the given single events were tried, at most; 0 for never.
    pub fn tries_of_ids(&self, ids: &BTreeSet<EventId>) -> u32 {
        let groups = self.groups.values().filter(|group| !group.ids.is_disjoint(ids));
        groups.map(|group| group.tries).max().unwrap_or(0)
    }

    /// Adds a group; what it holds leaves the groups that it was in.
    pub fn add(&mut self, group: FailedGroup) {
        self.remove(group.announcements, &group.items);
        self.remove_ids(&group.ids);
        let number = self.next;
        self.next += 1;
        self.put(number, group);
    }

    /// Takes out what is complete, or wanted no longer.
    pub fn remove(&mut self, announcements: bool, items: &PendingItems) {
        let mut touched = BTreeSet::new();
        for repo in &items.repos {
            if let Some(number) = self.repos.remove(repo) {
                self.groups.get_mut(&number).map(|group| group.items.repos.remove(repo));
                touched.insert(number);
            }
        }
        for event in &items.root_events {
            if let Some(number) = self.root_events.remove(event) {
                self.groups.get_mut(&number).map(|group| group.items.root_events.remove(event));
                touched.insert(number);
            }
        }
        if announcements {
            for (number, group) in self.groups.iter_mut().filter(|(_, group)| group.announcements) {
                group.announcements = false;
                touched.insert(*number);
            }
        }
        self.groups.retain(|_, group| !group.is_empty());
        self.dirty.extend(touched);
    }

    /// Takes out single events that were asked for.
    pub fn remove_ids(&mut self, ids: &BTreeSet<EventId>) {
        for (number, group) in self.groups.iter_mut().filter(|(_, group)| !group.ids.is_disjoint(ids)) {
            group.ids.retain(|id| !ids.contains(id));
            self.dirty.insert(*number);
        }
        self.groups.retain(|_, group| !group.is_empty());
    }

    /// When the next group that isn't being tried is due, unix seconds.
    pub fn next_due(&self) -> Option<u64> {
        self.groups.values().filter(|group| !group.retrying).map(|group| group.retry_at).min()
    }

    /// Marks what is due as being tried, and returns it.
    pub fn take_due(&mut self, now: u64) -> Due {
        let mut due = Due::default();
        for group in self.groups.values_mut().filter(|group| !group.retrying && group.retry_at <= now) {
            group.retrying = true;
            due.announcements |= group.announcements;
            due.items.repos.extend(group.items.repos.iter().cloned());
            due.items.root_events.extend(&group.items.root_events);
            due.ids.extend(&group.ids);
        }
        due
    }

    /// A connection is gone: nothing is being tried.
    pub fn stop_retrying(&mut self) {
        self.groups.values_mut().for_each(|group| group.retrying = false);
    }

    /// Makes due what `which` says.
    pub fn make_due(&mut self, which: impl Fn(&FailedGroup) -> bool) {
        for (number, group) in self.groups.iter_mut().filter(|(_, group)| which(group)) {
            group.retry_at = 0;
            group.retrying = false;
            self.dirty.insert(*number);
        }
    }

    /// No group is due later than `latest` (unix seconds): a clock that was set back makes no group wait for longer.
    pub fn clamp(&mut self, latest: u64) {
        for (number, group) in self.groups.iter_mut().filter(|(_, group)| group.retry_at > latest) {
            group.retry_at = latest;
            self.dirty.insert(*number);
        }
    }

    /// The failure that [`FailedItems::reason`] names; `None` where there is none, or the first group has none.
    pub fn first(&self) -> Option<&Failure> {
        self.groups.values().next()?.failures.first()
    }

    /// One line that names a filter and what is missing of it, and counts the rest.
    pub fn reason(&self) -> Option<String> {
        if self.groups.is_empty() {
            return None;
        }
        let count: u64 = self.groups.values().map(|group| group.failure_count).sum();
        let first = match self.first() {
            Some(failure) => failure.line(),
            None => "a batch failed without a reason".to_owned(),
        };
        Some(if count > 1 { format!("{first} (and {} more)", count - 1) } else { first })
    }

    /// Whether some group changed since [`FailedItems::take_dirty`].
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The groups that changed or went since the last call.
    pub fn take_dirty(&mut self) -> BTreeSet<u64> {
        std::mem::take(&mut self.dirty)
    }

    fn is_held(&self, number: u64, now: u64) -> bool {
        self.groups.get(&number).is_some_and(|group| group.retry_at > now)
    }

    fn put(&mut self, number: u64, group: FailedGroup) {
        if group.is_empty() {
            return;
        }
        self.repos.extend(group.items.repos.iter().map(|repo| (repo.clone(), number)));
        self.root_events.extend(group.items.root_events.iter().map(|event| (*event, number)));
        self.groups.insert(number, group);
        self.dirty.insert(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(range: std::ops::Range<u8>) -> PendingItems {
        let root_events = range.map(|n| EventId::from_slice(&[n; 32]).expect("32 bytes")).collect();
        PendingItems { root_events, ..PendingItems::default() }
    }

    fn failure(text: &str) -> Failure {
        Failure {
            filter: "{\"#e\":[]}".to_owned(),
            window: None,
            reason: FailureReason::Timeout,
            text: text.to_owned(),
        }
    }

    #[test]
    fn an_item_is_held_until_it_is_due_and_leaves_when_complete() {
        let mut failed = FailedItems::default();
        failed.add(FailedGroup::new(false, events(0..3), vec![failure("silence")], 100, 1));
        let event = *events(1..2).root_events.first().expect("one");
        assert!(failed.holds_root_event(&event, 99) && !failed.holds_root_event(&event, 100));
        assert_eq!(failed.take_due(99).items.len(), 0);
        assert_eq!(failed.take_due(100).items.len(), 3);
        assert_eq!((failed.next_due(), failed.take_due(100).items.len()), (None, 0));
        assert_eq!(failed.tries(false, &events(1..2)), 1);
        failed.remove(false, &events(0..2));
        assert!(!failed.is_empty());
        failed.remove(false, &events(2..3));
        assert!(failed.is_empty() && failed.is_dirty());
    }

    #[test]
    fn an_item_that_two_records_hold_is_in_the_last_of_them() {
        let group = |range| FailedGroup::new(false, events(range), vec![failure("silence")], 100, 1);
        let mut failed = FailedItems::restore([(7, group(1..2)), (3, group(0..2))]);
        assert_eq!(failed.take_dirty(), BTreeSet::from([3]), "what it lost is written");
        failed.remove(false, &events(0..2));
        assert!(failed.is_empty());
    }

    #[test]
    fn the_reason_names_filter_and_what_is_missing() {
        let mut failed = FailedItems::default();
        assert_eq!(failed.reason(), None);
        failed.add(FailedGroup::new(true, events(0..1), vec![failure("silence"), failure("more")], 100, 1));
        assert_eq!(failed.reason().as_deref(), Some("silence (filter {\"#e\":[]}) (and 1 more)"));
    }

    #[test]
    fn long_words_of_relays_are_cut() {
        let long =
            Failure {
                filter: "ü".repeat(1000), window: None, reason: FailureReason::Timeout, text: "ü".repeat(1000)
            };
        let group = FailedGroup::new(false, events(0..1), vec![long; 20], 0, 1);
        assert_eq!((group.failures.len(), group.failure_count), (8, 20));
        assert!(group.failures.iter().all(|f| f.filter.len() <= 403 && f.text.len() <= 403));
    }
}
