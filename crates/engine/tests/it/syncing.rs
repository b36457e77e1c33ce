//! One historic sync.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use engine::once::{SyncRequest, SyncResult, sync};
use sync_core::model::FailureReason;
use sync_core::nostr::filter::Filter;
use sync_core::store::EventStore;
use sync_core::strategy::{Direction, StrategyOrder};
use sync_core::transport::Target;
use testkit::relay::{DropAfter, RelayCore, RelayOptions};
use testkit::world::{BulkSpec, bulk_events};
use tokio_util::sync::CancellationToken;

use crate::support::{MemoryConnector, SlowStore, both, impatient, memory, req, shared, url};

const EVENTS: usize = 1_200;

fn relay() -> RelayCore {
    let events = bulk_events(&BulkSpec { count: EVENTS, ..BulkSpec::default() });
    RelayCore::new(RelayOptions { events, ..RelayOptions::default() })
}

fn request(strategies: StrategyOrder) -> SyncRequest {
    SyncRequest {
        target: Target { relay: url(), named: true },
        filters: vec![Filter::new()],
        direction: Direction::Down,
        dry_run: false,
        strategies,
        rate_limit_cooldown: Duration::from_secs(65),
        max_future_s: 900,
        keys: None,
        overlap: Duration::from_secs(900),
        seed: 1,
    }
}

async fn run(
    connector: &Arc<MemoryConnector>,
    store: &Arc<SlowStore>,
    request: SyncRequest,
    memory_per_relay: usize,
    cancel: CancellationToken,
) -> SyncResult {
    sync(connector.clone(), shared(store.clone(), memory_per_relay), request, cancel).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_stops_stops_the_reader_and_is_not_held_against_the_relay() {
    let (connector, store) = (MemoryConnector::new(relay()), SlowStore::new(memory(), 2));
    let memory_per_relay = 64 << 10;
    let held = async {
        // Twice what the relay may be silent for.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let read = connector.bytes_read.load(Ordering::SeqCst);
        store.allow(u64::MAX);
        read
    };
    let syncing = run(&connector, &store, request(impatient()), memory_per_relay, CancellationToken::new());
    let (result, read) = tokio::join!(syncing, held);
    assert!(read < 400_000, "read {read} bytes while nothing was stored");
    assert_eq!(result.failures, Vec::new());
    assert_eq!((result.counts.stored, connector.connections.load(Ordering::SeqCst)), (EVENTS as u64, 1));
    let counts = &result.counts;
    assert_eq!(counts.received, counts.stored + counts.duplicate);
    assert!(counts.duplicate < 10, "{} events came twice: seams alone repeat any", counts.duplicate);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_is_taken_up_again_and_counted_truthfully() {
    for strategies in [req(), both()] {
        let relay = relay();
        relay.set_faults(|faults| faults.drop_after = Some(DropAfter { frames: 700, times: Some(2) }));
        let (connector, store) = (MemoryConnector::new(relay), SlowStore::new(memory(), u64::MAX));
        let result = run(&connector, &store, request(strategies), 32 << 20, CancellationToken::new()).await;
        assert_eq!(result.failures, Vec::new());
        assert!(connector.connections.load(Ordering::SeqCst) > 1);
        assert_eq!(result.counts.stored, EVENTS as u64, "each is stored once, and said to be");
        assert_eq!(store.event_count(), Ok(EVENTS as u64));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_before_an_interruption_is_told() {
    let (connector, store) = (MemoryConnector::new(relay()), SlowStore::new(memory(), 5));
    let cancel = CancellationToken::new();
    let interrupting = async {
        while store.event_count() == Ok(0) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        cancel.cancel();
        store.allow(u64::MAX);
    };
    let (result, ()) = tokio::join!(run(&connector, &store, request(req()), 64 << 10, cancel.clone()), interrupting);
    assert!(result.connected);
    assert!(result.failures.iter().any(|failure| failure.reason == FailureReason::ConnectionLost));
    assert_eq!(Ok(result.counts.stored), store.event_count());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_counts_and_stores_nothing() {
    for strategies in [req(), both()] {
        let (connector, store) = (MemoryConnector::new(relay()), SlowStore::new(memory(), u64::MAX));
        let request = SyncRequest { dry_run: true, ..request(strategies) };
        let result = run(&connector, &store, request, 32 << 20, CancellationToken::new()).await;
        assert_eq!(result.failures, Vec::new());
        assert_eq!((result.counts.need, result.counts.stored), (EVENTS as u64, 0));
        assert_eq!(store.event_count(), Ok(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn going_up_stores_nothing_here() {
    for strategies in [req(), both()] {
        let (connector, store) = (MemoryConnector::new(relay()), SlowStore::new(memory(), u64::MAX));
        let ours = bulk_events(&BulkSpec { seed: 9, count: 100, ..BulkSpec::default() });
        for event in &ours {
            store.inner.import(event, 1_800_000_000).expect("stored");
        }
        let request = SyncRequest { direction: Direction::Up, ..request(strategies) };
        let result = run(&connector, &store, request, 32 << 20, CancellationToken::new()).await;
        assert_eq!(result.failures, Vec::new());
        let counts = &result.counts;
        assert_eq!((counts.have, counts.uploaded, counts.need, counts.stored), (100, 100, 0, 0));
        assert!(ours.iter().all(|event| connector.relay.has(&event.id)));
        assert_eq!(store.event_count(), Ok(100));
    }
}
