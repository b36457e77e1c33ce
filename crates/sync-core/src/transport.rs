//! What the shell provides as a wire.

use std::future::Future;
use std::pin::Pin;

use crate::model::RelayUrl;
use crate::strategy::RelayProfile;

/// A future that can be sent between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A relay to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its address.
    pub relay: RelayUrl,
    /// Named by the operator (bootstrap, `sync.relays`, own relay, command line): not held to the address guard.
    pub named: bool,
}

/// What kind of fault ended an attempt or a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum FaultKind {
    /// No answer in time.
    Timeout,
    /// Refused, reset, unreachable.
    Network,
    /// The name doesn't resolve. Lasting, where it doesn't pass soon.
    Dns,
    /// The certificate isn't good, or TLS fails. Lasting.
    Tls,
    /// The answer isn't a WebSocket's, or breaks its rules. Lasting, where it doesn't pass soon.
    Protocol,
    /// The address is one that discovered relays may not have (SPEC §13). Lasting.
    Forbidden,
    /// A message beyond the limit.
    TooLarge,
    /// The peer closed the connection.
    Closed,
    /// Nothing was heard for too long: half-open.
    Silent,
    /// It owes answers and says nothing, on a connection that is alive.
    Mute,
    /// The store had no room for so long that what the relay sent meanwhile may be lost. Ours.
    NoRoom,
    /// We have as many connections to its host as we allow ourselves (`limits.max_connections_per_host`). Ours.
    HostFull,
    /// The system gives us no more sockets or files. Ours.
    NoSockets,
}

impl FaultKind {
    /// Whether trying again soon is pointless (SPEC §12).
    pub fn is_lasting(self) -> bool {
        matches!(self, Self::Dns | Self::Tls | Self::Protocol | Self::Forbidden)
    }

    /// Whether a limit of our own kept us from trying: it says nothing of the relay, and isn't held against it.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::NoRoom | Self::HostFull | Self::NoSockets)
    }
}

/// Why a connection could not be made, or ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Fault {
    /// What kind.
    pub kind: FaultKind,
    /// For people: what went wrong, with the address or the certificate where that says more than the relay's own address,
    /// which whoever shows it has beside it.
    pub text: String,
}

/// Makes connections.
pub trait Connector: Send + Sync {
    /// Connects, within the connector's own timeout. NIP-11 is read beside it, and never delays or fails it.
    fn connect(&self, target: Target) -> BoxFuture<'_, Result<Connection, Fault>>;
}

/// An open connection. Dropping both halves ends it.
pub struct Connection {
    /// The sending half.
    pub sink: Box<dyn FrameSink>,
    /// The receiving half.
    pub source: Box<dyn FrameSource>,
    /// What the relay says of itself, as far as it was known when the connection opened.
    pub profile: RelayProfile,
}

/// Sends text frames.
pub trait FrameSink: Send {
    /// Sends `frames` in order and flushes once. Waits while the peer doesn't read, for a bounded time.
    fn send(&mut self, frames: Vec<String>) -> BoxFuture<'_, Result<(), Fault>>;

    /// Says good-bye.
    fn close(&mut self) -> BoxFuture<'_, ()>;
}

/// Receives text frames.
pub trait FrameSource: Send {
    /// Waits for a frame, then takes along what has arrived already, at most `max` frames. An empty vector is the
    /// orderly end. Cancel-safe. Pings are answered inside; silence beyond the keep-alive time is a fault.
    fn receive(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<String>, Fault>>;
}
