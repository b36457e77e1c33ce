//! What must hold at every step, and what must be so in the end.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use nostr::event::{Event, EventId};
use sync_core::model::{ConnectionStatus, RelayUrl, RepoAddress, kinds};
use sync_core::store::{EventStore, FeedChange, FeedSeq, LocalSets};
use sync_core::transport::Fault;

use super::backoff::Backoff;
use super::plan::{DOMAIN, Honesty, Plan};
use super::shell::Sim;
use crate::world::{accepted, asked_for};

/// What is remembered to judge by.
pub(super) struct Judge {
    statuses: HashMap<RelayUrl, ConnectionStatus>,
    pub(super) backoff: Backoff,
    feed: FeedSeq,
    /// Every event that was ever published.
    all: Vec<Event>,
}

impl Judge {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            statuses: HashMap::new(),
            backoff: Backoff::new(plan.relays.len(), plan.own),
            feed: 0,
            all: plan.world.events(),
        }
    }

    /// A new process: every relay is disconnected. What it knows of failures is what was persisted.
    pub(super) fn restarted(&mut self, ms: u64, clock: i64) {
        self.statuses.clear();
        self.backoff.restarted(ms, clock);
    }

    /// A relay's status changes.
    pub(super) fn status(
        &mut self,
        relay: &RelayUrl,
        from: ConnectionStatus,
        to: ConnectionStatus,
        reason: &str,
    ) -> Result<(), String> {
        let was = self.statuses.insert(relay.clone(), to).unwrap_or(ConnectionStatus::Disconnected);
        if was != from {
            return Err(format!("{relay} is said to have been {from}, and was {was}"));
        }
        if !from.may_become(to) {
            return Err(format!("{relay}: {from} may not become {to}"));
        }
        if to == ConnectionStatus::ConnectedDegraded && reason.is_empty() {
            return Err(format!("{relay} is degraded without a reason"));
        }
        Ok(())
    }

    /// A connection or an attempt ended; without a fault we ended it.
    pub(super) fn ended(&mut self, place: usize, fault: Option<&Fault>, ms: u64) {
        match fault {
            Some(fault) => self.backoff.failed(place, fault.kind, ms),
            None => self.backoff.closed(place, ms),
        }
    }

    /// The versions of an announcement, in the order of their publishing.
    pub(super) fn announcements(&self, repo: &RepoAddress) -> Vec<&Event> {
        let of = |event: &&Event| {
            event.kind.as_u16() == kinds::ANNOUNCEMENT
                && event.pubkey == repo.pubkey
                && event.tags.identifier().as_deref() == Some(&*repo.identifier)
        };
        self.all.iter().filter(of).collect()
    }

    pub(super) fn published(&mut self, event: Event) {
        self.all.push(event);
    }
}

impl Sim {
    /// Nothing accepted is lost: what left the accepted set was superseded, deleted, expired or withdrawn.
    pub(super) fn watch_the_accepted(&mut self) {
        let head = self.store.feed_head().unwrap_or(self.judge.feed);
        if head == self.judge.feed {
            return;
        }
        let page = self.store.feed(self.judge.feed, usize::MAX).unwrap_or_default();
        self.judge.feed = head;
        let removed = page.entries.iter().filter_map(|entry| match &entry.change {
            FeedChange::Removed { id, .. } => Some(*id),
            FeedChange::Accepted(_) | FeedChange::Wanted { .. } => None,
        });
        let removed: BTreeSet<EventId> = removed.collect();
        if removed.is_empty() {
            return;
        }
        let held = self.store.accepted();
        let should: BTreeSet<EventId> =
            accepted(&self.judge.all, DOMAIN, self.unix()).iter().map(|event| event.id).collect();
        if let Some(lost) = removed.iter().find(|id| should.contains(*id) && !held.contains(*id)) {
            self.broke(format!("{} was accepted, should be still, and is gone", self.describe(lost)));
        }
    }

