//! The order in which events arrive doesn't matter, as long as everything that waits fits the hot tier.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use sync_core::store::OwnAnswer;

use super::*;

const AUTHORS: u8 = 5;
const IDENTIFIERS: [&str; 2] = ["r", "s"];

#[derive(Debug, Clone)]
enum Spec {
    Announcement { by: u8, d: usize, at: i64, lists: bool, maintainers: Vec<u8> },
    State { by: u8, d: usize, at: i64 },
    Issue { by: u8, owner: u8, d: usize },
    Reply { by: u8, to: prop::sample::Index },
    Quote { by: u8, owner: u8, d: usize, named: prop::sample::Index },
    Delete { target: prop::sample::Index },
    DeleteRepo { by: u8, d: usize, at: i64 },
}

fn spec(quiet: bool) -> impl Strategy<Value = Spec> {
    let by = || 1..=AUTHORS;
    let d = || 0..IDENTIFIERS.len();
    // In a quiet world each slot has one version, whatever is generated for it: the time is its author's number.
    let at = move || if quiet { (0..1i64).boxed() } else { (0..4i64).boxed() };
    let index = any::<prop::sample::Index>;
    let maintainers = prop::collection::vec(by(), 0..3);
    let announcement = (by(), d(), at(), prop::bool::weighted(0.3), maintainers)
        .prop_map(|(by, d, at, lists, maintainers)| Spec::Announcement { by, d, at, lists, maintainers });
    let deletions = if quiet { 0 } else { 1 };
    prop_oneof![
        6 => announcement,
        2 => (by(), d(), at()).prop_map(|(by, d, at)| Spec::State { by, d, at }),
        3 => (by(), by(), d()).prop_map(|(by, owner, d)| Spec::Issue { by, owner, d }),
        4 => (by(), index()).prop_map(|(by, to)| Spec::Reply { by, to }),
        1 => (by(), by(), d(), index()).prop_map(|(by, owner, d, named)| Spec::Quote { by, owner, d, named }),
        deletions => index().prop_map(|target| Spec::Delete { target }),
        deletions => (by(), d(), at()).prop_map(|(by, d, at)| Spec::DeleteRepo { by, d, at }),
    ]
}

/// Events in the order of their specs, in which each refers to earlier ones only; no event twice, and in a quiet
/// world no slot twice.
fn world(specs: &[Spec], quiet: bool) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    let mut slots = BTreeSet::new();
    for (n, spec) in specs.iter().enumerate() {
        let earlier = |index: &prop::sample::Index| (!events.is_empty()).then(|| index.get(&events).clone());
        let at = n as i64 - 1000;
        let new = match spec {
            Spec::Announcement { by, d, at, lists, maintainers } => {
                Some(announcement(*by, *at, IDENTIFIERS[*d], *lists, maintainers))
            }
            Spec::State { by, d, at } => Some(state(*by, *at, IDENTIFIERS[*d])),
            Spec::Issue { by, owner, d } => Some(issue(*by, at, &repo(*owner, IDENTIFIERS[*d]))),
            Spec::Reply { by, to } => earlier(to).map(|to| tagging(*by, at, ["e", "E", "q"][n % 3], &to)),
            Spec::Quote { by, owner, d, named } => earlier(named).map(|named| {
                let tags = [("a", repo(*owner, IDENTIFIERS[*d]).to_string()), ("q", named.id.to_hex())];
                event(*by, at, 1, tags.map(|(name, value)| vec![name.to_owned(), value]))
            }),
            Spec::Delete { target } => {
                earlier(target).filter(|target| target.kind.as_u16() != kinds::DELETION).map(|target| {
                    event(target.pubkey.as_bytes()[0], at, kinds::DELETION, [vec!["e".to_owned(), target.id.to_hex()]])
                })
            }
            Spec::DeleteRepo { by, d, at } => {
                Some(deletion_of_address(*by, *at, kinds::ANNOUNCEMENT, *by, IDENTIFIERS[*d]))
            }
        };
        let Some(new) = new.filter(|new| events.iter().all(|event| event.id != new.id)) else { continue };
        if slot(&new).is_none_or(|slot| slots.insert(slot) || !quiet) {
            events.push(new);
        }
    }
    events
}

type SlotKey = (u16, PublicKey, String);

