//! The daemon, from start to stop and over a restart.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use engine::daemon::{self, DaemonConfig, Health, Shown};
use engine::driver::Shared;
use sync_core::admission::{AdmissionConfig, AdmissionPolicy};
use sync_core::intake::IntakeConfig;
use sync_core::manager::{ManagerConfig, StatusReport};
use sync_core::model::ConnectionStatus;
use sync_core::store::{EventStore, StateTable};
use testkit::relay::{RelayCore, RelayOptions};
use testkit::store::MemoryStore;
use testkit::world::{World, WorldSpec};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::support::{MemoryConnector, SlowStore, both, shared, url};

/// With one relay, and short waits.
pub(crate) fn config() -> DaemonConfig {
    DaemonConfig {
        manager: ManagerConfig {
            domains: vec!["git.example.com".to_owned()],
            bootstrap_relays: BTreeSet::from([url()]),
            batch_window_ms: 50,
            settle_ms: 0,
            persist_interval_ms: 50,
            ..ManagerConfig::default()
        },
        strategies: both(),
        relay_strategies: HashMap::new(),
        rate_limit_cooldown: Duration::from_secs(65),
        max_future_s: 900,
        keys: None,
        serving: None,
        plugins: Arc::new(Vec::new),
        seed: 1,
        version: "test".to_owned(),
    }
}

fn judging() -> MemoryStore {
    let domains = vec!["git.example.com".to_owned()];
    let policy = AdmissionPolicy::new(AdmissionConfig { domains, ..AdmissionConfig::default() }).expect("valid");
    MemoryStore::new(Some(policy), IntakeConfig::default())
}

