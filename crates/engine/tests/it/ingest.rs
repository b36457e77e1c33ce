//! What the checking threads owe a connection.

use std::sync::atomic::Ordering;

use engine::ingest::{Answer, MAX_ANSWERS, Work};
use sync_core::nostr::event::EventId;
use tokio::sync::mpsc;

use crate::support::{SlowStore, memory, shared, url};

#[tokio::test]
async fn every_piece_of_work_is_settled_also_where_the_writer_is_gone() {
    let store = SlowStore::new(memory(), u64::MAX);
    store.closed.store(true, Ordering::SeqCst);
    let shared = shared(store, 1 << 20);
    let (answers, mut answered) = mpsc::channel(MAX_ANSWERS);
    let place = shared.ingest.place().await.expect("it runs");
    let offered = vec![EventId::from_byte_array([1; 32])];
    let work = Work { jobs: Vec::new(), offered, state: Vec::new(), relay: url(), context: tracing::Span::none() };
    shared.ingest.submit(place, work, answers);
    assert!(matches!(answered.recv().await, Some(Answer::Checked(checked)) if checked.is_empty()));
    assert!(matches!(answered.recv().await, Some(Answer::Settled { bytes: 0, outcomes, .. }) if outcomes.is_empty()));
}
