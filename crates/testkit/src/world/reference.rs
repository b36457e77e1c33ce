//! What a service must accept, computed the simple way: SPEC §3 read aloud, over all events at once. Shares no code
//! with the product's admission, for it is what that is compared with.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use nostr::event::{Event, EventId};
use nostr::key::PublicKey;
use sync_core::model::RelayUrl;

/// The events of `events` that a service with this domain accepts at `now` (unix seconds), with nothing on its lists:
/// newest first, lowest id first on ties. Superseded, deleted and expired events are left out.
pub fn accepted(events: &[Event], domain: &str, now: u64) -> Vec<Event> {
    let living = living(events, now);
    let mut accepted: BTreeMap<EventId, &Event> = BTreeMap::new();
    loop {
        let known = Known::of(&accepted);
        let more: Vec<_> = living
            .iter()
            .filter(|event| !accepted.contains_key(&event.id) && known.admits(event, domain))
            .copied()
            .collect();
        if more.is_empty() {
            break;
        }
        accepted.extend(more.into_iter().map(|event| (event.id, event)));
    }
    let mut accepted: Vec<Event> = accepted.into_values().cloned().collect();
    accepted.sort();
    accepted
}

/// What is accepted of the events that relays hold (both by place) where discovery starts at `bootstrap`, follows the
/// `relays` tags of accepted announcements, and asks each relay for the layers of SPEC §4.
pub fn reachable(
    relays: &[RelayUrl],
    held: &BTreeMap<usize, Vec<Event>>,
    bootstrap: &[usize],
    domain: &str,
    now: u64,
) -> Vec<Event> {
    let mut fetched: BTreeMap<EventId, Event> = BTreeMap::new();
    loop {
        let all: Vec<Event> = fetched.values().cloned().collect();
        let accepted = accepted(&all, domain, now);
        let before = fetched.len();
        fetched.extend(asked_for(relays, held, bootstrap, &accepted).into_iter().map(|event| (event.id, event)));
        if fetched.len() == before {
            return accepted;
        }
    }
}

/// What relays (by place) serve to a service that has accepted these events, and asks each relay for the layers of
/// SPEC §4 as far as the accepted announcements list it; relays in `bootstrap` count as listed by all of them.
pub fn asked_for(
    relays: &[RelayUrl],
    held: &BTreeMap<usize, Vec<Event>>,
    bootstrap: &[usize],
    accepted: &[Event],
) -> Vec<Event> {
    let mut needs: BTreeMap<usize, Needs> = bootstrap.iter().map(|relay| (*relay, Needs::default())).collect();
    let mut roots: HashMap<&str, BTreeSet<String>> = HashMap::new();
    for root in accepted.iter().filter(|event| matches!(event.kind.as_u16(), 1617 | 1618 | 1621)) {
        for address in tagged(root, &["a"]) {
            roots.entry(address).or_default().insert(root.id.to_hex());
        }
    }
    for announcement in accepted.iter().filter(|event| event.kind.as_u16() == 30617) {
        let address = address(announcement);
        let listed: Vec<RelayUrl> =
            values(announcement, "relays").filter_map(|url| RelayUrl::parse(url).ok()).collect();
        let listed = listed.iter().filter_map(|url| relays.iter().position(|relay| relay == url));
        for relay in listed.chain(bootstrap.iter().copied()) {
            let needs = needs.entry(relay).or_default();
            needs.addresses.insert(address.clone());
            needs.identifiers.insert(identifier(announcement).to_owned());
            needs.roots.extend(roots.get(&*address).into_iter().flatten().cloned());
        }
    }
    let served = needs.iter().flat_map(|(relay, needs)| {
        held.get(relay).into_iter().flatten().filter(move |event| needs.cover(event)).cloned()
    });
    served.collect()
}

/// What one relay is asked for, layer 1 aside.
#[derive(Default)]
struct Needs {
    addresses: BTreeSet<String>,
    identifiers: BTreeSet<String>,
    roots: BTreeSet<String>,
}

impl Needs {
    fn cover(&self, event: &Event) -> bool {
        match event.kind.as_u16() {
            30617 | 10317 => true,
            30618 if self.identifiers.contains(identifier(event)) => true,
            _ => {
                tagged(event, &["a", "A", "q"]).any(|value| self.addresses.contains(value))
                    || tagged(event, &["e", "E", "q"]).any(|value| self.roots.contains(value))
            }
        }
    }
}

/// What the accepted events say about others.
struct Known {
    ids: BTreeSet<String>,
    addresses: BTreeSet<String>,
    /// Authors of announcements and whom these name, by identifier.
    maintainers: HashMap<String, BTreeSet<PublicKey>>,
    named: BTreeSet<String>,
}

