//! Certificates, good and bad.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use sync_core::model::RelayUrl;
use sync_core::transport::FaultKind;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_tungstenite::accept_async;
use transport_ws::{CertificateDer, TransportConfig};

use crate::support::{answering, connect, connector, http, listen, receive, refusal, relay_url};

/// A certificate authority and the relays that it vouches for.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        // Two authorities of one name would differ in their signatures only.
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    fn root(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// A relay on loopback with a certificate for `name`, that echoes one message on each connection.
    async fn relay(&self, name: &str, expired: bool) -> RelayUrl {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        if expired {
            params.not_after = date_time_ymd(2001, 1, 1);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
            .expect("a key that fits");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (listener, url) = listen().await;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    // A request for NIP-11 ends here.
                    let Ok(mut peer) = accept_async(stream).await else { return };
                    while let Some(Ok(message)) = peer.next().await {
                        if message.is_text() && peer.send(message).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        relay_url(&format!("wss://127.0.0.1:{}", url.port()))
    }
}

#[tokio::test]
async fn frames_go_through_tls_both_ways() {
    let authority = Authority::new("trusted");
    let url = authority.relay("127.0.0.1", false).await;
    let config = TransportConfig { extra_roots: vec![authority.root()], ..TransportConfig::default() };
    let mut connection = connect(&connector(config), &url).await.expect("a trusted certificate");
    let frames: Vec<String> = (0..500).map(|at| format!("{at} {}", "x".repeat(700))).collect();
    connection.sink.send(frames.clone()).await.expect("sent");
    let mut echoed = Vec::new();
    while echoed.len() < frames.len() {
        echoed.extend(receive(&mut connection.source, 64).await.expect("open"));
    }
    assert_eq!(echoed, frames);
}

#[tokio::test]
async fn a_bad_certificate_is_a_lasting_fault_with_its_reason() {
    let (trusted, stranger) = (Authority::new("trusted"), Authority::new("stranger"));
    let config = TransportConfig { extra_roots: vec![trusted.root()], ..TransportConfig::default() };
    let connector = connector(config);
    let cases = [
        (stranger.relay("127.0.0.1", false).await, "UnknownIssuer"),
        (trusted.relay("127.0.0.1", true).await, "expired"),
        (trusted.relay("other.example", false).await, "other.example"),
    ];
    for (url, reason) in cases {
        let fault = refusal(&connector, &url).await;
        assert_eq!(fault.kind, FaultKind::Tls, "{fault}");
        assert!(fault.kind.is_lasting() && fault.text.contains(reason), "{reason}: {fault}");
    }
}

#[tokio::test]
async fn a_peer_without_tls_is_a_tls_fault() {
    let url = answering(http("400 Bad Request", "", b"plain HTTP only")).await;
    let fault =
        refusal(&connector(TransportConfig::default()), &relay_url(&format!("wss://127.0.0.1:{}", url.port()))).await;
    assert_eq!(fault.kind, FaultKind::Tls, "{fault}");
}

#[tokio::test]
async fn a_peer_that_closes_in_the_handshake_may_be_tried_again() {
    let url = answering(Vec::new()).await;
    let fault =
        refusal(&connector(TransportConfig::default()), &relay_url(&format!("wss://127.0.0.1:{}", url.port()))).await;
    assert_eq!(fault.kind, FaultKind::Closed, "{fault}");
}