    /// Whether everything is as it must be when all troubles are over; else what is not.
    pub(super) fn final_state(&self) -> Result<(), String> {
        let Some(process) = &self.process else { return Err("the process is not there".to_owned()) };
        let report = process.manager.status(self.now());
        let mut trusted = BTreeSet::new();
        for (place, plan) in self.plan.relays.iter().enumerate() {
            let wanted = self.plan.bootstrap.contains(&place) || process.manager.index().lists(&plan.url);
            let told = report.relays.iter().find(|relay| relay.url == plan.url);
            let Some(told) = told.filter(|_| wanted) else {
                if wanted {
                    return Err(format!("{} is wanted and unknown", plan.url));
                }
                continue;
            };
            let settled = match plan.honesty {
                Honesty::Whole => told.status == ConnectionStatus::Connected,
                Honesty::Named | Honesty::Lossy => {
                    told.status == ConnectionStatus::Connected
                        || (told.status == ConnectionStatus::ConnectedDegraded && !told.reason.is_empty())
                }
            };
            if !settled {
                return Err(format!("{} ({:?}) is {}: {}", plan.url, plan.honesty, told.status, told.reason));
            }
            if told.status == ConnectionStatus::Connected && plan.honesty != Honesty::Lossy {
                trusted.insert(place);
            }
        }
        self.compare(&trusted)
    }

    /// Compares the store with what the reference accepts of the relays that claim to be complete.
    fn compare(&self, trusted: &BTreeSet<usize>) -> Result<(), String> {
        let now = self.unix();
        let held: BTreeMap<usize, Vec<Event>> = trusted
            .iter()
            .map(|place| {
                let plan = &self.plan.relays[*place];
                let mut events = plan.core.events();
                events.retain(|event| !plan.lasting.withheld.contains(&event.id));
                (*place, events)
            })
            .collect();
        let urls: Vec<RelayUrl> = self.plan.relays.iter().map(|relay| relay.url.clone()).collect();
        let stored = self.store.events();
        let is = self.store.accepted();
        let accepted_events: Vec<Event> = stored.iter().filter(|event| is.contains(&event.id)).cloned().collect();
        // Nothing that is asked for may change what is accepted. What is known from elsewhere, or from earlier, counts
        // too, kept out or not: it may supersede, delete or relate.
        let mut all = asked_for(&urls, &held, &self.plan.bootstrap, &accepted_events);
        let ids: Vec<EventId> = self.judge.all.iter().map(|event| event.id).collect();
        let known = self.store.known(&ids).unwrap_or_default();
        all.extend(
            self.judge.all.iter().zip(known).filter(|(_, known)| known.is_some()).map(|(event, _)| event.clone()),
        );
        all.sort();
        all.dedup_by_key(|event| event.id);
        let should: BTreeSet<EventId> = accepted(&all, DOMAIN, now).iter().map(|event| event.id).collect();
        if let Some(missing) = should.difference(&is).next() {
            let count = should.difference(&is).count();
            return Err(format!("{count} of {} events are missing: {}", should.len(), self.describe(missing)));
        }
        if let Some(extra) = is.difference(&should).next() {
            return Err(format!("{} is accepted and should not be", self.describe(extra)));
        }
        self.own_relay_is_whole(&is)?;
        self.is_up_to_date(&is, &held)
    }

    /// No accepted announcement is older than one that is served.
    fn is_up_to_date(&self, is: &BTreeSet<EventId>, held: &BTreeMap<usize, Vec<Event>>) -> Result<(), String> {
        let announces = |event: &&Event| event.kind.as_u16() == kinds::ANNOUNCEMENT;
        let slot = |event: &Event| (event.pubkey, event.tags.identifier());
        let mut newest: HashMap<_, u64> = HashMap::new();
        for event in held.values().flatten().filter(announces) {
            let newest = newest.entry(slot(event)).or_default();
            *newest = event.created_at.as_secs().max(*newest);
        }
        for event in self.store.events().iter().filter(|event| is.contains(&event.id)).filter(announces) {
            if newest.get(&slot(event)).is_some_and(|newest| *newest > event.created_at.as_secs()) {
                return Err(format!("{} is outdated", self.describe(&event.id)));
            }
        }
        Ok(())
    }

    /// An event, for people.
    pub(super) fn describe(&self, id: &EventId) -> String {
        let Some(event) = self.judge.all.iter().find(|event| event.id == *id) else { return id.to_hex() };
        let places: Vec<String> = self
            .plan
            .relays
            .iter()
            .enumerate()
            .filter(|(_, relay)| relay.core.has(id))
            .map(|(place, relay)| format!("relay{place} ({:?})", relay.honesty))
            .collect();
        format!("{} (kind {}, {}; held by {})", id.to_hex(), event.kind.as_u16(), event.created_at, places.join(", "))
    }
}
