//! The task of a connection, and its handle.

use sync_core::link::{LinkCommand, LinkConfig};
use sync_core::model::RelayUrl;
use sync_core::transport::{Connection, Fault, FaultKind};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{OutboxEnd, RelayEvent, Shared, drive};

/// Handle of a connection's task.
pub struct Driven {
    /// Where its commands go.
    pub commands: mpsc::Sender<LinkCommand>,
    /// Ends it.
    pub cancel: CancellationToken,
    /// The task.
    pub task: JoinHandle<()>,
}

/// Commands that may wait for a connection.
const COMMAND_QUEUE: usize = 64;

/// Starts [`drive`] as a task; `outbox` for the external own relay alone.
pub fn spawn(
    connection: Connection,
    config: LinkConfig,
    shared: Shared,
    outbox: Option<OutboxEnd>,
    events: mpsc::Sender<(RelayUrl, RelayEvent)>,
    cancel: CancellationToken,
) -> Driven {
    let (commands, receiver) = mpsc::channel(COMMAND_QUEUE);
    let (relay, last_word, metrics) = (config.relay.clone(), events.clone(), shared.metrics.clone());
    let driving = tokio::spawn(drive(connection, config, shared, outbox, receiver, events, cancel.clone()));
    let task = tokio::spawn(async move {
        // A panic ends one connection, not the process, and is told: its owner would wait for the end for ever.
        if let Err(error) = driving.await
            && error.is_panic()
        {
            tracing::error!(%relay, %error, "a connection's task panicked");
            metrics.relay_memory(relay.as_str(), 0);
            let text = "something that it sent broke a rule of ours; see the log".to_owned();
            let fault = Fault { kind: FaultKind::Protocol, text };
            // Nobody listens any more where the process is ending.
            let _ = last_word.send((relay, RelayEvent::Ended(Some(fault)))).await;
        }
    });
    Driven { commands, cancel, task }
}
