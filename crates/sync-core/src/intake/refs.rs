//! What an event says of others and of itself, read from its tags.

use std::collections::BTreeSet;

use nostr::event::{Event, EventId};
use nostr::key::PublicKey;

use crate::model::{identifier_of, kinds};
use crate::store::{Dependency, Slot};

/// The most maintainers of one announcement that count.
pub const MAX_MAINTAINERS: usize = 256;

/// The most things that one deferred event waits for, its own id apart.
pub const MAX_DEPENDENCIES: usize = 256;

/// Kinds of which only the newest version of each author is kept (NIP-01).
fn is_replaceable(kind: u16) -> bool {
    matches!(kind, 0 | 3 | 10_000..20_000)
}

/// Kinds of which only the newest version of each author and identifier is kept (NIP-01).
fn is_addressable(kind: u16) -> bool {
    matches!(kind, 30_000..40_000)
}

/// Kinds that are never stored (NIP-01).
pub(super) fn is_ephemeral(kind: u16) -> bool {
    matches!(kind, 20_000..30_000)
}

/// The slot that an event competes for; `None` for one that stands for itself. A missing `d` counts as empty (NIP-01).
pub fn slot_of(event: &Event) -> Option<Slot> {
    slot(event.kind.as_u16(), event.pubkey, identifier_of(event))
}

/// The slot of a kind, an author and an identifier; `None` for kinds that have none.
pub(super) fn slot(kind: u16, pubkey: PublicKey, identifier: &str) -> Option<Slot> {
    let identifier = match kind {
        kind if is_replaceable(kind) => String::new(),
        kind if is_addressable(kind) => identifier.to_owned(),
        _ => return None,
    };
    Some(Slot { kind, pubkey, identifier })
}

/// When the event's time is up (NIP-40), unix seconds.
pub fn expiration_of(event: &Event) -> Option<u64> {
    first_value(event, "expiration").and_then(|value| value.parse().ok())
}

/// What an event is related to: the events of its `e`, `E`, `q` tags and the repositories of its `a`, `A`, `q` tags, in
/// order, repeats included.
pub fn references(event: &Event) -> impl Iterator<Item = Dependency> + '_ {
    tags(event).filter_map(|(name, values)| {
        let value = values.first()?;
        let id = || EventId::from_hex(value).ok().map(Dependency::Event);
        let repo = || value.parse().ok().map(Dependency::Repo);
        match name {
            "e" | "E" => id(),
            "a" | "A" => repo(),
            "q" => id().or_else(repo),
            _ => None,
        }
    })
}

/// The ids that an event names by `e`, `E` and `q`.
pub(super) fn names(event: &Event) -> impl Iterator<Item = EventId> + '_ {
    references(event).filter_map(|reference| match reference {
        Dependency::Event(id) => Some(id),
        _ => None,
    })
}

/// What an event that is related to nothing accepted waits for: repositories before events, bounded, and being named.
pub(super) fn dependencies(event: &Event) -> Vec<Dependency> {
    let (mut repos, mut events) = (BTreeSet::new(), BTreeSet::new());
    for reference in references(event) {
        if let Dependency::Repo(_) = reference { &mut repos } else { &mut events }.insert(reference);
    }
    let mut all: Vec<_> = repos.into_iter().chain(events).take(MAX_DEPENDENCIES).collect();
    let own = Dependency::Event(event.id);
    if !all.contains(&own) {
        all.push(own);
    }
    all
}

/// The maintainers that an announcement names, the first [`MAX_MAINTAINERS`].
pub(super) fn maintainers(announcement: &Event) -> impl Iterator<Item = PublicKey> + '_ {
    tags(announcement)
        .filter(|(name, _)| *name == "maintainers")
        .flat_map(|(_, values)| values)
        .filter_map(|value| PublicKey::from_hex(value).ok())
        .take(MAX_MAINTAINERS)
}

/// What a deletion (NIP-09) speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DeletionTarget {
    /// One event.
    Event(EventId),
    /// Every version in a slot of the deletion's author, up to the deletion's own time.
    Slot(Slot),
}

/// What `deletion` asks to delete. An id may still be another author's.
pub(super) fn deletion_targets(deletion: &Event) -> impl Iterator<Item = DeletionTarget> + '_ {
    tags(deletion).filter_map(|(name, values)| {
        let value = values.first()?;
        match name {
            "e" => EventId::from_hex(value).ok().map(DeletionTarget::Event),
            "a" => {
                let mut parts = value.splitn(3, ':');
                let kind = parts.next()?.parse().ok()?;
                let pubkey = PublicKey::from_hex(parts.next()?).ok()?;
                let slot = slot(kind, pubkey, parts.next().unwrap_or_default())?;
                (slot.pubkey == deletion.pubkey).then_some(DeletionTarget::Slot(slot))
            }
            _ => None,
        }
    })
}

