//! Puts the rooms together: transport, ingest, log, as the configuration asks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine::Clock;
use engine::driver::Shared;
use engine::ingest::{Ingest, OwnRelay};
use sync_core::check::EventLimits;
use sync_core::model::RelayUrl;
use sync_core::store::EventStore;
use sync_core::strategy::RelayProfile;
use sync_core::transport::{BoxFuture, Connection, Connector, Fault, Target};
use telemetry::Metrics;
use telemetry::log::{self, LogOptions};
use telemetry::spans::Tracer;
use telemetry::traces::{TraceOptions, Traces};
use tokio_util::sync::CancellationToken;
use transport_ws::{AddressGuard, TransportConfig, WsConnector};

use crate::commands::Context;
use crate::config::{Config, LogFormat, RelayLimits};
use crate::exit::CliError;

/// How long a command waits for the collector of traces at its end.
pub const FLUSH: Duration = Duration::from_secs(2);

/// Sets up the log, and the export of traces where one is asked for; called once, by the commands that log. Whoever calls
/// it finishes the traces at its end.
///
/// # Errors
/// `--log` can't be read.
pub fn install_telemetry(context: &Context, metrics: &Metrics) -> Result<Traces, CliError> {
    let Context { common, config, environment, .. } = context;
    let options = LogOptions {
        filter: Some(common.log_level().as_str().to_owned()),
        quiet: common.quiet,
        format: match config.telemetry.log_format {
            LogFormat::Text => log::LogFormat::Text,
            LogFormat::Json => log::LogFormat::Json,
        },
        colours: log::stderr_takes_colours(),
    };
    let telemetry = &config.telemetry;
    let service = telemetry::traces::Service { name: &telemetry.service_name, version: env!("CARGO_PKG_VERSION") };
    let (endpoint, ratio) = (telemetry.otlp_endpoint.as_deref(), telemetry.sample_ratio);
    let wanted = TraceOptions::resolve(endpoint, service, ratio, |name| environment.text(name));
    let started =
        wanted.and_then(|wanted| wanted.map(|wanted| Ok((Traces::start(&wanted, metrics)?, wanted))).transpose());
    let (traces, told) = match started {
        Ok(Some((traces, options))) => (traces, Ok(Some(options.shown_endpoint()))),
        Ok(None) => (Traces::default(), Ok(None)),
        Err(error) => (Traces::default(), Err(error)),
    };
    log::install(&options, &traces).map_err(|error| CliError::Usage(error.to_string()))?;
    match told {
        Ok(Some(endpoint)) => tracing::info!(%endpoint, sample_ratio = ratio, "traces are exported"),
        Ok(None) => {}
        // The work doesn't depend on who watches it.
        Err(error) => tracing::error!(%error, "no traces are exported"),
    }
    Ok(traces)
}

/// The wire, as the limits ask; what the operator knows of a relay counts for more than what the relay says.
///
/// # Errors
/// TLS can't be set up, or a limit is impossible.
pub fn connector(config: &Config) -> Result<Arc<dyn Connector>, CliError> {
    let limits = &config.limits;
    let inner = WsConnector::new(TransportConfig {
        connect_timeout: config.sync.connect_timeout,
        max_message_size: limits.max_message_size,
        guard: AddressGuard { allow_private: limits.allow_private_addresses },
        max_connections_per_host: limits.max_connections_per_host,
        ..TransportConfig::default()
    })
    .map_err(|error| CliError::Failed(error.to_string()))?;
    let known = config.sync.relays.iter().map(|(url, relay)| (url.clone(), relay.limits.clone())).collect();
    Ok(Arc::new(Informed { inner, known }))
}

/// A connector that corrects what relays say of themselves (`sync.relays."…".limits`).
struct Informed<C> {
    inner: C,
    known: BTreeMap<RelayUrl, RelayLimits>,
}