/// Runs the daemon until `url()` is complete, then stops it. How long stopping took.
async fn run_until_complete(connector: &Arc<MemoryConnector>, store: &Arc<MemoryStore>) -> Duration {
    let cancel = CancellationToken::new();
    let (status, mut shown) = watch::channel(Arc::new(StatusReport::default()));
    let shown_by = Shown { status, health: watch::channel(Health::Ok).0 };
    let stop = async {
        let complete = |report: &Arc<StatusReport>| {
            report.relays.iter().any(|relay| relay.url == url() && relay.status == ConnectionStatus::Connected)
        };
        shown.wait_for(complete).await.expect("the daemon runs");
        cancel.cancel();
        Instant::now()
    };
    let running = daemon::run(config(), connector.clone(), shared(store.clone(), 32 << 20), shown_by, cancel.clone());
    let (ended, asked) = tokio::join!(running, stop);
    assert_eq!(ended, Ok(()));
    asked.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_where_the_daemon_stopped() {
    let world = World::generate(WorldSpec::default(), &[url()], "git.example.com");
    let relay = RelayCore::new(RelayOptions { events: world.events_for(0), ..RelayOptions::default() });
    let connector = MemoryConnector::new(relay.clone());
    let store = Arc::new(judging());

    let took = run_until_complete(&connector, &store).await;
    assert!(took < Duration::from_secs(5), "stopping took {took:?}");
    assert!(!store.read_state(StateTable::Relay).expect("read").is_empty());
    let (reconciled, accepted) = (relay.stats().received("NEG-OPEN"), store.accepted());
    assert!(reconciled > 0 && !accepted.is_empty());

    run_until_complete(&connector, &store).await;
    assert_eq!(relay.stats().received("NEG-OPEN"), reconciled, "a quick reconnect asks by REQ, from where it was");
    assert_eq!(store.accepted(), accepted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_cannot_be_read_shows_in_health_and_is_read_on_later() {
    let world = World::generate(WorldSpec::default(), &[url()], "git.example.com");
    let relay = RelayCore::new(RelayOptions { events: world.events_for(0), ..RelayOptions::default() });
    let store = SlowStore::new(judging(), u64::MAX);
    store.feed_broken.store(true, Ordering::SeqCst);
    let (cancel, connector) = (CancellationToken::new(), MemoryConnector::new(relay));
    let (status, mut shown) = watch::channel(Arc::new(StatusReport::default()));
    let (health, mut healthy) = watch::channel(Health::Ok);
    let shown_by = Shown { status, health };
    let running = daemon::run(config(), connector, shared(store.clone(), 32 << 20), shown_by, cancel.clone());
    let broken_and_mended = async {
        healthy.wait_for(|health| *health != Health::Ok).await.expect("the daemon runs");
        store.feed_broken.store(false, Ordering::SeqCst);
        healthy.wait_for(|health| *health == Health::Ok).await.expect("the daemon runs");
        shown.wait_for(|report| report.totals.repos > 0).await.expect("the daemon runs");
        cancel.cancel();
    };
    let (ended, ()) = tokio::join!(running, broken_and_mended);
    assert_eq!(ended, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_cannot_be_written_are_written_with_the_next() {
    let world = World::generate(WorldSpec::default(), &[url()], "git.example.com");
    let relay = RelayCore::new(RelayOptions { events: world.events_for(0), ..RelayOptions::default() });
    let whole = Arc::new(judging());
    run_until_complete(&MemoryConnector::new(relay.clone()), &whole).await;

    let store = SlowStore::new(judging(), u64::MAX);
    store.records_full.store(true, Ordering::SeqCst);
    let (cancel, connector) = (CancellationToken::new(), MemoryConnector::new(relay));
    let (status, mut shown) = watch::channel(Arc::new(StatusReport::default()));
    let (health, mut healthy) = watch::channel(Health::Ok);
    let shown_by = Shown { status, health };
    let running = daemon::run(config(), connector, shared(store.clone(), 32 << 20), shown_by, cancel.clone());
    let full_and_emptied = async {
        shown.wait_for(|report| report.totals.complete == 1).await.expect("the daemon runs");
        healthy.wait_for(|health| *health != Health::Ok).await.expect("the daemon runs");
        store.records_full.store(false, Ordering::SeqCst);
        cancel.cancel();
    };
    let (ended, ()) = tokio::join!(running, full_and_emptied);
    assert_eq!(ended, Ok(()));
    let keys = |rows: Vec<(Vec<u8>, Vec<u8>)>| rows.into_iter().map(|(key, _)| key).collect::<BTreeSet<_>>();
    for table in [StateTable::Relay, StateTable::Health] {
        let (expected, found) = (whole.read_state(table), store.read_state(table));
        assert_eq!(found.map(keys), expected.map(keys), "{table:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_the_store_to_be_judged() {
    let store = SlowStore::new(judging(), 0);
    store.judging_held.store(true, Ordering::SeqCst);
    let (cancel, connector) = (CancellationToken::new(), MemoryConnector::new(RelayCore::new(RelayOptions::default())));
    let shown_by =
        Shown { status: watch::channel(Arc::new(StatusReport::default())).0, health: watch::channel(Health::Ok).0 };
    let running = daemon::run(config(), connector, shared(store.clone(), 32 << 20), shown_by, cancel.clone());
    let mut begun = store.judging.subscribe();
    let stop = async {
        begun.wait_for(|begun| *begun).await.expect("the store is there");
        cancel.cancel();
    };
    let stopped = tokio::time::timeout(Duration::from_secs(5), async { tokio::join!(running, stop) }).await;
    store.allow(1);
    assert_eq!(stopped.map(|(ended, ())| ended), Ok(Ok(())), "what isn't judged is judged at the next start");
}

#[tokio::test(flavor = "multi_thread")]
async fn intake_waits_for_room_and_goes_on_by_itself() {
    let world = World::generate(WorldSpec::default(), &[url()], "git.example.com");
    let relay = RelayCore::new(RelayOptions { events: world.events_for(0), ..RelayOptions::default() });
    let whole = Arc::new(judging());
    run_until_complete(&MemoryConnector::new(relay.clone()), &whole).await;

    let store = Arc::new(judging());
    store.set_full(true);
    let (cancel, connector) = (CancellationToken::new(), MemoryConnector::new(relay.clone()));
    let (status, mut shown) = watch::channel(Arc::new(StatusReport::default()));
    let (health, mut healthy) = watch::channel(Health::Ok);
    let shown_by = Shown { status, health };
    let shared = Shared { waits_for_room: true, ..shared(store.clone(), 32 << 20) };
    let running = daemon::run(config(), connector, shared, shown_by, cancel.clone());
    let full_and_emptied = async {
        let failing = |health: &Health| matches!(health, Health::Failing(text) if text.contains("full"));
        healthy.wait_for(failing).await.expect("the daemon runs");
        assert!(store.accepted().is_empty());
        store.set_full(false);
        shown.wait_for(|report| report.totals.complete == 1).await.expect("the daemon runs");
        healthy.wait_for(|health| *health == Health::Ok).await.expect("the daemon runs");
        cancel.cancel();
    };
    // Without a word that there is room, what failed would be tried again after minutes.
    let both = async { tokio::join!(running, full_and_emptied) };
    let (ended, ()) = tokio::time::timeout(Duration::from_secs(60), both).await.expect("it goes on soon");
    assert_eq!(ended, Ok(()));
    assert_eq!(store.accepted(), whole.accepted());
}
