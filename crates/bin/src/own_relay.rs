//! The embedded own relay: where it listens, what it is told, who counts what it does (CONTRACT.md, `[service]`).

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;

use engine::daemon::Serving;
use engine::trouble::Trouble;
use own_relay::{Observe, RelayConfig, RelayLimits};
use sync_core::check::EventLimits;
use sync_core::store::EventStore;
use telemetry::Metrics;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::exit::CliError;

/// Listens where the configuration says, and serves the store there until `cancel`. `None` where the own relay is another
/// process, or nothing is to listen. The address is where it really listens, whatever port was asked for.
///
/// # Errors
/// It can't listen there.
pub(crate) async fn start(
    config: &Config,
    store: Arc<dyn EventStore>,
    metrics: Metrics,
    cancel: CancellationToken,
) -> Result<Option<(Serving, JoinHandle<()>)>, CliError> {
    let Some(listen) = config.service.listen.filter(|_| config.service.own_relay.is_none()) else { return Ok(None) };
    let (listener, address) = bind(listen).await?;
    tracing::info!(%address, "own relay");
    let serving = Serving { url: format!("ws://{address}"), trouble: Trouble::default() };
    let (trouble, config) = (serving.trouble.clone(), relay_config(config));
    let task = tokio::spawn(async move {
        let counted = Arc::new(Counted(metrics));
        if let Err(error) = own_relay::serve(listener, config, store, counted, cancel).await {
            tracing::error!(%error, "the own relay has ended: nobody is served any more");
            trouble.raise(&format!("the own relay has ended: {error}"));
        }
    });
    Ok(Some((serving, task)))
}

async fn bind(listen: SocketAddr) -> Result<(TcpListener, SocketAddr), CliError> {
    let bound = TcpListener::bind(listen).await.and_then(|listener| {
        let address = listener.local_addr()?;
        Ok((listener, address))
    });
    bound.map_err(|error| CliError::Failed(format!("service.listen = \"{listen}\": {error}{}", hint(&error))))
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::AddrInUse => {
            "; another process listens there: choose another port, or name that relay in service.own_relay"
        }
        ErrorKind::AddrNotAvailable => "; it must be an address of this machine, such as 127.0.0.1:7447",
        ErrorKind::PermissionDenied => "; ports below 1024 need a privilege: choose a higher one",
        _ => "",
    }
}

fn relay_config(config: &Config) -> RelayConfig {
    let names = &config.service.domain;
    RelayConfig {
        name: names.first().cloned().unwrap_or_else(|| "grasp-sync".to_owned()),
        description: "Git repositories over Nostr, kept complete by grasp-sync.".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        supported_grasps: config.service.supported_grasps.clone(),
        limits: RelayLimits::default(),
        events: EventLimits { max_event_size: config.limits.max_event_size, max_tags: config.limits.max_tags },
        max_future_s: config.limits.max_future.as_secs(),
        max_message: config.limits.max_message_size,
    }
}

struct Counted(Metrics);

impl Observe for Counted {
    fn connections(&self, open: usize) {
        self.0.own_connections(open as u64);
    }

    fn limit_hit(&self, limit: &'static str) {
        self.0.limit_hit(limit);
    }

    fn received(&self, outcome: &'static str) {
        self.0.own_received(outcome);
    }

    fn sent(&self, events: u64) {
        self.0.own_sent(events);
    }
}
