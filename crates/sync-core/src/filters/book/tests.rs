//! Chunks that fill, shrink, pack and come back.

use nostr::key::PublicKey;

use super::*;

fn repo(n: usize) -> RepoAddress {
    RepoAddress::new(PublicKey::from_hex(&"11".repeat(32)).expect("hex"), format!("r{n}"))
}

fn book(profile: &RelayProfile) -> ChunkBook {
    ChunkBook::new(ChunkLimits::new(100, profile))
}

#[test]
fn an_item_stays_in_its_chunk_when_others_come_and_go() {
    let mut book = book(&RelayProfile::default());
    (0..150).for_each(|n| assert!(book.append_repo(&repo(n))));
    let before = book.live();
    assert!(!book.append_repo(&repo(3)));
    book.remove_repo(&repo(120));
    (150..160).for_each(|n| assert!(book.append_repo(&repo(n))));
    let after = book.live();
    assert_eq!(before.iter().map(|l| l.key).collect::<Vec<_>>(), after.iter().map(|l| l.key).collect::<Vec<_>>());
    assert_eq!(before[1], after[1], "a full chunk's filters don't change");
    assert_ne!(before[2], after[2]);
    assert_eq!(book.live_filters(), 1 + 2 * 4);
}

#[test]
fn few_filters_per_request_make_more_requests() {
    let mut book = book(&RelayProfile { max_filters: Some(3), ..RelayProfile::default() });
    book.append_repo(&repo(1));
    let live = book.live();
    assert_eq!(live.iter().map(|l| l.filters.len()).collect::<Vec<_>>(), [1, 3, 1]);
    assert_eq!(live.iter().map(|l| l.key).collect::<std::collections::HashSet<_>>().len(), 3);
}

#[test]
fn chunks_shrink_to_the_message_length() {
    let profile = RelayProfile { max_message_length: Some(4096), ..RelayProfile::default() };
    let mut book = book(&profile);
    (0..100).for_each(|n| assert!(book.append_repo(&repo(n))));
    for live in book.live() {
        let bytes: usize = live.filters.iter().map(|f| serde_json::to_string(f).expect("json").len()).sum();
        assert!(bytes < 4096, "{bytes}");
    }
}

#[test]
fn neighbours_share_a_subscription_where_the_relay_holds_few() {
    let profile =
        RelayProfile { max_subscriptions: Some(8), max_message_length: Some(1 << 20), ..RelayProfile::default() };
    let mut book = book(&profile);
    (0..1000).for_each(|n| assert!(book.append_repo(&repo(n))));
    let live = book.live();
    assert!(live.len() <= 4, "{}", live.len());
    assert_eq!(live.iter().map(|l| l.filters.len()).sum::<usize>(), book.live_filters());
}

#[test]
fn a_cut_takes_whole_chunks_up_to_the_bound() {
    let mut book = book(&RelayProfile::default());
    (0..1000).for_each(|n| assert!(book.append_repo(&repo(n))));
    let mut todo = book.items();
    todo.repos.insert(repo(5000));
    let mut sizes = Vec::new();
    loop {
        let (items, filters) = book.cut(&mut todo, None, 30);
        if filters.is_empty() {
            break;
        }
        sizes.push((items.len(), filters.len()));
    }
    assert_eq!(sizes, [(700, 28), (300, 12)]);
    assert!(todo.is_empty());
}

#[test]
fn a_rebuild_leaves_no_holes_and_takes_new_keys() {
    let mut book = book(&RelayProfile::default());
    (0..1000).for_each(|n| assert!(book.append_repo(&repo(n))));
    (0..1000).filter(|n| n % 2 == 0).for_each(|n| assert!(book.remove_repo(&repo(n))));
    let before = book.live();
    assert_eq!((book.live_filters(), book.rebuilt_filters()), (41, 21));
    book.rebuild(book.limits());
    assert_eq!(book.live_filters(), 21);
    assert!(book.live()[1..].iter().all(|live| before.iter().all(|old| old.key != live.key)));
}

#[test]
fn a_book_is_restored_as_it_was() {
    let mut book = book(&RelayProfile::default());
    (0..150).for_each(|n| assert!(book.append_repo(&repo(n))));
    let records: Vec<_> = book.take_dirty().into_iter().filter_map(|id| Some((id, book.record(id)?.clone()))).collect();
    let mut restored = ChunkBook::restore(book.limits(), records);
    assert_eq!(restored.live(), book.live());
    assert!(!restored.is_dirty());
    restored.append_repo(&repo(150));
    book.append_repo(&repo(150));
    assert_eq!(restored.live(), book.live());
}
