//! The admin endpoint: status, health and metrics over HTTP, for the operator's machine (CONTRACT.md, "Admin endpoint").
//!
//! It shows what others publish and decides nothing: reports and health come through watches, so that a slow reader sees
//! the latest state and holds up nobody. What a request may cost is bounded: [`server`] bounds connections, headers and
//! time; bodies are never read; [`events`] bounds the streams, [`stall`] drops who doesn't read. There is no
//! authentication: it belongs on a loopback address, and [`host`] keeps pages of strangers from reading it there.

mod events;
mod host;
mod page;
mod routes;
mod server;
mod stall;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use engine::daemon::Health;
use sync_core::manager::StatusReport;
use telemetry::Metrics;
use tokio::net::TcpListener;
use tokio::sync::watch;

pub(crate) use server::serve;

/// What the endpoint shows.
#[derive(Debug, Clone)]
pub(crate) struct AdminState {
    /// The relays. Sending a new report tells the event streams.
    pub(crate) status: watch::Receiver<Arc<StatusReport>>,
    /// Whether the process can work.
    pub(crate) health: watch::Receiver<Health>,
    /// The metrics of the process.
    pub(crate) metrics: Metrics,
    /// Names that it answers to beside the usual ones ([`host`]).
    pub(crate) hosts: Arc<[String]>,
}

/// `admin.listen` can't be listened on.
#[derive(Debug, thiserror::Error)]
#[error("admin.listen = \"{listen}\": {source}{}", hint(source))]
pub(crate) struct BindError {
    listen: String,
    source: io::Error,
}

/// Listens on `listen`, a `host:port`; port 0 takes a free one.
///
/// # Errors
/// The address can't be read or resolved, isn't this machine's, or is taken; the message says what to do.
pub(crate) async fn bind(listen: &str) -> Result<TcpListener, BindError> {
    TcpListener::bind(listen).await.map_err(|source| BindError { listen: listen.to_owned(), source })
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another process listens there (another grasp-sync?): choose another port, or \"\" for no admin endpoint"
        }
        io::ErrorKind::AddrNotAvailable => "; it must be an address of this machine, such as 127.0.0.1:7448",
        io::ErrorKind::InvalidInput => "; it must be host:port, such as 127.0.0.1:7448",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need a privilege: choose a higher one",
        _ => "",
    }
}
