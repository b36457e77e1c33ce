//! The primitives, one by one, within a transaction and after it.

use nostr::event::{Kind, Signature, Tag};
use nostr::types::Timestamp;
use sync_core::admission::{AdmissionConfig, AdmissionPolicy, DeferReason, RejectReason};
use sync_core::model::RelayUrl;
use sync_core::store::{FeedChange, LocalSets};
use sync_core::strategy::{KeyRange, Window};

use super::*;
use crate::{LmdbStore, Options};

fn store() -> (tempfile::TempDir, LmdbStore) {
    let dir = tempfile::tempdir().expect("a directory");
    let policy = Some(AdmissionPolicy::new(AdmissionConfig::default()).expect("valid"));
    let store =
        LmdbStore::open(dir.path(), Options { max_size: 16 << 20, policy, ..Options::default() }).expect("opens");
    (dir, store)
}

fn write<T>(store: &LmdbStore, write: impl FnOnce(&mut LmdbTxn<'_>) -> T) -> T {
    let mut txn = LmdbTxn::begin(&store.shared.env, &store.shared.dbs, true).expect("begins");
    let out = write(&mut txn);
    txn.commit().expect("commits");
    out
}

fn id(number: u8) -> EventId {
    EventId::from_byte_array([number; 32])
}

fn author(number: u8) -> PublicKey {
    PublicKey::from_byte_array([number; 32])
}

fn event(number: u8, kind: u16, created_at: u64, tags: &[&[&str]]) -> Event {
    let tags = tags.iter().map(|tag| Tag::parse(tag.iter().copied()).expect("a name"));
    Event::new(
        id(number),
        author(1),
        Timestamp::from_secs(created_at),
        Kind::from_u16(kind),
        tags,
        "",
        Signature::from_byte_array([0; 64]),
    )
}

fn row(number: u8, waits_for: &[Dependency], relay: Option<&str>) -> RejectedRow {
    RejectedRow {
        id: id(number),
        created_at: 100 + u64::from(number),
        kind: 1,
        pubkey: author(2),
        tags: vec![('t', "x".to_owned())],
        said: String::new(),
        rejected: waits_for.is_empty().then_some(RejectReason::Superseded),
        deferred: (!waits_for.is_empty()).then_some(DeferReason::Orphan),
        waits_for: waits_for.to_vec(),
        relays: relay.map(|url| RelayUrl::parse(url).expect("a relay")).into_iter().collect(),
        hot_until: 1000 + u64::from(number),
        cold_until: 2000 - u64::from(number),
        wanted: None,
        body: (!waits_for.is_empty()).then(|| Box::new(event(number, 1, 100 + u64::from(number), &[&["t", "x"]]))),
    }
}

#[test]
fn a_removed_event_leaves_nothing_behind() {
    let (_dir, store) = store();
    write(&store, |txn| {
        txn.insert(&event(1, 1, 50, &[&["e", &id(9).to_hex()], &["t", "long".repeat(99).as_str()]]), Some(70))
            .expect("in");
        assert_eq!(txn.row(&id(1)).expect("reads").map(|row| (row.seq, row.created_at)), Some((0, 50)));
        assert_eq!(txn.expired(70, 9), Ok(vec![]), "not before its time");
        assert_eq!(txn.expired(71, 9), Ok(vec![id(1)]));
        assert_eq!(txn.accept(&id(1)), Ok(1));
        assert_eq!(txn.accept(&id(1)), Ok(1), "once");
        assert_eq!(txn.is_named(&id(9)), Ok(true));
        txn.remove(&id(1)).expect("out");
        txn.remove(&id(1)).expect("out already");
        assert_eq!(txn.row(&id(1)), Ok(None));
        assert_eq!(txn.is_named(&id(9)), Ok(false));
        assert_eq!(txn.retract(&id(1), 1, None), Ok(2));
    });
    let txn = store.shared.env.read_txn().expect("begins");
    for index in events::Index::ALL {
        assert_eq!(index.db(&store.shared.dbs).len(&txn).expect("reads"), 0, "{}", index.name());
    }
    let page = feed::page(&store.shared.dbs, &txn, 0, 10).expect("reads");
    assert_eq!((page.upto, page.head), (2, 2));
    assert!(
        matches!(&page.entries[..], [entry] if matches!(entry.change, FeedChange::Removed { id: gone, .. } if gone == id(1)))
    );
    drop(txn);
    write(&store, |txn| txn.insert(&event(1, 1, 50, &[]), None).expect("in again"));
    assert!(store.verify().expect("reads").is_sound());
}

#[test]
fn slots_and_deletions_keep_the_latest() {
    let (_dir, store) = store();
    let slot = Slot { kind: 30617, pubkey: author(1), identifier: "d".repeat(5000) };
    let other = Slot { identifier: "d".repeat(5001), ..slot.clone() };
    write(&store, |txn| {
        let head = SlotHead { created_at: 5, id: id(1), stored: false };
        txn.set_slot(&slot, head).expect("set");
        assert_eq!(txn.slot(&slot), Ok(Some(head)));
        assert_eq!(txn.slot(&other), Ok(None));
        txn.remove_slot(&slot).expect("forgotten");
        assert_eq!(txn.slot(&slot), Ok(None));
        txn.delete_slot(&slot, 10).expect("deleted");
        txn.delete_slot(&slot, 7).expect("an older deletion");
        assert_eq!(txn.slot_deleted_until(&slot), Ok(Some(10)));
        assert_eq!(txn.slot_deleted_until(&other), Ok(None));
        txn.delete_id(&id(3), &author(1)).expect("deleted");
        assert_eq!(txn.is_id_deleted(&id(3), &author(1)), Ok(true));
        assert_eq!(txn.is_id_deleted(&id(3), &author(2)), Ok(false));
    });
}

#[test]
fn those_outside_the_feed_are_found_by_what_they_wait_for() {
    let (_dir, store) = store();
    let address = RepoAddress::new(author(1), "repo");
    write(&store, |txn| {
        txn.insert(&event(1, 30617, 10, &[&["d", "repo"]]), None).expect("in");
        txn.insert(&event(2, 30618, 20, &[&["d", "repo"]]), None).expect("in");
        txn.insert(&event(3, 1621, 30, &[&["a", &address.to_string()], &["q", &address.to_string()]]), None)
            .expect("in");
        txn.insert(&event(4, 1111, 40, &[&["E", &id(3).to_hex()]]), None).expect("in");
        txn.insert(&event(5, 1, 50, &[]), None).expect("in");
        txn.insert(&event(6, 1, 60, &[&["e", &id(5).to_hex()]]), None).expect("in");
        txn.insert(&event(7, 30617, 70, &[]), None).expect("in");
        let waiting =
            |txn: &LmdbTxn<'_>, dependency: &Dependency| txn.stored_waiting_for(dependency, 9).expect("reads");
        assert_eq!(waiting(txn, &Dependency::Identifier("repo".to_owned())), [id(1), id(2)]);
        assert_eq!(waiting(txn, &Dependency::Identifier(String::new())), [id(7)], "a missing `d` counts as empty");
        assert_eq!(waiting(txn, &Dependency::Repo(address)), [id(3)]);
        assert_eq!(waiting(txn, &Dependency::Event(id(3))), [id(4)]);
        assert_eq!(waiting(txn, &Dependency::Event(id(6))), [id(5)], "named by it");
        txn.accept(&id(4)).expect("accepted");
        assert_eq!(waiting(txn, &Dependency::Event(id(3))), [], "no longer outside");
        assert_eq!(txn.announcements("repo", 9).expect("reads").len(), 1);
        assert_eq!(txn.announcements("", 9).expect("reads")[0].id, id(7));
    });
}

#[test]
fn rejected_rows_are_found_by_time_dependency_and_relay() {
    let (_dir, store) = store();
    let dependency = Dependency::Event(id(99));
    let relay = "wss://relay.example.com";
    write(&store, |txn| {
        txn.put_rejected(&row(1, std::slice::from_ref(&dependency), Some(relay))).expect("put");
        txn.put_rejected(&row(2, &[], None)).expect("put");
        assert_eq!(txn.rejected(&id(1)), Ok(Some(row(1, std::slice::from_ref(&dependency), Some(relay)))));
        assert_eq!(txn.waiting_for(&dependency, 9), Ok(vec![id(1)]));
        assert_eq!(txn.rejected_count(), Ok((1, 1)));
        assert_eq!(txn.rejected_oldest(), Ok(Some(id(2))));
        assert_eq!(txn.rejected_due(1000, 9), Ok(vec![]));
        assert_eq!(txn.rejected_due(1001, 9), Ok(vec![id(1)]), "its body's time is up");
        assert_eq!(txn.rejected_due(1999, 9), Ok(vec![id(1), id(2)]));
    });
    let url = RelayUrl::parse(relay).expect("a relay");
    let stranger = RelayUrl::parse("wss://other.example.com").expect("a relay");
    let count = |json: &str, relay: &RelayUrl| {
        let filter = serde_json::from_str(json).expect("a filter");
        store.view(&filter, Window::ALL, relay).count(KeyRange::ALL)
    };
    assert_eq!(count("{}", &url), 1);
    assert_eq!(count("{}", &stranger), 0, "another relay did not offer it");
    assert_eq!(count(r##"{"kinds":[1],"#t":["x"]}"##, &url), 1);
    assert_eq!(count(r##"{"#t":["y"]}"##, &url), 0);
    let known = store.known(&[id(1), id(3)]).expect("reads");
    assert_eq!(known[0].map(|known| (known.created_at, known.stored)), Some((101, false)));
    assert_eq!(known[1], None);
    assert!(store.verify().expect("reads").is_sound());
    write(&store, |txn| {
        txn.put_rejected(&RejectedRow { body: None, ..row(1, &[], Some("wss://other.example.com")) })
            .expect("replaced");
        assert_eq!(txn.waiting_for(&dependency, 9), Ok(vec![]));
        assert_eq!(txn.rejected_count(), Ok((0, 2)));
    });
    assert_eq!((count("{}", &url), count("{}", &stranger)), (0, 1));
    assert!(store.verify().expect("reads").is_sound());
    write(&store, |txn| {
        txn.remove_rejected(&id(1)).expect("gone");
        txn.remove_rejected(&id(2)).expect("gone");
        assert_eq!(txn.rejected_count(), Ok((0, 0)));
    });
    assert!(store.verify().expect("reads").is_sound());
}

#[test]
fn bodies_go_oldest_first_where_there_are_too_many_bytes_of_them() {
    use sync_core::intake::{HotBodies, HotBody};

    let (_dir, store) = store();
    let waits = [Dependency::Event(id(99))];
    let body = |number: u8| HotBody::new(&event(number, 1, 100, &[]), row(number, &waits, None).hot_until);
    // Three of about 350 bytes.
    let mut bodies = HotBodies::new(1_100);
    let mut put = |txn: &mut LmdbTxn<'_>, number: u8, now: u64| {
        txn.put_rejected(&row(number, &waits, None)).expect("put");
        let fresh = vec![body(number)];
        let departed = bodies.make_room(txn, &fresh, now, 10).expect("reads");
        bodies.settle(fresh, departed);
        departed.early
    };
    let hot = |txn: &LmdbTxn<'_>| -> Vec<u8> {
        (1..9).filter(|n| txn.rejected(&id(*n)).expect("reads").is_some_and(|row| row.body.is_some())).collect()
    };
    write(&store, |txn| {
        assert_eq!([1, 2, 3, 4].map(|number| put(txn, number, 0)), [0, 0, 0, 1]);
        assert_eq!(hot(txn), [2, 3, 4]);
        assert_eq!(txn.rejected_count(), Ok((3, 1)), "the rows stay");
        txn.remove_rejected(&id(2)).expect("it was let in");
        assert_eq!(put(txn, 5, 0), 0, "that left of itself");
        assert_eq!(hot(txn), [3, 4, 5]);
        assert_eq!(put(txn, 6, 1_004), 0, "the time of two is up");
        assert_eq!(hot(txn), [5, 6]);
    });
    assert!(store.verify().expect("reads").is_sound());
}
