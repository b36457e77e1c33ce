//! One connection and its task.

use std::sync::Arc;
use std::time::Duration;

use engine::driver::{self, RelayEvent};
use sync_core::link::LinkCommand;
use sync_core::model::{BatchOutcome, BatchReason, BatchRequest, FailureReason, Layer, PendingItems, SyncMethod};
use sync_core::nostr::filter::Filter;
use sync_core::strategy::{
    RelayProfile, SessionHints, SessionRequest, StrategyDescriptor, StrategyOrder, Suitability, SyncSession,
    SyncStrategy,
};
use testkit::relay::{RelayCore, RelayOptions};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::support::{MemoryConnector, config, memory, req, shared};

fn batch(id: u64) -> LinkCommand {
    LinkCommand::Batch(BatchRequest {
        id,
        reason: BatchReason::Requested,
        layer: Layer::Free,
        filters: vec![Filter::new()],
        items: PendingItems::default(),
        caused_by: None,
        reads: false,
        run_since: None,
    })
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_holds_up_neither_commands_nor_the_end() {
    let mut connector = MemoryConnector::new(RelayCore::new(RelayOptions::default()));
    Arc::get_mut(&mut connector).expect("nobody else has it").deaf = true;
    let (events, mut happened) = mpsc::channel(256);
    let shared = shared(Arc::new(memory()), 1 << 20);
    let driven = driver::spawn(connector.open(), config(req()), shared, None, events, CancellationToken::new());
    for id in 1..=500 {
        driven.commands.send(batch(id)).await.expect("commands are read");
    }
    driven.cancel.cancel();
    let mut reports = 0;
    loop {
        match happened.recv().await {
            Some((_, RelayEvent::BatchDone { report, .. })) => {
                assert!(matches!(&report.outcome, BatchOutcome::Failed(failures)
                    if failures[0].reason == FailureReason::ConnectionLost));
                reports += 1;
            }
            Some((_, RelayEvent::Ended(fault))) => break assert_eq!(fault, None),
            Some(_) => {}
            None => panic!("the end is told"),
        }
    }
    assert!(reports >= 500 - 64, "{reports} reports: what was begun is reported, what was not even read is not");
    assert!(happened.recv().await.is_none(), "nothing follows the end");
    tokio::time::timeout(Duration::from_secs(5), driven.task).await.expect("in time").expect("in order");
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_is_slow_to_listen_loses_nothing() {
    let connector = MemoryConnector::new(RelayCore::new(RelayOptions::default()));
    let (events, mut happened) = mpsc::channel(1);
    let shared = shared(Arc::new(memory()), 1 << 20);
    let driven = driver::spawn(connector.open(), config(req()), shared, None, events, CancellationToken::new());
    for id in 1..=200 {
        driven.commands.send(batch(id)).await.expect("commands are read");
    }
    let mut done = Vec::new();
    while done.len() < 200 {
        if let Some((_, RelayEvent::BatchDone { report, .. })) = happened.recv().await {
            assert_eq!(report.outcome, BatchOutcome::Confirmed);
            done.push(report.id);
        }
    }
    done.sort_unstable();
    assert!(done.iter().copied().eq(1..=200));
}

/// Breaks as soon as it is opened.
struct Broken(StrategyDescriptor);

impl SyncStrategy for Broken {
    fn descriptor(&self) -> &StrategyDescriptor {
        &self.0
    }

    fn hints(&self) -> SessionHints {
        SessionHints { concurrency: 1, fetch_chunk: 1, answer_timeout_ms: 30_000 }
    }

    fn suits(&self, _: &RelayProfile, _: &Filter) -> Suitability {
        Suitability::Suits
    }

    fn open(&self, _: SessionRequest) -> Box<dyn SyncSession> {
        panic!("on purpose")
    }
}

#[tokio::test]
async fn a_panic_ends_its_own_connection_and_is_told() {
    let connector = MemoryConnector::new(RelayCore::new(RelayOptions::default()));
    let (events, mut happened) = mpsc::channel(256);
    let broken = Broken(StrategyDescriptor {
        name: SyncMethod::new("broken"),
        version: "1".to_owned(),
        compares_sets: false,
        probes_alone: false,
    });
    let shared = shared(Arc::new(memory()), 1 << 20);
    let strategies: StrategyOrder = vec![Arc::new(broken)];
    let driven = driver::spawn(connector.open(), config(strategies), shared, None, events, CancellationToken::new());
    driven.commands.send(batch(1)).await.expect("commands are read");
    let told = happened.recv().await;
    assert!(matches!(told, Some((_, RelayEvent::Ended(Some(_))))), "{told:?}");
}
