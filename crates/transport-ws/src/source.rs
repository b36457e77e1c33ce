//! The receiving half: frames, keep-alive, and how a connection ends.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::SplitStream;
use futures_util::{FutureExt, StreamExt};
use sync_core::model::RelayUrl;
use sync_core::transport::{BoxFuture, Fault, FaultKind, FrameSource};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use crate::config::TransportConfig;
use crate::connector::Ws;
use crate::fault::{fault, of_ws};
use crate::sink::{Command, Link};

/// The receiving half of a connection.
pub(crate) struct Source {
    incoming: SplitStream<Ws>,
    commands: mpsc::Sender<Command>,
    relay: RelayUrl,
    ping_interval: Duration,
    /// How long a ping may stay without any sign of life.
    patience: Duration,
    /// Bytes taken along in one call, beyond the message that passes it.
    max_bytes: usize,
    heard: Instant,
    /// When a ping was sent, nothing having been heard since.
    asked: Option<Instant>,
    /// How the connection ended; `Ok` in order.
    end: Option<Result<(), Fault>>,
    _link: Arc<Link>,
}

impl Source {
    pub(crate) fn new(
        incoming: SplitStream<Ws>,
        commands: mpsc::Sender<Command>,
        relay: RelayUrl,
        config: &TransportConfig,
        link: Arc<Link>,
    ) -> Self {
        Self {
            incoming,
            commands,
            relay,
            ping_interval: config.ping_interval,
            patience: config.silence_timeout.saturating_sub(config.ping_interval),
            max_bytes: config.max_message_size,
            heard: Instant::now(),
            asked: None,
            end: None,
            _link: link,
        }
    }

    /// Nothing is held across an await but `self`, hence cancel-safe.
    async fn next(&mut self, max: usize) -> Result<Vec<String>, Fault> {
        let mut frames = Vec::new();
        while frames.is_empty() {
            if let Some(end) = &self.end {
                return end.clone().map(|()| Vec::new());
            }
            let overdue = match self.asked {
                None => self.heard + self.ping_interval,
                Some(asked) => asked + self.patience,
            };
            // What has arrived comes first: after a long pause of the caller it disproves the silence.
            tokio::select! {
                biased;
                read = self.incoming.next() => frames.extend(self.take(read)),
                () = sleep_until(overdue) => self.overdue(),
            }
            // A peer that sends nothing but pings must not keep the task to itself.
            if frames.is_empty() {
                tokio::task::consume_budget().await;
            }
        }
        let mut bytes = frames.iter().map(String::len).sum::<usize>();
        while frames.len() < max && bytes < self.max_bytes && self.end.is_none() {
            let Some(read) = self.incoming.next().now_or_never() else { break };
            if let Some(frame) = self.take(read) {
                bytes += frame.len();
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    /// The text of a message, or what else it means.
    fn take(&mut self, read: Option<Result<Message, WsError>>) -> Option<String> {
        self.heard = Instant::now();
        self.asked = None;
        match read {
            // A copy, so that the read buffer can be used again.
            Some(Ok(Message::Text(text))) => return Some(text.as_str().to_owned()),
            // A pong for a ping is queued by now, and written by the next read.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Ok(Message::Binary(_))) => {
                self.end = Some(Err(fault(FaultKind::Protocol, "a binary message; Nostr's are text")));
            }
            Some(Ok(Message::Close(reason))) => {
                // The answering close frame is written by a further read; how that ends changes nothing.
                let _ = self.incoming.next().now_or_never();
                self.end = Some(match reason {
                    Some(frame) if !matches!(frame.code, CloseCode::Normal | CloseCode::Away) => {
                        let what = format_args!("closed by the peer with {}: {}", frame.code, frame.reason.as_str());
                        Err(fault(FaultKind::Closed, what))
                    }
                    _ => Ok(()),
                });
            }
            Some(Err(error)) => self.end = Some(Err(of_ws("receiving", &error))),
            None => self.end = Some(Ok(())),
        }
        None
    }

    /// Nothing was heard for `ping_interval`, or since the ping for `patience`.
    fn overdue(&mut self) {
        let now = Instant::now();
        if self.asked.is_some() {
            let silence = now.saturating_duration_since(self.heard);
            let what = format_args!("nothing heard for {} s, not even an answer to a ping", silence.as_secs_f32());
            self.end = Some(Err(fault(FaultKind::Silent, what)));
            return;
        }
        self.asked = Some(now);
        // A full queue means that the peer doesn't read, a closed one that writing has failed: silence decides then.
        if let Err(error) = self.commands.try_send(Command::Ping) {
            tracing::debug!(relay = %self.relay, %error, "no ping can be sent");
        }
    }
}

impl FrameSource for Source {
    /// Beyond `max`, a call ends once it has gathered the bytes of one message of the largest size. Silence is
    /// measured in whole messages, pings and pongs. A close frame with a code other than 1000 and 1001 is a
    /// [`FaultKind::Closed`] with the peer's reason. Once ended, every further call says the same.
    fn receive(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<String>, Fault>> {
        Box::pin(self.next(max))
    }
}