impl Known {
    fn of(accepted: &BTreeMap<EventId, &Event>) -> Self {
        let mut known = Self {
            ids: accepted.keys().map(EventId::to_hex).collect(),
            addresses: BTreeSet::new(),
            maintainers: HashMap::new(),
            named: BTreeSet::new(),
        };
        for event in accepted.values() {
            known.named.extend(tagged(event, &["e", "E", "q"]).map(str::to_owned));
            if event.kind.as_u16() == 30617 {
                known.addresses.insert(address(event));
                let maintainers = known.maintainers.entry(identifier(event).to_owned()).or_default();
                maintainers.insert(event.pubkey);
                maintainers.extend(values(event, "maintainers").filter_map(|key| PublicKey::from_hex(key).ok()));
            }
        }
        known
    }

    fn admits(&self, event: &Event, domain: &str) -> bool {
        let is_maintainer = || self.maintainers.get(identifier(event)).is_some_and(|keys| keys.contains(&event.pubkey));
        let lists = |name| values(event, name).any(|url| is_under(url, domain));
        match event.kind.as_u16() {
            30617 => (lists("relays") && lists("clone")) || is_maintainer(),
            30618 => is_maintainer(),
            10317 => lists("g"),
            _ => {
                tagged(event, &["a", "A", "q"]).any(|value| self.addresses.contains(value))
                    || tagged(event, &["e", "E", "q"]).any(|value| self.ids.contains(value))
                    || self.named.contains(&event.id.to_hex())
            }
        }
    }
}

/// What is neither superseded nor deleted nor expired nor ephemeral; each event once.
fn living(events: &[Event], now: u64) -> Vec<&Event> {
    let mut slots: HashMap<(u16, PublicKey, &str), &Event> = HashMap::new();
    let mut rest: BTreeMap<EventId, &Event> = BTreeMap::new();
    for event in events {
        let kind = event.kind.as_u16();
        match kind {
            20_000..=29_999 => {}
            0 | 3 | 10_000..=19_999 | 30_000..=39_999 => {
                let identifier = if kind >= 30_000 { identifier(event) } else { "" };
                let newest = slots.entry((kind, event.pubkey, identifier)).or_insert(event);
                if (event.created_at, std::cmp::Reverse(event.id)) > (newest.created_at, std::cmp::Reverse(newest.id)) {
                    *newest = event;
                }
            }
            _ => drop(rest.insert(event.id, event)),
        }
    }
    let deletions: Vec<&Event> = events.iter().filter(|event| event.kind.as_u16() == 5).collect();
    let is_deleted = |event: &Event| {
        let address = format!("{}:{}:{}", event.kind.as_u16(), event.pubkey.to_hex(), identifier(event));
        event.kind.as_u16() != 5
            && deletions.iter().filter(|deletion| deletion.pubkey == event.pubkey).any(|deletion| {
                tagged(deletion, &["e"]).any(|id| id == event.id.to_hex())
                    || (deletion.created_at >= event.created_at && tagged(deletion, &["a"]).any(|a| a == address))
            })
    };
    let has_expired = |event: &Event| {
        tagged(event, &["expiration"]).next().and_then(|time| time.parse().ok()).is_some_and(|time: u64| time < now)
    };
    let all = slots.into_values().chain(rest.into_values());
    all.filter(|event| !is_deleted(event) && !has_expired(event)).collect()
}

/// Whether the URL's host and port are the domain's, or it lies under the domain's path.
fn is_under(url: &str, domain: &str) -> bool {
    let plain = |url: &str| {
        let url = url.to_ascii_lowercase();
        let (scheme, rest) = url.split_once("://").unwrap_or(("", &url));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let port = match scheme {
            "wss" | "https" => ":443",
            "ws" | "http" => ":80",
            _ => "",
        };
        let authority = authority.strip_suffix(port).unwrap_or(authority).to_owned();
        (authority, path.trim_end_matches('/').to_owned())
    };
    let (authority, path) = plain(url);
    let (own_authority, own_path) = plain(domain);
    authority == own_authority && (own_path.is_empty() || path == own_path || path.starts_with(&format!("{own_path}/")))
}

fn address(announcement: &Event) -> String {
    format!("30617:{}:{}", announcement.pubkey.to_hex(), identifier(announcement))
}

fn identifier(event: &Event) -> &str {
    values(event, "d").next().unwrap_or_default()
}

/// All values of all tags with that name.
fn values<'a>(event: &'a Event, name: &'a str) -> impl Iterator<Item = &'a str> {
    event.tags.iter().filter(move |tag| tag.kind() == name).flat_map(|tag| &tag.as_slice()[1..]).map(String::as_str)
}

/// The first values of the tags with one of these names.
fn tagged<'a>(event: &'a Event, names: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    event.tags.iter().filter(|tag| names.contains(&tag.kind())).filter_map(|tag| tag.content())
}
