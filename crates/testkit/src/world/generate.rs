//! Makes the events of a world, group by group, and puts each on its relays.

use std::collections::BTreeSet;

use nostr::event::Event;
use nostr::key::{Keys, PublicKey};
use nostr::nips::nip19::ToBech32;
use sync_core::model::{RelayUrl, RepoAddress};
use sync_core::time::Jitter;

use super::event::{EventSpec, keys};
use super::{Placed, Repo, World, WorldSpec};

/// The roles of the people of one repository, as steps from its owner in the row of authors.
const OWNER: usize = 0;
const MAINTAINER: usize = 1;
const MAINTAINERS_MAINTAINER: usize = 2;
const MAINTAINER_WITHOUT_ANNOUNCEMENT: usize = 3;
const IMPOSTOR: usize = 4;
const MIN_AUTHORS: u64 = 6;

pub(super) fn generate(spec: WorldSpec, relays: &[RelayUrl], domain: &str) -> World {
    let usable = relays.len().saturating_sub(spec.trap_relays);
    assert!(usable > 0, "a world needs a relay that isn't a trap; {} of {} are", spec.trap_relays, relays.len());
    let mut maker = Maker {
        people: (0..MIN_AUTHORS.max(spec.authors as u64)).map(|number| keys(spec.seed, number)).collect(),
        numbers: Jitter::new(spec.seed),
        relays,
        domain,
        usable,
        events: Vec::new(),
        repos: Vec::new(),
        spec: &spec,
    };
    (0..spec.repos).for_each(|place| maker.repository(place));
    (0..spec.withdrawn).for_each(|number| maker.withdrawn(number));
    (0..spec.unlisted).for_each(|number| maker.unlisted(number));
    (0..spec.orphans).for_each(|number| maker.orphan(number));
    (0..4).for_each(|number| maker.grasp_list(number));
    if spec.repos > 0 {
        (0..spec.deletions).for_each(|number| maker.deletion(number));
        (0..spec.expiring).for_each(|number| maker.expiring(number));
        (0..spec.unreachable).for_each(|number| maker.unreachable(number));
    }
    let Maker { events, repos, .. } = maker;
    World { relays: relays.to_vec(), domain: domain.to_owned(), events, repos, spec }
}

struct Maker<'a> {
    spec: &'a WorldSpec,
    relays: &'a [RelayUrl],
    domain: &'a str,
    /// Relays that aren't traps: the first ones.
    usable: usize,
    people: Vec<Keys>,
    numbers: Jitter,
    events: Vec<Placed>,
    repos: Vec<Repo>,
}

/// The part of the world's time, in percent, in which something happens.
type Period = (u64, u64);
const EARLY: Period = (0, 5);
const FOUNDING: Period = (5, 15);
const WORK: Period = (15, 50);
const TALK: Period = (50, 90);
const LATE: Period = (90, 99);

