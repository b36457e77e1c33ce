//! Makes connections: the order of the steps, and NIP-11 beside them.

use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt;
use hyper::header::{HeaderValue, USER_AGENT};
use sync_core::model::RelayUrl;
use sync_core::strategy::RelayProfile;
use sync_core::transport::{BoxFuture, Connection, Connector, Fault, FaultKind, Target};
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::config::{SetupError, TransportConfig};
use crate::dial::{Dialer, Wire, within};
use crate::fault::{fault, of_ws};
use crate::hosts::Hosts;
use crate::nip11;
use crate::sink::{Link, Sink};
use crate::source::Source;

/// Bytes gathered before they are written, between two flushes.
const WRITE_BUFFER: usize = 32 << 10;
/// Room in the write buffer for frame headers and pongs beside one message of the largest size.
const WRITE_MARGIN: usize = 4 << 10;

/// An open WebSocket, before it is split.
pub(crate) type Ws = WebSocketStream<Wire>;

/// Connects to relays over WebSocket. One serves the whole process: it counts the connections of each host.
pub struct WsConnector {
    config: TransportConfig,
    user_agent: HeaderValue,
    dialer: Dialer,
    hosts: Arc<Hosts>,
}

impl WsConnector {
    /// A connector. Reads the system's root certificates from disk, so make one and share it.
    ///
    /// # Errors
    /// [`SetupError`] where a value of `config` can't work or an extra root is no certificate.
    pub fn new(config: TransportConfig) -> Result<Self, SetupError> {
        let user_agent = config.validate()?;
        let dialer = Dialer::new(config.guard, &config.extra_roots)?;
        let hosts = Hosts::new(config.max_connections_per_host);
        Ok(Self { config, user_agent, dialer, hosts })
    }

    async fn open(&self, target: Target) -> Result<Connection, Fault> {
        let deadline = Instant::now() + self.config.connect_timeout;
        let relay = &target.relay;
        let Some(slot) = self.hosts.take(relay.host()) else {
            let limit = self.config.max_connections_per_host;
            tracing::debug!(%relay, limit, "max_connections_per_host reached");
            let what = format_args!("{} has {limit} connections (limits.max_connections_per_host)", relay.host());
            return Err(fault(FaultKind::HostFull, what));
        };
        let addresses = self.dialer.resolve(&target, deadline).await?;

        let until = deadline.min(Instant::now() + self.config.nip11_timeout);
        let profile = nip11::fetch(&self.dialer, relay, &addresses, &self.user_agent, until);
        let socket = async {
            let wire = self.dialer.dial(relay, &addresses, deadline).await?;
            self.handshake(relay, wire, deadline).await
        };
        let (socket, profile) = self.beside(socket, profile, deadline).await?;

        let (out, incoming) = socket.split();
        let (link, commands) = Link::start(out, slot, relay.clone());
        let link = Arc::new(link);
        let sink = Sink::new(commands.clone(), relay.clone(), &self.config, link.clone());
        let source = Source::new(incoming, commands, relay.clone(), &self.config, link);
        Ok(Connection { sink: Box::new(sink), source: Box::new(source), profile })
    }

    /// Runs both; once the socket is open, the profile has [`TransportConfig::nip11_grace`] left.
    async fn beside(
        &self,
        socket: impl Future<Output = Result<Ws, Fault>>,
        profile: impl Future<Output = RelayProfile>,
        deadline: Instant,
    ) -> Result<(Ws, RelayProfile), Fault> {
        let (mut socket, mut profile) = (pin!(socket), pin!(profile));
        tokio::select! {
            socket = &mut socket => {
                let socket = socket?;
                let grace = deadline.min(Instant::now() + self.config.nip11_grace);
                Ok((socket, timeout_at(grace, profile).await.unwrap_or_default()))
            }
            profile = &mut profile => Ok((socket.await?, profile)),
        }
    }

    async fn handshake(&self, relay: &RelayUrl, wire: Wire, deadline: Instant) -> Result<Ws, Fault> {
        let doing = "WebSocket handshake";
        let mut request = relay.as_str().into_client_request().map_err(|error| of_ws(doing, &error))?;
        request.headers_mut().insert(USER_AGENT, self.user_agent.clone());
        let limits = WebSocketConfig::default()
            .read_buffer_size(self.config.read_buffer_size)
            .write_buffer_size(WRITE_BUFFER)
            .max_write_buffer_size(
                WRITE_BUFFER.saturating_add(self.config.max_message_size).saturating_add(WRITE_MARGIN),
            )
            .max_message_size(Some(self.config.max_message_size))
            .max_frame_size(Some(self.config.max_message_size));
        match within(deadline, doing, client_async_with_config(request, wire, Some(limits))).await? {
            Ok((socket, _)) => Ok(socket),
            Err(error) => Err(of_ws(doing, &error)),
        }
    }
}

impl Connector for WsConnector {
    fn connect(&self, target: Target) -> BoxFuture<'_, Result<Connection, Fault>> {
        Box::pin(self.open(target))
    }
}