/// Whether the event is an announcement.
pub(super) fn is_announcement(event: &Event) -> bool {
    event.kind.as_u16() == kinds::ANNOUNCEMENT
}

/// Single-letter tags with their values, each once, the first `max`.
pub(super) fn indexed_tags(event: &Event, max: usize) -> Vec<(char, String)> {
    let mut seen = BTreeSet::new();
    tags(event)
        .filter_map(|(name, values)| {
            let mut letters = name.chars();
            let (Some(letter), None) = (letters.next(), letters.next()) else { return None };
            let value = values.first().filter(|_| letter.is_ascii_alphabetic())?;
            seen.insert((letter, value.as_str())).then(|| (letter, value.clone()))
        })
        .take(max)
        .collect()
}

fn tags(event: &Event) -> impl Iterator<Item = (&str, &[String])> {
    event.tags.iter().filter_map(|tag| tag.as_slice().split_first()).map(|(name, values)| (name.as_str(), values))
}

fn first_value<'a>(event: &'a Event, name: &str) -> Option<&'a str> {
    tags(event).find(|(tag, _)| *tag == name).and_then(|(_, values)| values.first()).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::testing::{author, event};
    use crate::model::RepoAddress;

    #[test]
    fn references_are_ids_and_repositories_in_every_spelling() {
        let id = EventId::from_byte_array([7; 32]);
        let address = RepoAddress::new(author(1), "r:x");
        let (hex, text) = (id.to_hex(), address.to_string());
        let other = format!("30618:{}:r", author(1));
        let tags: &[&[&str]] =
            &[&["e", &hex], &["E", &hex], &["q", &hex], &["a", &text], &["A", &text], &["q", &text], &["a", &other]];
        let found: Vec<_> = references(&event(author(2), 1, 1, tags)).collect();
        let (event, repo) = (Dependency::Event(id), Dependency::Repo(address));
        assert_eq!(found, [&event, &event, &event, &repo, &repo, &repo].map(Clone::clone));
    }

    #[test]
    fn thousands_of_references_wait_for_a_bounded_number() {
        let address = RepoAddress::new(author(1), "r").to_string();
        let ids: Vec<String> = (0..5000u32).map(|n| format!("{n:064x}")).collect();
        let mut tags: Vec<Vec<&str>> = ids.iter().map(|id| vec!["e", id.as_str()]).collect();
        tags.push(vec!["a", &address]);
        let tags: Vec<&[&str]> = tags.iter().map(Vec::as_slice).collect();
        let event = event(author(2), 1, 1, &tags);
        let waits = dependencies(&event);
        assert_eq!(waits.len(), MAX_DEPENDENCIES + 1);
        assert!(matches!(waits[0], Dependency::Repo(_)));
        assert!(waits.contains(&Dependency::Event(event.id)));
        assert_eq!(indexed_tags(&event, 10).len(), 10);
    }

    #[test]
    fn deletions_by_address_reach_the_author_s_own_slots_only() {
        let (own, other) = (format!("30617:{}:a:b", author(1)), format!("30617:{}:a", author(2)));
        let deletion = event(author(1), 1, 5, &[&["a", &own], &["a", &other], &["a", "1:x"], &["e", "zz"], &["e"]]);
        let targets: Vec<_> = deletion_targets(&deletion).collect();
        let slot = Slot { kind: 30617, pubkey: author(1), identifier: "a:b".to_owned() };
        assert_eq!(targets, [DeletionTarget::Slot(slot)]);
    }

    #[test]
    fn slots_follow_the_kind() {
        let slot_of_kind = |kind| slot_of(&event(author(1), 1, kind, &[&["d", "x"]])).map(|slot| slot.identifier);
        assert_eq!(slot_of_kind(1), None);
        assert_eq!(slot_of_kind(41), None);
        assert_eq!(slot_of_kind(20_001), None);
        assert_eq!(slot_of_kind(0), Some(String::new()));
        assert_eq!(slot_of_kind(10_317), Some(String::new()));
        assert_eq!(slot_of_kind(30_617), Some("x".to_owned()));
    }

    #[test]
    fn an_unreadable_expiry_is_none() {
        let expiry = |value: &str| expiration_of(&event(author(1), 1, 1, &[&["expiration", value]]));
        assert_eq!(expiry("12"), Some(12));
        assert_eq!(expiry("-1"), None);
        assert_eq!(expiry("soon"), None);
    }
}
