//! Puts the rooms together: transport, ingest, log, as the configuration asks.

use std::sync::Arc;

use engine::Clock;
use engine::driver::Shared;
use engine::ingest::{EventLimits, Ingest};
use sync_core::store::EventStore;
use telemetry::Metrics;
use telemetry::log::{self, LogOptions};
use transport_ws::{AddressGuard, TransportConfig, WsConnector};

use crate::cli::Common;
use crate::config::{Config, LogFormat};
use crate::exit::CliError;

/// Sets up the log; called once, by the commands that log.
///
/// # Errors
/// `--log` can't be read.
pub fn install_log(common: &Common, config: &Config) -> Result<(), CliError> {
    let options = LogOptions {
        filter: Some(common.log_level().as_str().to_owned()),
        quiet: common.quiet,
        format: match config.telemetry.log_format {
            LogFormat::Text => log::LogFormat::Text,
            LogFormat::Json => log::LogFormat::Json,
        },
        colours: log::stderr_takes_colours(),
    };
    log::install(&options).map_err(|error| CliError::Usage(error.to_string()))
}

/// The wire, as the limits ask.
///
/// # Errors
/// TLS can't be set up, or a limit is impossible.
pub fn connector(config: &Config) -> Result<WsConnector, CliError> {
    let limits = &config.limits;
    WsConnector::new(TransportConfig {
        connect_timeout: config.sync.connect_timeout,
        max_message_size: limits.max_message_size,
        guard: AddressGuard { allow_private: limits.allow_private_addresses },
        max_connections_per_host: limits.max_connections_per_host,
        ..TransportConfig::default()
    })
    .map_err(|error| CliError::Failed(error.to_string()))
}

/// What every connection shares.
///
/// # Errors
/// The system gives no threads.
pub fn shared(config: &Config, store: Arc<dyn EventStore>, metrics: Metrics) -> Result<Shared, CliError> {
    let clock = Clock::start();
    let limits = EventLimits { max_event_size: config.limits.max_event_size, max_tags: config.limits.max_tags };
    let ingest = Ingest::start(Arc::clone(&store), limits, clock, metrics.clone())
        .map_err(|error| CliError::Failed(format!("can't start the ingest threads: {error}")))?;
    Ok(Shared { store, ingest: Arc::new(ingest), clock, metrics, memory_per_relay: config.limits.memory_per_relay })
}

/// The runtime of the long-running commands.
///
/// # Errors
/// The system gives no threads.
pub fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(format!("can't start the runtime: {error}")))
}

/// A number for whatever wants to look random: differs from run to run.
pub fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}
