//! `run`: the daemon (CONTRACT.md).

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use engine::daemon::{self, DaemonConfig, Health, Shown};
use engine::driver::Shared;
use sync_core::health::HealthConfig;
use sync_core::manager::{ManagerConfig, StatusReport};
use sync_core::store::EventStore;
use telemetry::Metrics;
use telemetry::spans::Tracer;
use telemetry::traces::Traces;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Context, now};
use crate::admin::{self, AdminState};
use crate::cli::RunArgs;
use crate::config::Config;
use crate::exit::{CliError, Exit};
use crate::own_relay;
use crate::process;
use crate::store::{self, Access};
use crate::wiring;

/// How long tasks may take to end after the daemon has.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How long all of a stop may take, with room to spare below the five seconds that are promised.
const STOP: Duration = Duration::from_millis(4_500);

/// Runs it, until SIGINT or SIGTERM.
///
/// # Errors
/// It could not be begun, or the store failed at the start.
pub fn run(_: RunArgs, context: Context) -> Result<Exit, CliError> {
    let metrics = process::metrics();
    let traces = wiring::install_telemetry(&context, &metrics)?;
    context.strategies.warnings().iter().for_each(|warning| tracing::error!("{warning}"));
    let cancel = CancellationToken::new();
    let stopping = Arc::new(OnceLock::new());
    let result = served(&context, &traces, metrics, &cancel, &stopping);
    // What the end has taken so far is taken off the time for the traces: a stop is promised to take five seconds at most.
    let asked = stopping.get().copied().unwrap_or_else(Instant::now);
    traces.finish((asked + STOP).saturating_duration_since(Instant::now()).clamp(LAST_WORDS, wiring::FLUSH));
    tracing::info!("stopped");
    result.map(|()| Exit::Done)
}

/// From the opening of the store to its closing. `stopping` is told when the end was asked for.
fn served(
    context: &Context,
    traces: &Traces,
    metrics: Metrics,
    cancel: &CancellationToken,
    stopping: &Arc<OnceLock<Instant>>,
) -> Result<(), CliError> {
    process::make_room(context.config.limits.max_relays);
    let store = Arc::new(store::open(&context.config, Access::Judge, Some(metrics.clone()))?);
    let runtime = wiring::runtime(context.config.limits.max_relays)?;
    let result = runtime.block_on(async {
        wiring::stop_on_signal(cancel.clone())?;
        let (stopped, stopping) = (cancel.clone(), Arc::clone(stopping));
        tokio::spawn(async move {
            stopped.cancelled().await;
            stopping.get_or_init(Instant::now);
        });
        serve(context, store.clone(), metrics, traces.tracer(), shown(), cancel.clone()).await
    });
    runtime.shutdown_timeout(LAST_WORDS);
    store.close()?;
    result
}

/// Status and health before there are any: what looks like a daemon without relays says that it has only begun.
pub(super) fn shown() -> Shown {
    let starting = StatusReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        at: now(),
        trouble: STARTING.to_owned(),
        ..StatusReport::default()
    };
    Shown { status: watch::Sender::new(Arc::new(starting)), health: watch::Sender::new(Health::Ok) }
}

/// What is shown as trouble until the first status is there.
const STARTING: &str = "starting: what is stored is looked through, and no relay is known yet";

