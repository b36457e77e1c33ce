//! What the relay answers by HTTP: its NIP-11 document, a line for browsers, and the way into WebSocket.

use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ACCEPT, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CONNECTION,
    CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    UPGRADE, VARY,
};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const NOSTR_JSON: &str = "application/nostr+json";
/// A key is 16 bytes in base64.
const KEY_LENGTH: usize = 24;

/// Where a connection's way into WebSocket is put for whoever drives the connection.
pub(crate) type Upgrade = Arc<Mutex<Option<OnUpgrade>>>;

/// What is served besides WebSocket.
pub(crate) struct Pages {
    /// The NIP-11 document.
    pub(crate) document: Bytes,
    /// What a browser is told.
    pub(crate) text: Bytes,
}

/// The answer to a request. The path is nobody's concern but a browser's: a proxy may have put the relay below one.
pub(crate) fn answer<B>(mut request: Request<B>, pages: &Pages, upgrade: &Upgrade) -> Response<Full<Bytes>> {
    if has_token(request.headers(), &UPGRADE, "websocket") {
        return match accept_key(&request) {
            Some(key) => {
                let way = hyper::upgrade::on(&mut request);
                *upgrade.lock().unwrap_or_else(PoisonError::into_inner) = Some(way);
                switching(&key)
            }
            None => {
                let mut refusal = plain(StatusCode::BAD_REQUEST, Bytes::from_static(b"a broken WebSocket request\n"));
                refusal.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
                refusal
            }
        };
    }
    match *request.method() {
        Method::OPTIONS => with_cors(plain(StatusCode::NO_CONTENT, Bytes::new())),
        Method::GET | Method::HEAD if wants_document(request.headers()) => {
            let mut response = with_cors(plain(StatusCode::OK, pages.document.clone()));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(NOSTR_JSON));
            response
        }
        Method::GET | Method::HEAD if request.uri().path() != "/" => {
            plain(StatusCode::NOT_FOUND, Bytes::from_static(b"nothing is here; the relay is at /\n"))
        }
        Method::GET | Method::HEAD => with_cors(plain(StatusCode::OK, pages.text.clone())),
        _ => {
            let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, Bytes::from_static(b"GET only\n"));
            refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
            refusal
        }
    }
}

fn plain(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(VARY, HeaderValue::from_static("accept"));
    response
}

/// NIP-11: browsers of every origin may read it.
fn with_cors(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, OPTIONS"));
    response
}

fn switching(accept: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(accept) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

/// The key to answer with, where the request is what RFC 6455 asks for.
fn accept_key<B>(request: &Request<B>) -> Option<String> {
    let headers = request.headers();
    let key = headers.get(SEC_WEBSOCKET_KEY)?.as_bytes();
    let sound = request.method() == Method::GET
        && has_token(headers, &CONNECTION, "upgrade")
        && headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13")
        && key.len() == KEY_LENGTH;
    sound.then(|| derive_accept_key(key))
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(token))
}

fn wants_document(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split([',', ';'])).any(|value| value.trim().eq_ignore_ascii_case(NOSTR_JSON))
}