fn slot(event: &Event) -> Option<SlotKey> {
    let kind = event.kind.as_u16();
    matches!(kind, kinds::ANNOUNCEMENT | kinds::STATE).then(|| (kind, event.pubkey, tag(event, "d")))
}

fn tag(event: &Event, name: &str) -> String {
    values(event, name).first().cloned().unwrap_or_default()
}

fn values(event: &Event, name: &str) -> Vec<String> {
    let tags = event.tags.iter().map(|tag| tag.as_slice()).filter(|tag| tag[0] == name);
    tags.flat_map(|tag| tag[1..].iter().cloned()).collect()
}

/// The naive reference, over the whole set at once.
struct Reference<'a> {
    events: &'a [Event],
}

impl<'a> Reference<'a> {
    fn heads(&self) -> Vec<&'a Event> {
        let mut heads: BTreeMap<SlotKey, &Event> = BTreeMap::new();
        for event in self.events {
            if let Some(slot) = slot(event) {
                // nostr's order of events: newest first, lowest id first.
                heads.entry(slot).and_modify(|head| *head = event.min(head)).or_insert(event);
            }
        }
        heads.into_values().collect()
    }

    fn has_own_deletion(&self, event: &Event) -> bool {
        self.events.iter().any(|deletion| {
            let same = deletion.kind.as_u16() == kinds::DELETION && deletion.pubkey == event.pubkey;
            let address = slot(event).map(|(kind, pubkey, d)| format!("{kind}:{pubkey}:{d}"));
            same && event.kind.as_u16() != kinds::DELETION
                && (values(deletion, "e").contains(&event.id.to_hex())
                    || deletion.created_at >= event.created_at
                        && address.is_some_and(|address| values(deletion, "a").contains(&address)))
        })
    }

    /// The closure over maintainers among these announcements.
    fn closure(announcements: &[&'a Event]) -> Vec<&'a Event> {
        let lists = |event: &&&Event| !values(event, "relays").is_empty();
        let mut accepted: Vec<&Event> = announcements.iter().filter(lists).copied().collect();
        loop {
            let more = announcements.iter().copied().find(|event| {
                accepted.iter().all(|other| other.id != event.id)
                    && accepted.iter().any(|other| {
                        tag(other, "d") == tag(event, "d")
                            && values(other, "maintainers").contains(&event.pubkey.to_hex())
                    })
            });
            match more {
                Some(event) => accepted.push(event),
                None => return accepted,
            }
        }
    }

    /// Announcements of which the accepted set must consist exactly: a deletion takes those that were accepted.
    fn announcements(&self) -> BTreeSet<EventId> {
        let heads = self.heads();
        let mut candidates: Vec<&Event> =
            heads.into_iter().filter(|event| event.kind.as_u16() == kinds::ANNOUNCEMENT).collect();
        loop {
            let accepted = Self::closure(&candidates);
            let deleted: BTreeSet<EventId> =
                accepted.iter().filter(|event| self.has_own_deletion(event)).map(|event| event.id).collect();
            if deleted.is_empty() {
                return accepted.into_iter().map(|event| event.id).collect();
            }
            candidates.retain(|event| !deleted.contains(&event.id));
        }
    }

    /// Everything that is related, directly or by others among `usable`, to one of `announcements`.
    fn related(&self, announcements: &[&'a Event], usable: impl Fn(&Event) -> bool) -> BTreeSet<EventId> {
        let mut accepted = ids(announcements.iter().copied());
        let repos: BTreeSet<String> = announcements
            .iter()
            .map(|event| RepoAddress::of_event(event).expect("an announcement").to_string())
            .collect();
        let may_state = |event: &Event| {
            announcements.iter().any(|other| {
                tag(other, "d") == tag(event, "d")
                    && (other.pubkey == event.pubkey || values(other, "maintainers").contains(&event.pubkey.to_hex()))
            })
        };
        let named_ids = |event: &Event| ["e", "E", "q"].map(|name| values(event, name)).concat();
        loop {
            let named: BTreeSet<String> =
                self.events.iter().filter(|event| accepted.contains(&event.id)).flat_map(named_ids).collect();
            let joins = |event: &&Event| match event.kind.as_u16() {
                kinds::ANNOUNCEMENT => false,
                kinds::STATE => may_state(event),
                _ => {
                    values(event, "a").iter().any(|address| repos.contains(address))
                        || named_ids(event).iter().any(|id| accepted.iter().any(|accepted| accepted.to_hex() == *id))
                        || named.contains(&event.id.to_hex())
                }
            };
            let more: Vec<EventId> = self
                .events
                .iter()
                .filter(|event| !accepted.contains(&event.id) && usable(event))
                .filter(joins)
                .map(|event| event.id)
                .collect();
            if more.is_empty() {
                return accepted;
            }
            accepted.extend(more);
        }
    }

    fn by_ids(&self, ids: &BTreeSet<EventId>) -> Vec<&'a Event> {
        self.events.iter().filter(|event| ids.contains(&event.id)).collect()
    }

    fn is_head(&self, event: &Event) -> bool {
        slot(event).is_none() || self.heads().iter().any(|head| head.id == event.id)
    }
}

fn accepted_in_order(events: &[Event], order: &[usize]) -> BTreeSet<EventId> {
    let store = service();
    for n in order {
        take(&store, &events[*n]);
    }
    told(&store)
}

/// The same with an external own relay that takes everything: after every `pause` events, and in the end.
fn accepted_by_the_own_relay(events: &[Event], order: &[usize], pause: usize) -> BTreeSet<EventId> {
    let store = own::external();
    for (at, n) in order.iter().enumerate() {
        take(&store, &events[*n]);
        if at % pause == 0 {
            own::answer_all(&store, &OwnAnswer::Has);
        }
    }
    own::answer_all(&store, &OwnAnswer::Has);
    told(&store)
}

fn shuffled_world(quiet: bool) -> impl Strategy<Value = (Vec<Event>, Vec<usize>)> {
    prop::collection::vec(spec(quiet), 1..40).prop_map(move |specs| world(&specs, quiet)).prop_flat_map(|events| {
        let order: Vec<usize> = (0..events.len()).collect();
        (Just(events), Just(order).prop_shuffle())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// Where nothing is replaced or deleted the accepted set is exactly what the whole set implies.
    #[test]
    fn without_removals_every_order_ends_the_same((events, order) in shuffled_world(true)) {
        let reference = Reference { events: &events };
        let announcements = reference.announcements();
        let expected = reference.related(&reference.by_ids(&announcements), |_| true);
        prop_assert_eq!(&accepted_in_order(&events, &order), &expected);
        for pause in [1, 3, 1000] {
            prop_assert_eq!(&accepted_by_the_own_relay(&events, &order, pause), &expected, "pause {}", pause);
        }
    }

    /// Announcements are exact whatever is replaced or deleted. Acceptance stands, so that other events may have come
    /// in by way of something that is gone: they are held to what was possible at most, and what is certain at least.
    #[test]
    fn with_removals_every_order_ends_within_the_rules((events, order) in shuffled_world(false)) {
        let pauses = [1, 3, 1000].map(|pause| accepted_by_the_own_relay(&events, &order, pause));
        for accepted in [accepted_in_order(&events, &order)].into_iter().chain(pauses) {
            within_the_rules(&events, &accepted)?;
        }
    }
}

fn within_the_rules(events: &[Event], accepted: &BTreeSet<EventId>) -> Result<(), TestCaseError> {
    let reference = Reference { events };
    let announcements = reference.announcements();
    let is_announcement = |event: &&Event| event.kind.as_u16() == kinds::ANNOUNCEMENT;
    let found = ids(events.iter().filter(is_announcement).filter(|event| accepted.contains(&event.id)));
    prop_assert_eq!(&found, &announcements);

    let lasting = |event: &Event| reference.is_head(event) && !reference.has_own_deletion(event);
    let certain = reference.related(&reference.by_ids(&announcements), lasting);
    prop_assert!(certain.is_subset(accepted), "missing: {:?}", certain.difference(accepted));

    let every_version: Vec<&Event> = events.iter().filter(is_announcement).collect();
    let possible = reference.related(&Reference::closure(&every_version), |_| true);
    let possible = ids(reference.by_ids(&possible).into_iter().filter(|event| lasting(event)));
    prop_assert!(accepted.is_subset(&possible), "too many: {:?}", accepted.difference(&possible));
    Ok(())
}