impl<C: Connector> Connector for Informed<C> {
    fn connect(&self, target: Target) -> BoxFuture<'_, Result<Connection, Fault>> {
        let known = self.known.get(&target.relay);
        Box::pin(async move {
            let mut connection = self.inner.connect(target).await?;
            if let Some(limits) = known {
                correct(&mut connection.profile, limits);
            }
            Ok(connection)
        })
    }
}

fn correct(profile: &mut RelayProfile, known: &RelayLimits) {
    let RelayLimits { max_subscriptions, max_filters, max_limit, max_message_length, max_subid_length } = *known;
    profile.max_subscriptions = max_subscriptions.or(profile.max_subscriptions);
    profile.max_filters = max_filters.or(profile.max_filters);
    profile.max_limit = max_limit.or(profile.max_limit);
    profile.max_message_length = max_message_length.or(profile.max_message_length);
    profile.max_subid_length = max_subid_length.or(profile.max_subid_length);
}

/// What every connection shares.
///
/// # Errors
/// The system gives no threads.
pub fn shared(
    config: &Config,
    store: Arc<dyn EventStore>,
    metrics: Metrics,
    tracer: Tracer,
) -> Result<Shared, CliError> {
    let clock = Clock::start();
    let limits = EventLimits { max_event_size: config.limits.max_event_size, max_tags: config.limits.max_tags };
    let url = config.service.own_relay.clone();
    let max_outbox = url.as_ref().map_or(u64::MAX, |_| config.limits.max_outbox);
    let own = OwnRelay { url, max_outbox };
    let ingest = Ingest::start(Arc::clone(&store), limits, clock, metrics.clone(), own)
        .map_err(|error| CliError::Failed(format!("can't start the ingest threads: {error}")))?;
    Ok(Shared {
        store,
        ingest: Arc::new(ingest),
        clock,
        metrics,
        memory_per_relay: config.limits.memory_per_relay,
        parking: Arc::default(),
        waits_for_room: false,
        traces: engine::trace::Traces::new(tracer),
    })
}

/// What else may block at once: tokio's own number.
const BLOCKING_THREADS: usize = 512;

/// The runtime of the long-running commands, which sync with as many relays at once as `relays` says.
///
/// # Errors
/// The system gives no threads.
pub fn runtime(relays: usize) -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread()
        // Each relay's task may wait for the store or for a plugin in place, and holds a thread as long as it does: the runtime
        // must have others left by then, or everything stands still. They are made as they are needed.
        .max_blocking_threads(BLOCKING_THREADS.saturating_add(relays))
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(format!("can't start the runtime: {error}")))
}

/// Cancels on SIGINT or SIGTERM.
///
/// # Errors
/// The system gives no signals.
pub fn stop_on_signal(cancel: CancellationToken) -> Result<(), CliError> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |error: std::io::Error| CliError::Failed(format!("can't listen for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "stopping"),
            _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "stopping"),
        }
        cancel.cancel();
    });
    Ok(())
}

/// A number for whatever wants to look random: differs from run to run.
pub fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_relay_may_wait_in_place_and_all_else_goes_on() {
        const RELAYS: usize = 64;
        let runtime = runtime(RELAYS).expect("there are threads");
        let (arrived, arrives) = channel();
        let mut waiting = Vec::new();
        for _ in 0..BLOCKING_THREADS + RELAYS / 2 {
            let (goes_on, waits) = channel::<()>();
            let arrived = arrived.clone();
            runtime.spawn(async move {
                tokio::task::block_in_place(|| {
                    let told = arrived.send(());
                    // It waits until the other end is gone.
                    told.is_ok() && waits.recv().is_ok()
                })
            });
            waiting.push(goes_on);
        }
        let came = waiting.iter().take_while(|_| arrives.recv_timeout(Duration::from_secs(60)).is_ok()).count();
        let all = waiting.len();
        drop(waiting);
        assert_eq!(came, all);
    }
}
