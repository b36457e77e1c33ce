//! What is published while everybody watches.

use std::collections::BTreeSet;

use nostr::event::{Event, EventId};
use sync_core::model::{ConnectionStatus, RepoAddress};

use super::plan::{DOMAIN, Honesty};
use super::shell::Sim;
use crate::world::{EventSpec, keys};

/// Relays of which any number may be listed at once.
const MAX_LISTED: usize = 20;
/// The first number of the probes.
const PROBES: u64 = 1_000_000;

impl Sim {
    /// Publishes something, somewhere.
    pub(super) fn publish(&mut self, number: u64) {
        let at = self.true_unix();
        match self.dice.below(6) {
            0 => self.announce_new(number),
            1 => self.announce_again(),
            2 | 3 => {
                let (relay, event) = self.plan.world.live_issue(number, at);
                self.put_on(&[relay], event);
            }
            _ => self.comment(number),
        }
    }

    /// Puts an event on relays.
    fn put_on(&mut self, relays: &[usize], event: Event) {
        self.tell(|| format!("published on {relays:?}: kind {} {}", event.kind.as_u16(), event.id.to_hex()));
        self.judge.published(event.clone());
        for place in relays {
            self.plan.relays[*place].core.publish(event.clone());
            self.relay_speaks(*place);
        }
    }

    /// A repository that wasn't there before, with an issue.
    fn announce_new(&mut self, number: u64) {
        let listed = self.some_relays();
        let owner = keys(self.plan.world.spec().seed, number % 6);
        let name = format!("new-{number}");
        let announcement = self.announcement(&name, &listed).sign(&owner);
        let address = RepoAddress::new(owner.public_key(), name.as_str());
        // Where nobody looks it won't be found: the first relay is looked at.
        let mut relays = listed.clone();
        relays.push(0);
        relays.sort_unstable();
        relays.dedup();
        self.put_on(&relays, announcement);
        let issue = EventSpec::new(1621)
            .at(self.true_unix())
            .tag(["a", &address.to_string()])
            .content(format!("the first of {name}"))
            .sign(&owner);
        let home = listed[self.dice.below(listed.len())];
        self.put_on(&[home], issue);
    }

    /// A newer version of an announcement, that lists other relays.
    fn announce_again(&mut self) {
        let repos: Vec<RepoAddress> = self.plan.world.repos().cloned().collect();
        let repo = &repos[self.dice.below(repos.len())];
        let seed = self.plan.world.spec().seed;
        let Some(owner) = (0..6).map(|n| keys(seed, n)).find(|keys| keys.public_key() == repo.pubkey) else { return };
        let listed = self.some_relays();
        let announcement = self.announcement(&repo.identifier, &listed);
        // Whom it names stays as it is: an announcement that drops a maintainer doesn't take back what was accepted.
        let before = self.judge.announcements(repo);
        let maintainers = before.iter().flat_map(|event| event.tags.iter()).find(|tag| tag.kind() == "maintainers");
        let announcement = match maintainers {
            Some(tag) => announcement.tag(tag.as_slice()),
            None => announcement,
        };
        let announcement = announcement.sign(&owner);
        let mut relays = listed;
        relays.push(self.dice.below(self.plan.relays.len()));
        relays.sort_unstable();
        relays.dedup();
        self.put_on(&relays, announcement);
    }

    fn announcement(&self, name: &str, listed: &[usize]) -> EventSpec {
        let mut relays = vec!["relays".to_owned(), format!("wss://{DOMAIN}")];
        relays.extend(listed.iter().map(|place| self.plan.relays[*place].url.to_string()));
        EventSpec::new(30617)
            .at(self.true_unix())
            .tag(["d", name])
            .tag(["clone", &format!("https://{DOMAIN}/someone/{name}.git")])
            .tag(relays)
    }

    /// A comment on a root event, where that is.
    fn comment(&mut self, number: u64) {
        let relay = self.dice.below(self.plan.relays.len());
        let events = self.plan.relays[relay].core.events();
        let roots: Vec<&Event> =
            events.iter().filter(|event| matches!(event.kind.as_u16(), 1617 | 1618 | 1621)).collect();
        if roots.is_empty() {
            return;
        }
        let root = roots[self.dice.below(roots.len())].clone();
        let comment = EventSpec::new(1111)
            .at(self.true_unix())
            .tag(["E", &root.id.to_hex()])
            .tag(["K", &root.kind.to_string()])
            .tag(["e", &root.id.to_hex()])
            .content(format!("comment {number}"))
            .sign(&keys(self.plan.world.spec().seed, number % 6));
        self.put_on(&[relay], comment);
    }

    fn some_relays(&mut self) -> Vec<usize> {
        let count = self.plan.relays.len();
        if count > MAX_LISTED {
            // No more than what is heeded of one repository.
            return (0..3).map(|_| self.dice.below(count)).collect::<BTreeSet<_>>().into_iter().collect();
        }
        let mut places: Vec<usize> = (0..count).filter(|_| self.dice.one_in(2)).collect();
        if places.is_empty() {
            places.push(self.dice.below(count));
        }
        places
    }

    /// Publishes an issue on every honest relay that is complete and lists a repository: live sync must bring them.
    pub(super) fn probe(&mut self) -> Vec<EventId> {
        let Some(process) = &self.process else { return Vec::new() };
        let mut probes = Vec::new();
        for (place, plan) in self.plan.relays.iter().enumerate() {
            let life = process.manager.relays().get(&plan.url);
            let complete = life.is_some_and(|life| life.status() == ConnectionStatus::Connected);
            let repos = process.manager.index().needs().iter().filter(|(_, needs)| needs.relays.contains(&plan.url));
            if let Some(repo) = repos.map(|(repo, _)| repo).min()
                && complete
                && plan.honesty == Honesty::Whole
            {
                probes.push((place, repo.clone()));
            }
        }
        let mut ids = Vec::new();
        for (place, repo) in probes {
            let event = EventSpec::new(1621)
                .at(self.true_unix())
                .tag(["a", &repo.to_string()])
                .content(format!("is anybody there, relay {place}?"))
                .sign(&keys(self.plan.world.spec().seed, PROBES));
            ids.push(event.id);
            self.put_on(&[place], event);
        }
        ids
    }

    /// The probes must be here.
    pub(super) fn probed(&mut self, ids: &[EventId]) {
        let accepted = self.store.accepted();
        if let Some(id) = ids.iter().find(|id| !accepted.contains(*id)) {
            self.broke(format!("live sync did not bring {}", self.describe(id)));
        }
        self.done = true;
    }
}
