//! One HTTP request to the collector, and what came of it in words to branch on: the exporter itself tells texts only.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::options::{TraceError, TraceOptions};

/// Bytes of an answer that are read.
const MAX_ANSWER: usize = 64 * 1024;
/// Characters of an answer that are shown.
const MAX_SHOWN: usize = 200;
/// How long an open connection is kept for the next request; collectors close theirs after a minute or more.
const KEPT: Duration = Duration::from_secs(30);

/// What came of a request that didn't deliver everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Undelivered {
    /// No connection, or it broke.
    Unreachable(String),
    /// No answer in time.
    Late,
    /// The collector answered by another status than 2xx.
    Refused { status: u16, text: String },
    /// It took the request, but for some of its spans.
    InPart { spans: u64, text: String },
}

/// Where the client leaves what came of the last request, for the worker to take.
pub(super) type Told = Arc<Mutex<Option<Undelivered>>>;

/// A client for one collector. Connections are kept between requests.
#[derive(Debug)]
pub(super) struct Client {
    inner: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
    authorization: Option<String>,
    told: Told,
}

impl Client {
    /// # Errors
    /// TLS is asked for, and the system has no root certificates.
    pub(super) fn new(options: &TraceOptions) -> Result<Self, TraceError> {
        let builder = HttpsConnectorBuilder::new();
        let builder = if options.endpoint.is_secure() {
            builder
                .with_provider_and_native_roots(ring::default_provider())
                .map_err(|error| TraceError::Exporter(format!("no root certificates: {error}")))?
        } else {
            // Never asked for a certificate: the system's need not be read.
            let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|error| TraceError::Exporter(error.to_string()))?;
            builder.with_tls_config(tls.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
        };
        let connector = builder.https_or_http().enable_http1().build();
        let inner = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT)
            .pool_max_idle_per_host(1)
            .build(connector);
        Ok(Self {
            inner,
            timeout: options.timeout,
            authorization: options.endpoint.authorization(),
            told: Told::default(),
        })
    }

    pub(super) fn told(&self) -> Told {
        Arc::clone(&self.told)
    }

    async fn ask(&self, mut request: Request<Bytes>) -> Result<(Response<Bytes>, Option<Undelivered>), Undelivered> {
        if let Some(value) = self.authorization.as_ref().and_then(|value| value.parse().ok()) {
            request.headers_mut().entry("authorization").or_insert(value);
        }
        let unreachable = |error: &dyn Error| Undelivered::Unreachable(with_causes(error));
        let answer = self.inner.request(request.map(Full::new)).await.map_err(|error| unreachable(&error))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map(|body| body.to_bytes());
        if head.status.is_success() {
            let body = body.map_err(|error| unreachable(&*error))?;
            let undelivered = left_out(&body);
            return Ok((Response::from_parts(head, body), undelivered));
        }
        // A refusal is one, whatever becomes of its words.
        let body = body.unwrap_or_else(|error| with_causes(&*error).into());
        let refused =
            Undelivered::Refused { status: head.status.as_u16(), text: shown(&String::from_utf8_lossy(&body)) };
        Ok((Response::from_parts(head, body), Some(refused)))
    }
}

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (result, undelivered) = match tokio::time::timeout(self.timeout, self.ask(request)).await {
            Ok(Ok((answer, undelivered))) => (Ok(answer), undelivered),
            Ok(Err(undelivered)) => (Err("the request failed".into()), Some(undelivered)),
            Err(_) => (Err("no answer in time".into()), Some(Undelivered::Late)),
        };
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = undelivered;
        result
    }
}

/// What a collector that took a request left out of it.
fn left_out(body: &[u8]) -> Option<Undelivered> {
    // Some collectors answer by JSON or by nothing; that they took it their status says.
    let answer = ExportTraceServiceResponse::decode(body).ok()?;
    let partial = answer.partial_success.filter(|partial| partial.rejected_spans > 0)?;
    let spans = u64::try_from(partial.rejected_spans).ok()?;
    Some(Undelivered::InPart { spans, text: shown(&partial.error_message) })
}

/// An error with what it came of: the outermost alone says little.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    shown(&text)
}

fn shown(text: &str) -> String {
    let mut shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_SHOWN).collect();
    if shown.len() < text.len() && text.chars().count() > MAX_SHOWN {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    use super::*;

    #[test]
    fn what_a_collector_left_out_is_read_from_its_answer() {
        let answer = |rejected_spans| {
            let error_message = "too\nold".to_owned();
            ExportTraceServiceResponse {
                partial_success: Some(ExportTracePartialSuccess { rejected_spans, error_message }),
            }
        };
        let told = left_out(&answer(3).encode_to_vec());
        assert_eq!(told, Some(Undelivered::InPart { spans: 3, text: "too old".to_owned() }));
        for whole in [answer(0).encode_to_vec(), answer(-1).encode_to_vec(), Vec::new(), b"{}".to_vec()] {
            assert_eq!(left_out(&whole), None, "{whole:?}");
        }
    }

    #[test]
    fn an_answer_is_shown_cut_and_on_one_line() {
        assert_eq!(shown("a\r\nb\x1b[31m"), "a  b [31m");
        assert_eq!(shown(&"é".repeat(500)).chars().count(), MAX_SHOWN + 1);
        assert_eq!(shown(&"é".repeat(MAX_SHOWN)).chars().count(), MAX_SHOWN);
    }
}
