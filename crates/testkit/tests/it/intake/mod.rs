//! What the intake decides, seen from outside: outcomes, the accepted feed, the rejected index.

mod announcements;
mod deletions;
mod import;
mod order;
mod own;
mod real;
mod related;
mod time;
mod versions;
mod wanted;

use std::collections::BTreeSet;

use nostr::event::{Event, EventId, Kind, Signature, Tag, Tags};
use nostr::key::PublicKey;
use nostr::types::Timestamp;
use sync_core::admission::{AdmissionConfig, AdmissionPolicy, DeferReason, ListEntry, RejectReason};
use sync_core::intake::IntakeConfig;
use sync_core::model::{RelayUrl, RepoAddress, kinds};
use sync_core::store::{EventStore, FeedChange, IntakeOutcome};
use testkit::store::MemoryStore;

/// The time of every test that doesn't say otherwise.
const NOW: u64 = 1_700_000_000;

const ORPHAN: IntakeOutcome = IntakeOutcome::Deferred(DeferReason::Orphan);
const NOT_YET: IntakeOutcome = IntakeOutcome::Deferred(DeferReason::MaintainerNotYetValid);
const LISTS: [[&str; 2]; 2] = [["relays", "wss://git.example.com"], ["clone", "https://git.example.com/npub1x/r.git"]];

fn rejected(reason: RejectReason) -> IntakeOutcome {
    IntakeOutcome::Rejected(reason)
}

fn author(n: u8) -> PublicKey {
    PublicKey::from_byte_array([n; 32])
}

fn relay(n: usize) -> RelayUrl {
    RelayUrl::parse(&format!("wss://relay{n}.example.net")).expect("a relay")
}

/// An event with a real id and a signature that nobody checks; `at` is relative to [`NOW`].
fn event<T: AsRef<str>>(by: u8, at: i64, kind: u16, tags: impl IntoIterator<Item = Vec<T>>) -> Event {
    let tags = tags.into_iter().map(|tag| Tag::parse(tag.iter().map(AsRef::as_ref)).expect("not empty"));
    let tags = Tags::from_list(tags.collect());
    let (author, kind) = (author(by), Kind::from(kind));
    let created_at = Timestamp::from_secs(NOW.checked_add_signed(at).expect("in range"));
    let id = EventId::compute(&author, &created_at, &kind, &tags, "");
    Event::new(id, author, created_at, kind, tags, "", Signature::from_byte_array([0; 64]))
}

/// An announcement that lists the service or not, and names `maintainers`.
fn announcement(by: u8, at: i64, identifier: &str, lists: bool, maintainers: &[u8]) -> Event {
    let mut tags = vec![vec!["d".to_owned(), identifier.to_owned()]];
    if lists {
        tags.extend(LISTS.map(|tag| tag.map(str::to_owned).to_vec()));
    }
    if !maintainers.is_empty() {
        let keys = maintainers.iter().map(|n| author(*n).to_hex());
        tags.push(std::iter::once("maintainers".to_owned()).chain(keys).collect());
    }
    event(by, at, kinds::ANNOUNCEMENT, tags)
}

fn state(by: u8, at: i64, identifier: &str) -> Event {
    event(by, at, kinds::STATE, [vec!["d", identifier]])
}

/// An issue of a repository.
fn issue(by: u8, at: i64, repo: &RepoAddress) -> Event {
    event(by, at, kinds::ISSUE, [vec!["a".to_owned(), repo.to_string()]])
}

/// A comment that tags an event by `name`.
fn tagging(by: u8, at: i64, name: &str, target: &Event) -> Event {
    event(by, at, 1111, [vec![name.to_owned(), target.id.to_hex()]])
}

fn deletion(by: u8, at: i64, targets: &[&Event]) -> Event {
    event(by, at, kinds::DELETION, targets.iter().map(|target| vec!["e".to_owned(), target.id.to_hex()]))
}

fn deletion_of_address(by: u8, at: i64, kind: u16, owner: u8, identifier: &str) -> Event {
    event(by, at, kinds::DELETION, [vec!["a".to_owned(), format!("{kind}:{}:{identifier}", author(owner))]])
}

fn repo(by: u8, identifier: &str) -> RepoAddress {
    RepoAddress::new(author(by), identifier)
}

fn policy() -> AdmissionConfig {
    AdmissionConfig { domains: vec!["git.example.com".to_owned()], ..AdmissionConfig::default() }
}

fn store_with(config: AdmissionConfig) -> MemoryStore {
    MemoryStore::new(Some(AdmissionPolicy::new(config).expect("valid")), IntakeConfig::default())
}

/// A store of the service `git.example.com`.
fn service() -> MemoryStore {
    store_with(policy())
}

fn take(store: &MemoryStore, event: &Event) -> IntakeOutcome {
    take_at(store, event, NOW)
}

fn take_at(store: &MemoryStore, event: &Event, now: u64) -> IntakeOutcome {
    store.take(event, Some(&relay(1)), now).expect("there is room")
}

fn ids<'a>(events: impl IntoIterator<Item = &'a Event>) -> BTreeSet<EventId> {
    events.into_iter().map(|event| event.id).collect()
}

/// What a listener who read the whole feed holds for accepted; it must be what the store says.
fn told(store: &MemoryStore) -> BTreeSet<EventId> {
    let mut told = BTreeSet::new();
    let page = store.feed(0, usize::MAX).expect("the feed");
    for entry in page.entries {
        match entry.change {
            FeedChange::Accepted(event) => told.insert(event.id),
            FeedChange::Removed { id, .. } => told.remove(&id),
            FeedChange::Wanted { .. } => false,
        };
    }
    assert_eq!(told, store.accepted());
    told
}

/// Whether the row of `event` says that it is kept out, with these relays.
fn offered_by(store: &MemoryStore, event: &Event) -> Vec<RelayUrl> {
    store.rejected().into_iter().find(|row| row.id == event.id).expect("a row").relays
}

fn author_entry(n: u8) -> ListEntry {
    ListEntry::Author(author(n))
}
