//! Asks a relay for its NIP-11 document: one HTTP request to the addresses that the WebSocket goes to.
//!
//! Nothing depends on the answer, so every failure is an empty profile and a line in the log. Redirects are not
//! followed, and no compression is asked for.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use sync_core::model::RelayUrl;
use sync_core::strategy::RelayProfile;
use sync_core::transport::Fault;
use tokio::time::{Instant, timeout_at};

use crate::dial::Dialer;
use crate::profile::profile_from_nip11;

/// Bytes of a document; those of the field have about 2 KiB.
const MAX_DOCUMENT: usize = 256 << 10;
/// Bytes held of the answer's head.
const MAX_HEAD: usize = 64 << 10;

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
enum Nip11Error {
    #[error(transparent)]
    Dial(#[from] Fault),
    #[error("the request can't be made: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("answered with HTTP {0}")]
    Status(StatusCode),
    #[error("the document: {0}")]
    Document(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("no answer in time")]
    Late,
}

/// What `relay` says of itself; nothing where it doesn't say so by `deadline`.
pub(crate) async fn fetch(
    dialer: &Dialer,
    relay: &RelayUrl,
    addresses: &[SocketAddr],
    user_agent: &HeaderValue,
    deadline: Instant,
) -> RelayProfile {
    let document = async {
        let wire = dialer.dial(relay, addresses, deadline).await?;
        let (mut sender, connection) =
            http1::Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(wire)).await?;
        let request = request(relay, user_agent)?;
        let exchange = async {
            let answer = sender.send_request(request).await?;
            if answer.status() != StatusCode::OK {
                return Err(Nip11Error::Status(answer.status()));
            }
            let body = Limited::new(answer.into_body(), MAX_DOCUMENT).collect().await;
            Ok(body.map_err(Nip11Error::Document)?.to_bytes())
        };
        let mut exchange = std::pin::pin!(exchange);
        tokio::select! {
            document = &mut exchange => document,
            // The connection may end before what it brought is read; its errors reach the exchange as well.
            _ = connection => exchange.await,
        }
    };
    match timeout_at(deadline, document).await.unwrap_or(Err(Nip11Error::Late)) {
        Ok(document) => profile_from_nip11(&document),
        Err(reason) => {
            tracing::debug!(%relay, %reason, "no NIP-11 document");
            RelayProfile::default()
        }
    }
}

fn request(relay: &RelayUrl, user_agent: &HeaderValue) -> Result<Request<Empty<Bytes>>, hyper::http::Error> {
    let uri: Uri = relay.as_str().parse()?;
    let host = uri.authority().map_or(relay.host(), |authority| authority.as_str());
    Request::get(if relay.path().is_empty() { "/" } else { relay.path() })
        .header(HOST, host)
        .header(ACCEPT, "application/nostr+json")
        .header(ACCEPT_ENCODING, "identity")
        .header(USER_AGENT, user_agent)
        .body(Empty::new())
}
