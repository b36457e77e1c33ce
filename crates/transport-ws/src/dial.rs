//! From a relay's address to an open byte stream: resolution, the guard, TCP, TLS.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use sync_core::model::RelayUrl;
use sync_core::transport::{Fault, FaultKind, Target};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::config::SetupError;
use crate::fault::{fault, of_io, of_resolution, of_tls};
use crate::guard::AddressGuard;

/// Addresses of one name that are tried; a hostile name may have hundreds.
const MAX_ADDRESSES: usize = 8;

/// A plain or encrypted stream.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// An open byte stream to a relay.
pub(crate) type Wire = Box<dyn Duplex>;

/// Opens byte streams.
pub(crate) struct Dialer {
    guard: AddressGuard,
    tls: TlsConnector,
}

impl Dialer {
    /// Reads the system's certificates (files; blocks for some milliseconds). A system without any can still reach
    /// `ws` relays, so that is a warning.
    pub(crate) fn new(guard: AddressGuard, extra_roots: &[CertificateDer<'static>]) -> Result<Self, SetupError> {
        let mut roots = RootCertStore::empty();
        let native = rustls_native_certs::load_native_certs();
        let (usable, _) = roots.add_parsable_certificates(native.certs);
        if usable == 0 {
            let errors = native.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            tracing::warn!(errors, "the system has no usable root certificates: wss relays can't be verified");
        }
        for root in extra_roots {
            roots.add(root.clone()).map_err(|error| SetupError::Tls(format!("an extra root: {error}")))?;
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| SetupError::Tls(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { guard, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// The addresses that may be connected to, in the order of trying; never empty.
    pub(crate) async fn resolve(&self, target: &Target, deadline: Instant) -> Result<Vec<SocketAddr>, Fault> {
        let relay = &target.relay;
        let (host, port) = (bare_host(relay), relay.port());
        let found: Vec<SocketAddr> = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => within(deadline, "resolving the name", tokio::net::lookup_host((host, port)))
                .await?
                .map_err(|error| of_resolution(relay, &error))?
                .collect(),
        };
        let guard = if target.named { AddressGuard { allow_private: true } } else { self.guard };
        permitted(guard, relay, found).map(in_turns)
    }

    /// Opens a stream to the first of `addresses` that answers. Each gets an equal share of the time that is left, and
    /// one share is kept for what follows.
    pub(crate) async fn dial(
        &self,
        relay: &RelayUrl,
        addresses: &[SocketAddr],
        deadline: Instant,
    ) -> Result<Wire, Fault> {
        let mut last = None;
        let mut shares = addresses.len() as u32 + 1;
        for address in addresses {
            let now = Instant::now();
            let until = now + deadline.saturating_duration_since(now) / shares;
            shares -= 1;
            let doing = format!("connecting to {address}");
            match within(until, &doing, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return self.secure(relay, stream, deadline).await,
                Ok(Err(error)) => last = Some(of_io(&doing, &error)),
                Err(late) => last = Some(late),
            }
        }
        Err(last.unwrap_or_else(|| fault(FaultKind::Dns, "the name has no address")))
    }

    async fn secure(&self, relay: &RelayUrl, stream: TcpStream, deadline: Instant) -> Result<Wire, Fault> {
        // Small frames sent one after another would wait for acknowledgements (WIRE.md).
        stream.set_nodelay(true).map_err(|error| of_io("setting TCP_NODELAY", &error))?;
        if !relay.is_tls() {
            return Ok(Box::new(stream));
        }
        let host = bare_host(relay);
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| fault(FaultKind::Tls, format_args!("`{host}` is no name that a certificate could prove")))?;
        let handshake = self.tls.connect(name, stream);
        match within(deadline, "TLS handshake", handshake).await? {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(of_tls(relay, &error)),
        }
    }
}

/// `future`, or a [`FaultKind::Timeout`] that says what was being done.
pub(crate) async fn within<T>(deadline: Instant, doing: &str, future: impl Future<Output = T>) -> Result<T, Fault> {
    timeout_at(deadline, future)
        .await
        .map_err(|_| fault(FaultKind::Timeout, format_args!("{doing}: no answer in time")))
}

/// The host without the brackets of an IPv6 address.
fn bare_host(relay: &RelayUrl) -> &str {
    relay.host().trim_start_matches('[').trim_end_matches(']')
}

/// What `guard` lets through of the addresses that were found.
fn permitted(guard: AddressGuard, relay: &RelayUrl, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Fault> {
    let mut refused = None;
    let mut allowed = Vec::with_capacity(found.len());
    for address in found {
        match guard.check(address.ip()) {
            Ok(()) => allowed.push(address),
            Err(forbidden) => refused = refused.or(Some(forbidden)),
        }
    }
    match refused {
        _ if !allowed.is_empty() => Ok(allowed),
        Some(forbidden) => {
            let host = relay.host();
            let what = format_args!(
                "{host} is at {forbidden}; discovered relays must have public ones unless \
                 limits.allow_private_addresses is set"
            );
            Err(fault(FaultKind::Forbidden, what))
        }
        None => Err(fault(FaultKind::Dns, "the name has no address")),
    }
}

/// The families in turns, beginning with the resolver's preference (RFC 8305 §4): where one family is broken, the
/// second attempt is of the other. At most [`MAX_ADDRESSES`].
fn in_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let preferred = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == preferred);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut turns = Vec::new();
    while turns.len() < MAX_ADDRESSES {
        let before = turns.len();
        turns.extend(first.next());
        turns.extend(second.next());
        if turns.len() == before {
            break;
        }
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    fn relay() -> RelayUrl {
        RelayUrl::parse("wss://relay.example").expect("valid")
    }

    #[test]
    fn only_permitted_addresses_of_a_name_are_tried() {
        let found = addresses(&["127.0.0.1:443", "9.9.9.9:443", "[::1]:443", "[2620:fe::9]:443"]);
        let guard = AddressGuard { allow_private: false };
        assert_eq!(permitted(guard, &relay(), found), Ok(addresses(&["9.9.9.9:443", "[2620:fe::9]:443"])));
    }

    #[test]
    fn a_name_with_forbidden_addresses_only_is_refused_by_name_and_address() {
        let guard = AddressGuard { allow_private: false };
        let refused = permitted(guard, &relay(), addresses(&["10.0.0.7:443", "[::1]:443"])).expect_err("forbidden");
        assert_eq!(refused.kind, FaultKind::Forbidden);
        assert!(refused.text.contains("relay.example is at 10.0.0.7, a private address"), "{}", refused.text);
        assert_eq!(permitted(guard, &relay(), Vec::new()).expect_err("nothing there").kind, FaultKind::Dns);
    }

    #[test]
    fn families_take_turns_and_are_bounded() {
        let found = addresses(&["[2620:fe::1]:1", "[2620:fe::2]:1", "9.9.9.1:1", "9.9.9.2:1", "9.9.9.3:1"]);
        let expected = ["[2620:fe::1]:1", "9.9.9.1:1", "[2620:fe::2]:1", "9.9.9.2:1", "9.9.9.3:1"];
        assert_eq!(in_turns(found), addresses(&expected));
        let many = (0..200).map(|at| SocketAddr::from(([9, 9, 9, at], 1))).collect();
        assert_eq!(in_turns(many).len(), MAX_ADDRESSES);
    }
}
