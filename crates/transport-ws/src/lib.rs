//! The wire: WebSocket over TCP and TLS, NIP-11, and the guard on the addresses of discovered relays.
//!
//! [`WsConnector`] implements [`sync_core::transport::Connector`]. It knows sockets and time, and nothing of what the
//! frames say.
//!
//! How a connection comes about, all of it within [`TransportConfig::connect_timeout`]:
//!
//! 1. A place among the connections of its host is taken ([`TransportConfig::max_connections_per_host`]).
//! 2. The name is resolved, once. What [`AddressGuard`] refuses is left out, unless the operator named the relay; the
//!    sockets are opened to what remains, so that no second resolution can say something else (SPEC §13).
//! 3. TCP (without delay), TLS where the scheme is `wss`, the WebSocket handshake. Redirects are not followed.
//! 4. Beside step 3, over the same addresses, NIP-11 is read. Once the WebSocket is open it is waited for by at most
//!    [`TransportConfig::nip11_grace`], and a relay without it gets an empty profile.
//!
//! No compression is offered (`permessage-deflate`), so a small message can't unfold into a large one, and a peer that
//! sends compressed frames all the same breaks the protocol.
//!
//! Every failure is a [`sync_core::transport::Fault`]: a kind to branch on and a text for people.

mod config;
mod connector;
mod dial;
mod fault;
mod guard;
mod hosts;
mod nip11;
mod profile;
mod sink;
mod source;

pub use config::{SetupError, TransportConfig};
pub use connector::WsConnector;
pub use guard::{AddressClass, AddressGuard, Forbidden};
pub use profile::profile_from_nip11;
/// The type of [`TransportConfig::extra_roots`].
pub use tokio_rustls::rustls::pki_types::CertificateDer;