impl Maker<'_> {
    /// A repository that lists the service, with all that belongs to it.
    fn repository(&mut self, place: usize) {
        let home = place % self.usable;
        let parent = self.parent(home);
        let listed: Vec<usize> = BTreeSet::from([home, parent]).into_iter().collect();
        // An identifier may hold colons, so some do.
        let name = if place % 5 == 3 { format!("repo:{place}:x") } else { format!("repo-{place}") };
        let owner = self.person(place + OWNER);
        let has_chain = place < self.spec.chains;
        let maintainers: Vec<usize> =
            if has_chain { vec![place + OWNER, place + MAINTAINER] } else { vec![place + OWNER] };

        if place < self.spec.superseded {
            // By turns the older version lists the service, and leads to the newer, or doesn't list it.
            let service = place.is_multiple_of(2).then_some(self.domain);
            let older = self.announcement(place, &name, service, &listed, &maintainers).content("older");
            self.put(older, EARLY, place, [if service.is_some() { parent } else { home }]);
            let newer = self.announcement(place, &name, Some(self.domain), &listed, &maintainers);
            self.put(newer, FOUNDING, place, [if service.is_some() { home } else { parent }]);
        } else {
            let announcement = self.announcement(place, &name, Some(self.domain), &listed, &maintainers);
            self.put(announcement, FOUNDING, place, [home, parent]);
        }
        self.state(place + OWNER, &name, &listed);
        let address = RepoAddress::new(owner, name.as_str());
        self.repos.push(Repo { address: address.clone(), relays: listed.clone() });
        if has_chain {
            self.chain(place, &name, &listed);
        }
        for number in 0..self.spec.roots_per_repo {
            self.thread(&address, number, &listed);
        }
    }

    /// The maintainers' own versions of a repository, their states, and an impostor's.
    fn chain(&mut self, place: usize, name: &str, listed: &[usize]) {
        let by_maintainer =
            self.announcement(place + MAINTAINER, name, None, listed, &[place + MAINTAINERS_MAINTAINER]);
        self.put(by_maintainer, FOUNDING, place + MAINTAINER, [listed[0]]);
        let named_last = [place + MAINTAINER_WITHOUT_ANNOUNCEMENT];
        let by_second = self.announcement(place + MAINTAINERS_MAINTAINER, name, None, listed, &named_last);
        self.put(by_second, FOUNDING, place + MAINTAINERS_MAINTAINER, [listed[listed.len() - 1]]);
        let by_impostor = self.announcement(place + IMPOSTOR, name, None, listed, &[place + OWNER]);
        self.put(by_impostor, FOUNDING, place + IMPOSTOR, listed.iter().copied());
        for author in [MAINTAINER, MAINTAINERS_MAINTAINER, MAINTAINER_WITHOUT_ANNOUNCEMENT, IMPOSTOR] {
            self.state(place + author, name, listed);
        }
        for author in [MAINTAINERS_MAINTAINER, IMPOSTOR] {
            let address = RepoAddress::new(self.person(place + author), name);
            let issue = self.root(1621, &address, "filed with another maintainer");
            let relay = self.one_of(listed);
            self.put(issue, WORK, place + 5, [relay]);
        }
    }

    /// A repository whose newest announcement no longer lists the service. Nothing hangs on it, so that what becomes
    /// of it doesn't depend on the order in which its versions are seen.
    fn withdrawn(&mut self, number: usize) {
        let name = format!("withdrawn-{number}");
        let older = self.announcement(number, &name, Some(self.domain), &[0], &[]);
        self.put(older, EARLY, number, [0]);
        let newer = self.announcement(number, &name, None, &[0], &[]);
        self.put(newer, LATE, number, [self.usable - 1]);
    }

    /// A repository that doesn't list the service, or only seems to.
    fn unlisted(&mut self, number: usize) {
        let name = format!("elsewhere-{number}");
        let relay = self.usable + number % (self.relays.len() - self.usable).max(1);
        let relay = if relay < self.relays.len() { relay } else { number % self.usable };
        let (elsewhere, own) = ("git.elsewhere.example".to_owned(), self.domain.to_owned());
        let (in_relays, in_clone) = match number % 5 {
            0 => (elsewhere.clone(), elsewhere),
            1 => (own, elsewhere),
            2 => (elsewhere, own),
            3 => (format!("evil-{own}"), format!("evil-{own}")),
            _ => (format!("{own}.elsewhere.example"), format!("elsewhere.example/{own}")),
        };
        let relay_url = self.relays[relay].to_string();
        let announcement = EventSpec::new(30617)
            .tag(["d", &name])
            .tag(["clone", &format!("https://{in_clone}/someone/{name}.git")])
            .tag(["relays", &format!("wss://{in_relays}"), &relay_url]);
        self.put(announcement, FOUNDING, number, [0, relay]);
        self.state(number, &name, &[relay]);
        let address = RepoAddress::new(self.person(number), name.as_str());
        let issue = self.root(1621, &address, "out of our sight");
        let issue = self.put(issue, WORK, number + 1, [relay]);
        let comment = comment_on(&issue, &issue);
        self.put(comment, TALK, number + 2, [relay]);
    }

    /// A root event with everything that is said to it.
    fn thread(&mut self, address: &RepoAddress, number: usize, listed: &[usize]) {
        let kind = [1621, 1617, 1618][number % 3];
        let mut root = self.root(kind, address, &format!("number {number}"));
        if kind == 1617 {
            root = root.tag(["t", "root"]).tag(["commit", &self.hex40()]);
        }
        let (author, relays) = (self.anybody(), self.some_of(listed));
        let root = self.put(root, WORK, author, relays);
        if kind == 1618 {
            let update = EventSpec::new(1619)
                .tag(["a", &address.to_string()])
                .tag(["E", &root.id.to_hex()])
                .tag(["P", &root.pubkey.to_hex()])
                .tag(["c", &self.hex40()]);
            let relays = self.some_of(listed);
            self.put(update, TALK, author, relays);
        }
        let mut last_comment = root.clone();
        for reply in 0..self.spec.replies_per_root {
            let to_root = |kind| {
                let id = root.id.to_hex();
                EventSpec::new(kind).tag(["e", id.as_str(), "", "root"]).tag(["p", root.pubkey.to_hex().as_str()])
            };
            let status = 1630 + u16::try_from(number % 4).unwrap_or_default();
            let spec = match reply % 6 {
                0 | 3 => comment_on(&root, &last_comment).content(format!("comment {reply}")),
                1 => to_root(status).tag(["a", address.to_string().as_str()]),
                2 => to_root(7).tag(["k", kind.to_string().as_str()]).content("+"),
                4 => to_root(1622).content("in the old way"),
                _ => to_root(1).content("a note"),
            };
            let (author, relays) = (self.anybody(), self.some_of(listed));
            let made = self.put(spec, TALK, author, relays);
            if made.kind.as_u16() == 1111 {
                last_comment = made;
            }
        }
    }

    /// What is related to nothing that is accepted.
    fn orphan(&mut self, number: usize) {
        let nowhere = RepoAddress::new(self.person(number), format!("nowhere-{number}"));
        let unknown = format!("{}{}", self.hex40(), &self.hex40()[..24]);
        let spec = match number % 4 {
            0 => self.root(1621, &nowhere, "about nothing"),
            1 => EventSpec::new(1111).tag(["E", &unknown]).tag(["e", &unknown]).content("to nobody"),
            2 => EventSpec::new(1).content("good morning"),
            _ => EventSpec::new(30618).tag(["d", &*nowhere.identifier]),
        };
        let relay = number % self.usable;
        self.put(spec, TALK, number + 1, [relay]);
    }

    fn grasp_list(&mut self, number: usize) {
        let list = |service: &str| EventSpec::new(10317).tag(["g", &format!("wss://{service}")]);
        let relay = number % self.usable;
        let (service, elsewhere) = (self.domain, "git.elsewhere.example");
        let (older, newer) = if number.is_multiple_of(2) { (elsewhere, service) } else { (service, elsewhere) };
        self.put(list(older), EARLY, number, [0]);
        self.put(list(newer).tag(["g", "wss://another.example"]), LATE, number, [relay]);
    }

    /// Deletions tag an accepted repository of another author, so that they are accepted in whatever order they come.
    fn deletion(&mut self, number: usize) {
        let repo = self.repos[number % self.repos.len()].clone();
        let (home, owner) = (repo.relays[0], self.place_of(&repo.address.pubkey));
        let (author, other) = (owner + 1, owner + 2);
        let delete = |target: &Event| {
            let deletion = EventSpec::new(5).tag(["e", &target.id.to_hex()]).tag(["k", &target.kind.to_string()]);
            deletion.tag(["a", &repo.address.to_string()])
        };
        let issue = |maker: &mut Self, subject| {
            let root = maker.root(1621, &repo.address, subject);
            maker.put(root, WORK, author, [home])
        };
        match number % 4 {
            0 => {
                let root = issue(self, "discussed");
                let comment = self.put(comment_on(&root, &root).content("regretted"), TALK, author, [home]);
                self.put(delete(&comment), LATE, author, repo.relays);
            }
            1 => {
                let root = issue(self, "mistaken");
                self.put(delete(&root), LATE, author, [home]);
            }
            2 => {
                let root = issue(self, "unwelcome, and not theirs to delete");
                self.put(delete(&root), LATE, other, [home]);
            }
            _ => {
                let name = format!("deleted-{number}");
                let announcement = self.announcement(author, &name, Some(self.domain), &[home], &[]);
                let announcement = self.put(announcement, FOUNDING, author, [0, home]);
                let address = RepoAddress::new(announcement.pubkey, name.as_str());
                let deletion = EventSpec::new(5).tag(["a", &address.to_string()]);
                self.put(deletion.tag(["a", &repo.address.to_string()]), LATE, author, [home]);
            }
        }
    }

    fn expiring(&mut self, number: usize) {
        const YEAR_2100: u64 = 4_102_444_800;
        let repo = self.repos[number % self.repos.len()].clone();
        let time = if number.is_multiple_of(2) { self.spec.end().saturating_sub(1) } else { YEAR_2100 };
        let comment = EventSpec::new(1111)
            .tag(["A", &repo.address.to_string()])
            .tag(["K", "30617"])
            .tag(["expiration", &time.to_string()])
            .content("for a while");
        let author = self.anybody();
        self.put(comment, TALK, author, repo.relays);
    }

    /// A note that only an accepted comment names, and a reaction to that comment which doesn't name the root.
    fn unreachable(&mut self, number: usize) {
        let repo = self.repos[number % self.repos.len()].clone();
        let relay = repo.relays[0];
        let note = self.put(EventSpec::new(1).content(format!("quoted {number}")), WORK, number, [relay]);
        let comment = EventSpec::new(1111)
            .tag(["A", &repo.address.to_string()])
            .tag(["q", &note.id.to_hex()])
            .content("see there");
        let comment = self.put(comment, TALK, number + 1, [relay]);
        let reaction = EventSpec::new(7).tag(["e", &comment.id.to_hex()]).content("+");
        self.put(reaction, LATE, number + 2, [relay]);
    }

    fn announcement(
        &self,
        author: usize,
        name: &str,
        service: Option<&str>,
        listed: &[usize],
        maintainers: &[usize],
    ) -> EventSpec {
        let host = service.unwrap_or("git.elsewhere.example");
        let Ok(npub) = self.person(author).to_bech32();
        // Relays that don't exist are listed only by what is never accepted: nobody needs to try them.
        let mut relays = vec!["relays".to_owned()];
        relays.extend(service.map(|domain| format!("wss://{domain}")));
        relays.extend(listed.iter().map(|relay| self.relays[*relay].to_string()));
        let spec = EventSpec::new(30617)
            .tag(["d", name])
            .tag(["name", name])
            .tag(["clone", &format!("https://{host}/{npub}/{name}.git")])
            .tag(relays);
        if maintainers.is_empty() {
            return spec;
        }
        let names = maintainers.iter().map(|maintainer| self.person(*maintainer).to_hex());
        spec.tag(std::iter::once("maintainers".to_owned()).chain(names))
    }

    fn state(&mut self, author: usize, name: &str, listed: &[usize]) {
        let state = EventSpec::new(30618)
            .tag(["d", name])
            .tag(["refs/heads/main", &self.hex40()])
            .tag(["HEAD", "ref: refs/heads/main"]);
        let relay = self.one_of(listed);
        self.put(state, WORK, author, [relay]);
    }

    fn root(&self, kind: u16, address: &RepoAddress, subject: &str) -> EventSpec {
        EventSpec::new(kind)
            .tag(["a", &address.to_string()])
            .tag(["p", &address.pubkey.to_hex()])
            .tag(["subject", subject])
            .content(format!("{subject}, at length"))
    }

    /// Signs an event of this period and puts it on relays.
    fn put(
        &mut self,
        spec: EventSpec,
        period: Period,
        author: usize,
        relays: impl IntoIterator<Item = usize>,
    ) -> Event {
        let at = |percent| self.spec.start + self.spec.span.saturating_mul(percent) / 100;
        let created_at = self.numbers.between(at(period.0), at(period.1).saturating_sub(1));
        let event = spec.at(created_at).sign(&self.people[author % self.people.len()]);
        self.events.push(Placed { event: event.clone(), relays: relays.into_iter().collect() });
        event
    }

    /// The relay that holds the announcements which lead to `relay`: one hop nearer.
    fn parent(&self, relay: usize) -> usize {
        match relay.checked_sub(1) {
            Some(before) if before % self.spec.hops.max(1) != 0 => before,
            _ => 0,
        }
    }

    fn person(&self, place: usize) -> PublicKey {
        self.people[place % self.people.len()].public_key()
    }

    fn place_of(&self, person: &PublicKey) -> usize {
        self.people.iter().position(|keys| keys.public_key() == *person).unwrap_or_default()
    }

    fn anybody(&mut self) -> usize {
        self.below(self.people.len())
    }

    fn one_of(&mut self, listed: &[usize]) -> usize {
        listed[self.below(listed.len())]
    }

    /// All of them for every third call or so, else one.
    fn some_of(&mut self, listed: &[usize]) -> Vec<usize> {
        if self.below(3) == 0 { listed.to_vec() } else { vec![self.one_of(listed)] }
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.numbers.between(0, end as u64 - 1)).unwrap_or_default()
    }

    fn hex40(&mut self) -> String {
        let (high, low) = (self.numbers.next_u64(), self.numbers.next_u64());
        format!("{high:016x}{low:016x}{:08x}", self.numbers.next_u64() >> 32)
    }
}

/// A comment (NIP-22) in the thread of `root`, answering `parent`.
fn comment_on(root: &Event, parent: &Event) -> EventSpec {
    EventSpec::new(1111)
        .tag(["E", &root.id.to_hex()])
        .tag(["K", &root.kind.to_string()])
        .tag(["P", &root.pubkey.to_hex()])
        .tag(["e", &parent.id.to_hex()])
        .tag(["k", &parent.kind.to_string()])
        .tag(["p", &parent.pubkey.to_hex()])
}
