//! Accepts connections and bounds what each may cost: how many there are, how long one takes, how large its header is.
//!
//! A connection carries one request. Where all places are taken, new ones wait in the kernel's backlog; every place comes
//! free within [`REQUEST_TIMEOUT`], but for the few that event streams may hold.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::host::Hosts;
use super::stall::Impatient;
use super::{AdminState, routes};

/// Connections at a time.
const MAX_CONNECTIONS: usize = 64;
/// How long a client may take to send its header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection lasts, its answer read by the client included; event streams are exempt.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of a header, and of the buffer that it is read into.
const MAX_HEADER: usize = 16 * 1024;
/// Header lines.
const MAX_HEADER_LINES: usize = 64;
/// How long open connections may take to end at shutdown.
const GRACE: Duration = Duration::from_secs(1);
/// The pause after a failure to accept, which is mostly a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Failures to accept in a row before the endpoint gives up.
const MAX_ACCEPT_FAILURES: u32 = 60;

/// Takes a connection out of [`REQUEST_TIMEOUT`]: for answers that have no end.
#[derive(Debug, Clone)]
pub(super) struct Unhurried(CancellationToken);

impl Unhurried {
    /// Lifts the deadline of this request's connection.
    pub(super) fn lift_deadline(&self) {
        self.0.cancel();
    }
}

impl<S: Sync> FromRequestParts<S> for Unhurried {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(|| Self(CancellationToken::new())))
    }
}

/// Serves the endpoint until `shutdown`; open connections then have a second to end.
///
/// # Errors
/// Accepting connections has failed for a minute; the last failure.
pub(crate) async fn serve(listener: TcpListener, state: AdminState, shutdown: CancellationToken) -> io::Result<()> {
    let named = Arc::clone(&state.hosts);
    let app = routes::router(state, shutdown.clone());
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut failures = 0;
    let outcome = loop {
        let next = async {
            let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
            listener.accept().await.map(|(stream, _)| (stream, place))
        };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break Ok(()),
            accepted = next => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                failures = 0;
                while connections.try_join_next().is_some() {}
                let hosts = Hosts::of(&stream, Arc::clone(&named));
                let connection = connection(stream, app.clone().layer(Extension(hosts)), shutdown.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) if failures == MAX_ACCEPT_FAILURES => break Err(error),
            Err(error) => {
                failures += 1;
                warn!(%error, failures, "the admin endpoint can't accept a connection");
                tokio::select! {
                    () = shutdown.cancelled() => break Ok(()),
                    () = sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    };
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(GRACE, ended).await.is_err() {
        debug!("connections of the admin endpoint were cut off at shutdown");
    }
    outcome
}

async fn connection(stream: TcpStream, app: Router, shutdown: CancellationToken) {
    let unhurried = Unhurried(CancellationToken::new());
    let lifted = unhurried.0.clone();
    let late = async {
        tokio::select! {
            () = sleep(REQUEST_TIMEOUT) => {}
            () = lifted.cancelled() => pending().await,
        }
    };
    let service = TowerToHyperService::new(app.layer(Extension(unhurried)));
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .keep_alive(false)
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(MAX_HEADER)
            .max_headers(MAX_HEADER_LINES)
            .serve_connection(TokioIo::new(Impatient::new(stream)), service)
    );
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = late => return debug!("a client of the admin endpoint was too slow"),
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        debug!(%error, "a connection to the admin endpoint failed");
    }
}
