//! The sending half. One task for each connection owns the write side: frames come from the sink and pings from the
//! source, and neither ever waits for a lock that the other holds. The task's queue is short and bounded; a send that
//! its caller gave up on is still written whole, so frames never interleave.

use std::sync::Arc;
use std::time::Duration;

use futures_util::SinkExt;
use futures_util::stream::SplitSink;
use sync_core::model::RelayUrl;
use sync_core::transport::{BoxFuture, Fault, FaultKind, FrameSink};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use crate::config::TransportConfig;
use crate::connector::Ws;
use crate::fault::{fault, of_ws};
use crate::hosts::HostSlot;

/// For the good-bye: the process itself has 5 s to stop (CONTRACT.md).
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Commands that wait for the writer. The sink waits for each of its own, so this is a ping and a few abandoned sends.
const QUEUE: usize = 4;

/// What the writer is told.
pub(crate) enum Command {
    Send { frames: Vec<String>, done: oneshot::Sender<Result<(), Fault>> },
    Ping,
    Close { done: oneshot::Sender<()> },
}

/// What both halves share: when the last of them goes, the writer ends and the host has a place again.
pub(crate) struct Link {
    writer: AbortHandle,
    _slot: HostSlot,
}

impl Link {
    /// Starts the writer.
    pub(crate) fn start(out: SplitSink<Ws, Message>, slot: HostSlot, relay: RelayUrl) -> (Self, mpsc::Sender<Command>) {
        let (commands, queue) = mpsc::channel(QUEUE);
        let writer = tokio::spawn(write(out, queue, relay)).abort_handle();
        (Self { writer, _slot: slot }, commands)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.writer.abort();
    }
}

async fn write(mut out: SplitSink<Ws, Message>, mut queue: mpsc::Receiver<Command>, relay: RelayUrl) {
    while let Some(command) = queue.recv().await {
        let written = match command {
            Command::Send { frames, done } => {
                let written = send_all(&mut out, frames).await;
                let answer = match &written {
                    Ok(()) => Ok(()),
                    Err(error) => Err(of_ws("sending", error)),
                };
                // Nobody may be waiting any more; the frames are sent all the same.
                let _ = done.send(answer);
                written
            }
            Command::Ping => out.send(Message::Ping(Vec::new().into())).await,
            Command::Close { done } => {
                let closed = out.close().await;
                let _ = done.send(());
                closed.and(Err(WsError::ConnectionClosed))
            }
        };
        // The source reads the same socket and reports why it ended.
        if let Err(error) = written {
            tracing::debug!(%relay, %error, "writer ends");
            return;
        }
    }
}

async fn send_all(out: &mut SplitSink<Ws, Message>, frames: Vec<String>) -> Result<(), WsError> {
    for frame in frames {
        out.feed(Message::text(frame)).await?;
    }
    out.flush().await
}

/// The sending half of a connection.
pub(crate) struct Sink {
    commands: mpsc::Sender<Command>,
    relay: RelayUrl,
    send_timeout: Duration,
    max_message_size: usize,
    _link: Arc<Link>,
}

impl Sink {
    pub(crate) fn new(
        commands: mpsc::Sender<Command>,
        relay: RelayUrl,
        config: &TransportConfig,
        link: Arc<Link>,
    ) -> Self {
        let (send_timeout, max_message_size) = (config.send_timeout, config.max_message_size);
        Self { commands, relay, send_timeout, max_message_size, _link: link }
    }

    async fn hand_over(&self, frames: Vec<String>) -> Result<(), Fault> {
        if let Some(frame) = frames.iter().find(|frame| frame.len() > self.max_message_size) {
            let (size, max) = (frame.len(), self.max_message_size);
            let what = format_args!("sending: a message of {size} bytes, {max} are allowed");
            return Err(fault(FaultKind::TooLarge, what));
        }
        let (done, answer) = oneshot::channel();
        let gone = || fault(FaultKind::Closed, "sending: the connection has ended");
        self.commands.send(Command::Send { frames, done }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl FrameSink for Sink {
    fn send(&mut self, frames: Vec<String>) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            let limit = self.send_timeout;
            timeout(limit, self.hand_over(frames)).await.unwrap_or_else(|_| {
                let what = format_args!("sending: the peer did not take everything within {limit:?}");
                Err(fault(FaultKind::Timeout, what))
            })
        })
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let (done, closed) = oneshot::channel();
            let farewell = async {
                if self.commands.send(Command::Close { done }).await.is_ok() {
                    // An error means that the writer has ended, which is what is wanted.
                    let _ = closed.await;
                }
            };
            if timeout(CLOSE_TIMEOUT, farewell).await.is_err() {
                tracing::debug!(relay = %self.relay, "the peer did not take the close frame");
            }
        })
    }
}
