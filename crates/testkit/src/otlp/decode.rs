//! From protobuf to spans that a test can look at.

use std::collections::BTreeMap;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span as Raw;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;
use serde_json::Value;

/// Attributes by name.
pub type Attributes = BTreeMap<String, Value>;

/// A span as it was sent. Ids are in hex.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The trace.
    pub trace: String,
    /// The span.
    pub id: String,
    /// The span above it; `None` for a root.
    pub parent: Option<String>,
    /// Its name.
    pub name: String,
    /// When it began, and when it ended: nanoseconds of unix time.
    pub time: (u64, u64),
    /// Its attributes.
    pub attributes: Attributes,
    /// What happened to it.
    pub events: Vec<SpanEvent>,
    /// Spans that it points at.
    pub links: Vec<Link>,
    /// Where its status is Error, the reason.
    pub error: Option<String>,
    /// What sent it.
    pub resource: Arc<Attributes>,
}

/// What happened to a span.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanEvent {
    /// What.
    pub name: String,
    /// How.
    pub attributes: Attributes,
}

/// A span that another points at.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Its trace.
    pub trace: String,
    /// Itself.
    pub id: String,
    /// Why.
    pub attributes: Attributes,
}

impl Span {
    /// An attribute; `Null` where there is none of that name.
    pub fn attribute(&self, name: &str) -> &Value {
        self.attributes.get(name).unwrap_or(&Value::Null)
    }

    /// An attribute that is a text; empty where there is none.
    pub fn text(&self, name: &str) -> &str {
        self.attribute(name).as_str().unwrap_or_default()
    }

    /// An attribute that is a whole number; `None` where it is none.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.attribute(name).as_i64()
    }
}

/// The spans of a request's body.
pub(super) fn spans(body: &[u8]) -> Result<Vec<Span>, String> {
    let request = ExportTraceServiceRequest::decode(body).map_err(|error| format!("no OTLP: {error}"))?;
    let mut spans = Vec::new();
    for part in request.resource_spans {
        let resource = Arc::new(attributes(part.resource.map(|resource| resource.attributes).unwrap_or_default()));
        let raw = part.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.extend(raw.map(|raw| span(raw, &resource)));
    }
    Ok(spans)
}

/// The answer to a request of which so many spans were not taken.
pub(super) fn answer(rejected: i64) -> Vec<u8> {
    let error_message = "told to reject".to_owned();
    let partial = ExportTracePartialSuccess { rejected_spans: rejected, error_message };
    ExportTraceServiceResponse { partial_success: (rejected > 0).then_some(partial) }.encode_to_vec()
}

fn span(raw: Raw, resource: &Arc<Attributes>) -> Span {
    let events = raw.events.into_iter();
    let links = raw.links.into_iter();
    let error = raw.status.filter(|status| status.code == StatusCode::Error as i32).map(|status| status.message);
    Span {
        trace: hex(&raw.trace_id),
        id: hex(&raw.span_id),
        parent: (!raw.parent_span_id.is_empty()).then(|| hex(&raw.parent_span_id)),
        name: raw.name,
        time: (raw.start_time_unix_nano, raw.end_time_unix_nano),
        attributes: attributes(raw.attributes),
        events: events.map(|event| SpanEvent { name: event.name, attributes: attributes(event.attributes) }).collect(),
        links: links
            .map(|link| Link {
                trace: hex(&link.trace_id),
                id: hex(&link.span_id),
                attributes: attributes(link.attributes),
            })
            .collect(),
        error,
        resource: Arc::clone(resource),
    }
}

fn attributes(raw: Vec<KeyValue>) -> Attributes {
    raw.into_iter().map(|attribute| (attribute.key, attribute.value.map_or(Value::Null, value))).collect()
}

/// A list, a map or bytes stand as they are written for people: nothing here sends any.
fn value(any: AnyValue) -> Value {
    match any.value {
        Some(Any::StringValue(text)) => text.into(),
        Some(Any::BoolValue(is)) => is.into(),
        Some(Any::IntValue(number)) => number.into(),
        Some(Any::DoubleValue(number)) => number.into(),
        None => Value::Null,
        Some(other) => format!("{other:?}").into(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
