//! What an operator can set about connections, and why each default is what it is.

use std::time::Duration;

use hyper::header::HeaderValue;
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::guard::AddressGuard;

/// How connections are made and kept.
#[derive(Debug, Clone)]
pub struct TransportConfig {
    /// For everything from the name's resolution to the open WebSocket. 10 s: enough for two lost packets on each of
    /// TCP, TLS and HTTP; a relay that needs longer is of no use.
    pub connect_timeout: Duration,
    /// Bytes of one message, in either direction. 4 MiB: what SPEC §13 allows a relay to make us hold; an event may
    /// have 512 KiB and a negentropy frame 2 MiB.
    pub max_message_size: usize,
    /// Bytes read from the socket at once, held for each connection. 32 KiB: some forty events a system call, and
    /// 64 MiB for two thousand connections.
    pub read_buffer_size: usize,
    /// For one call of `send`, all of its frames. 30 s: a peer that takes nothing for so long doesn't read.
    pub send_timeout: Duration,
    /// Silence after which a ping is sent. 30 s: shorter than the idle limits of common proxies (60 s).
    pub ping_interval: Duration,
    /// Silence after which the connection counts as half-open. 90 s; longer than `ping_interval`: the difference is
    /// what the peer has for its answer. Whole messages, pings and pongs count as life; single bytes don't.
    pub silence_timeout: Duration,
    /// Which addresses discovered relays may have (SPEC §13).
    pub guard: AddressGuard,
    /// Connections to one host name at a time, those being made included; requests for NIP-11 aren't counted. 4.
    pub max_connections_per_host: usize,
    /// The `User-Agent` of WebSocket handshakes and NIP-11 requests.
    pub user_agent: String,
    /// For reading NIP-11, from its first byte to its last; never longer than `connect_timeout`. 3 s.
    pub nip11_timeout: Duration,
    /// How long an open WebSocket waits for NIP-11. 1 s: limits known in advance save refused requests, but are
    /// worth no more than that.
    pub nip11_grace: Duration,
    /// Certificates trusted beside the system's: those of a private authority.
    pub extra_roots: Vec<CertificateDer<'static>>,
}

impl Default for TransportConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            max_message_size: 4 << 20,
            read_buffer_size: 32 << 10,
            send_timeout: Duration::from_secs(30),
            ping_interval: Duration::from_secs(30),
            silence_timeout: Duration::from_secs(90),
            guard: AddressGuard { allow_private: false },
            max_connections_per_host: 4,
            user_agent: concat!("grasp-sync/", env!("CARGO_PKG_VERSION")).to_owned(),
            nip11_timeout: Duration::from_secs(3),
            nip11_grace: Duration::from_secs(1),
            extra_roots: Vec::new(),
        }
    }
}

/// Why a connector can't be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// A value that can't work.
    #[error("{key} = {value}: {allowed}")]
    Value {
        /// The field of [`TransportConfig`].
        key: &'static str,
        /// What it holds.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// An extra root is no certificate, or TLS refuses its own set-up.
    #[error("TLS can't be set up: {0}")]
    Tls(String),
}

impl TransportConfig {
    /// Checks the values against each other; the `User-Agent` as a header.
    pub(crate) fn validate(&self) -> Result<HeaderValue, SetupError> {
        let refuse = |key, value: String, allowed| Err(SetupError::Value { key, value, allowed });
        for (key, value) in [
            ("connect_timeout", self.connect_timeout),
            ("send_timeout", self.send_timeout),
            ("ping_interval", self.ping_interval),
            ("nip11_timeout", self.nip11_timeout),
        ] {
            if value.is_zero() {
                return refuse(key, "0s".to_owned(), "must be longer than 0");
            }
        }
        if self.silence_timeout <= self.ping_interval {
            let value = format!("{:?}", self.silence_timeout);
            return refuse("silence_timeout", value, "must be longer than ping_interval");
        }
        for (key, value) in [
            ("max_message_size", self.max_message_size),
            ("read_buffer_size", self.read_buffer_size),
            ("max_connections_per_host", self.max_connections_per_host),
        ] {
            if value == 0 {
                return refuse(key, "0".to_owned(), "must be at least 1");
            }
        }
        HeaderValue::from_str(&self.user_agent).or_else(|_| {
            refuse("user_agent", format!("{:?}", self.user_agent), "must be visible ASCII, as HTTP headers are")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        assert!(TransportConfig::default().validate().is_ok());
    }

    #[test]
    fn values_that_cannot_work_are_named() {
        let key_of = |config: TransportConfig| match config.validate() {
            Err(SetupError::Value { key, .. }) => Some(key),
            _ => None,
        };
        let base = TransportConfig::default;
        let cases = [
            ("connect_timeout", TransportConfig { connect_timeout: Duration::ZERO, ..base() }),
            ("silence_timeout", TransportConfig { silence_timeout: base().ping_interval, ..base() }),
            ("max_message_size", TransportConfig { max_message_size: 0, ..base() }),
            ("max_connections_per_host", TransportConfig { max_connections_per_host: 0, ..base() }),
            ("user_agent", TransportConfig { user_agent: "a\r\nb".to_owned(), ..base() }),
        ];
        for (key, config) in cases {
            assert_eq!(key_of(config), Some(key));
        }
    }
}