/// The daemon with its admin endpoint, until `cancel`.
///
/// # Errors
/// The endpoint can't listen, or the store failed at the start.
pub(super) async fn serve(
    context: &Context,
    store: Arc<dyn EventStore>,
    metrics: Metrics,
    tracer: Tracer,
    shown: Shown,
    cancel: CancellationToken,
) -> Result<(), CliError> {
    let config = &context.config;
    let endpoint = match config.admin.listen {
        None => None,
        Some(address) => {
            let listener =
                admin::bind(&address.to_string()).await.map_err(|error| CliError::Failed(error.to_string()))?;
            if let Ok(address) = listener.local_addr() {
                tracing::info!(%address, "admin endpoint");
            }
            let state = AdminState {
                status: shown.status.subscribe(),
                health: shown.health.subscribe(),
                metrics: metrics.clone(),
                hosts: Arc::from(config.admin.hosts.as_slice()),
            };
            Some(tokio::spawn(admin::serve(listener, state, cancel.clone())))
        }
    };
    let own = own_relay::start(config, Arc::clone(&store), metrics.clone(), cancel.clone()).await?;
    let (serving, own) = own.unzip();
    let shared = Shared { waits_for_room: true, ..wiring::shared(config, store, metrics, tracer)? };
    let connector = wiring::connector(config)?;
    daemon::run(DaemonConfig { serving, ..daemon_config(context) }, connector, shared, shown, cancel).await?;
    if let Some(own) = own
        && let Err(error) = own.await
    {
        tracing::warn!(%error, "the own relay ended badly");
    }
    if let Some(endpoint) = endpoint
        && let Ok(Err(error)) = endpoint.await
    {
        tracing::warn!(%error, "the admin endpoint ended badly");
    }
    Ok(())
}

/// What the daemon decides and connects by.
fn daemon_config(context: &Context) -> DaemonConfig {
    let Context { config, strategies, .. } = context;
    let relay_strategies: HashMap<_, _> = config
        .sync
        .relays
        .iter()
        .filter_map(|(url, relay)| Some((url.clone(), strategies.order(relay.strategies.as_deref()?))))
        .collect();
    DaemonConfig {
        manager: manager_config(config),
        strategies: strategies.order(&config.sync.strategies),
        relay_strategies,
        rate_limit_cooldown: config.health.rate_limit_cooldown,
        max_future_s: config.limits.max_future.as_secs(),
        keys: config.service.keys.clone(),
        serving: None,
        plugins: {
            let strategies = strategies.clone();
            Arc::new(move || strategies.plugins())
        },
        seed: wiring::seed(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn manager_config(config: &Config) -> ManagerConfig {
    let (sync, limits) = (&config.sync, &config.limits);
    let disabled = |wanted: bool| {
        sync.relays.iter().filter(move |(_, relay)| relay.disabled == wanted).map(|(url, _)| url.clone())
    };
    ManagerConfig {
        domains: config.service.domain.clone(),
        bootstrap_relays: sync.bootstrap_relays.iter().cloned().collect(),
        named_relays: disabled(false).collect::<BTreeSet<_>>(),
        disabled_relays: disabled(true).collect(),
        discover: sync.discover,
        batch_window_ms: millis(sync.batch_window),
        own_relay: config.service.own_relay.clone(),
        // The embedded own relay's feed has sequence numbers: there is nothing to settle.
        settle_ms: config.service.own_relay.as_ref().map_or(0, |_| millis(sync.settle)),
        quick_reconnect_window_ms: millis(sync.quick_reconnect_window),
        catch_up_overlap_ms: millis(sync.catch_up_overlap),
        consolidation_threshold: sync.consolidation_threshold,
        consolidation_wait_ms: millis(sync.consolidation_wait),
        daily_sync_ms: sync.daily_sync.as_ref().map(|span| (millis(*span.start()), millis(*span.end()))),
        chunk_size: sync.chunk_size,
        connect_timeout_ms: millis(sync.connect_timeout),
        health: health_config(config),
        max_relays: limits.max_relays,
        max_relays_per_repo: limits.max_relays_per_repo,
        seed: wiring::seed(),
        ..ManagerConfig::default()
    }
}

fn health_config(config: &Config) -> HealthConfig {
    let health = &config.health;
    HealthConfig {
        base_backoff_ms: millis(health.base_backoff),
        max_backoff_ms: millis(health.max_backoff),
        dead_after_ms: millis(health.dead_after),
        dead_retry_ms: millis(health.dead_retry),
        rate_limit_cooldown_ms: millis(health.rate_limit_cooldown),
        stable_after_ms: millis(health.stable_after),
        fault_memory_ms: millis(health.fault_memory),
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_the_first_status_there_is_one_that_says_so() {
        let shown = shown();
        let status = shown.status.borrow();
        assert!(status.trouble.starts_with("starting") && status.relays.is_empty(), "{status:?}");
        assert!(status.at > 0 && !status.version.is_empty(), "{status:?}");
    }
}
