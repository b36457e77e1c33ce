//! What is exported and how: the configuration's values, and the OTEL_* variables that the configuration has no key for.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

use super::endpoint::Endpoint;

/// How long one request may take where no variable says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Spans that wait, those that go out at once, and how long the first of them waits for others: OTEL_BSP_*.
const MAX_QUEUE: usize = 2_048;
const MAX_BATCH: usize = 512;
const DELAY: Duration = Duration::from_secs(5);
/// What OTEL_BSP_MAX_QUEUE_SIZE may ask for at most: a span takes about a KiB.
const MOST_QUEUE: usize = 1 << 20;

/// What calls itself what.
#[derive(Debug, Clone, Copy)]
pub struct Service<'a> {
    /// `service.name`.
    pub name: &'a str,
    /// `service.version`.
    pub version: &'a str,
}

/// What is exported and how.
#[derive(Debug, Clone)]
pub struct TraceOptions {
    pub(super) endpoint: Endpoint,
    /// Sent with every request; may hold keys, which is why they aren't shown.
    pub(super) headers: Headers,
    pub(super) timeout: Duration,
    pub(super) attributes: Vec<(String, String)>,
    pub(super) sample_ratio: f64,
    pub(super) max_queue: usize,
    pub(super) max_batch: usize,
    pub(super) delay: Duration,
}

/// Header lines; shown by name only.
#[derive(Clone, Default)]
pub(super) struct Headers(Vec<(String, String)>);

impl std::ops::Deref for Headers {
    type Target = [(String, String)];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Why spans can't be exported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// A variable has a value that can't be.
    #[error("{variable}=`{value}`: must be {allowed}")]
    Variable {
        /// Its name.
        variable: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// No address of a collector.
    #[error("telemetry.otlp_endpoint: must be a URL with http or https, such as \"http://127.0.0.1:4318\"")]
    Endpoint,
    /// The exporter can't be made.
    #[error("traces can't be exported: {0}")]
    Exporter(String),
    /// The system gives no thread.
    #[error("can't start the thread that exports traces: {0}")]
    Thread(String),
}

impl TraceOptions {
    /// What the configuration and the variables ask for; `None` where nothing is to be exported. `endpoint` and
    /// `sample_ratio` are the configuration's, in which OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
    /// OTEL_TRACES_SAMPLER and OTEL_SERVICE_NAME have been taken into account.
    ///
    /// # Errors
    /// A variable has a value that can't be.
    pub fn resolve(
        endpoint: Option<&str>,
        service: Service<'_>,
        sample_ratio: f64,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, TraceError> {
        let variable =
            |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        // For traces alone, else for all signals.
        let either = |own: &'static str, common: &'static str| {
            variable(own).map(|value| (own, value)).or_else(|| variable(common).map(|value| (common, value)))
        };
        if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let wrong =
            |variable, value: &str, allowed| Err(TraceError::Variable { variable, value: value.to_owned(), allowed });
        match variable("OTEL_TRACES_EXPORTER").as_deref() {
            Some("none") => return Ok(None),
            None | Some("otlp") => {}
            Some(other) => return wrong("OTEL_TRACES_EXPORTER", other, "`otlp` or `none`"),
        }
        let Some(text) = endpoint else { return Ok(None) };
        let whole = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").as_deref() == Some(text);
        let endpoint = Endpoint::parse(text, whole).ok_or(TraceError::Endpoint)?;
        if let Some((name, value)) = either("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
            && value != "http/protobuf"
        {
            return wrong(name, &value, "`http/protobuf`");
        }
        if let Some((name, value)) = either("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION")
            && value != "none"
        {
            return wrong(name, &value, "`none`: requests aren't compressed");
        }
        let headers = match either("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS") {
            Some((name, value)) => match pairs(&value) {
                Some(headers) => headers,
                None => return wrong(name, "(hidden)", "`name=value` pairs, separated by commas"),
            },
            None => Vec::new(),
        };
        let mut attributes = match variable("OTEL_RESOURCE_ATTRIBUTES") {
            Some(value) => match pairs(&value) {
                Some(attributes) => attributes,
                None => return wrong("OTEL_RESOURCE_ATTRIBUTES", &value, "`name=value` pairs, separated by commas"),
            },
            None => Vec::new(),
        };
        attributes.retain(|(name, _)| name != "service.name" && name != "service.version");
        if !attributes.iter().any(|(name, _)| name == "service.instance.id") {
            attributes.push(("service.instance.id".to_owned(), instance_id()));
        }
        attributes.push(("service.name".to_owned(), service.name.to_owned()));
        attributes.push(("service.version".to_owned(), service.version.to_owned()));
        let number = |found: Option<(&'static str, String)>| match found {
            None => Ok(None),
            Some((name, value)) => match value.parse::<u64>() {
                Ok(number) if number > 0 => Ok(Some(number)),
                _ => Err(TraceError::Variable { variable: name, value, allowed: "a whole number above 0" }),
            },
        };
        let own = |name: &'static str| number(variable(name).map(|value| (name, value)));
        let timeout = number(either("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"))?;
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let max_queue = own("OTEL_BSP_MAX_QUEUE_SIZE")?.map_or(MAX_QUEUE, size).min(MOST_QUEUE);
        Ok(Some(Self {
            endpoint,
            headers: Headers(headers),
            timeout: timeout.map_or(TIMEOUT, Duration::from_millis),
            attributes,
            sample_ratio,
            max_queue,
            max_batch: own("OTEL_BSP_MAX_EXPORT_BATCH_SIZE")?.map_or(MAX_BATCH, size).min(max_queue),
            delay: own("OTEL_BSP_SCHEDULE_DELAY")?.map_or(DELAY, Duration::from_millis),
        }))
    }

    /// Where to, as it may be shown: without credentials.
    pub fn shown_endpoint(&self) -> String {
        self.endpoint.to_string()
    }

    pub(super) fn resource(&self) -> Resource {
        let attributes = self.attributes.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
        Resource::builder_empty().with_attributes(attributes).build()
    }
}

/// A random UUID, version 4: which of several processes of one name it was.
fn instance_id() -> String {
    let mut bytes = RandomIdGenerator::default().new_trace_id().to_bytes();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// `name=value,name=value`, each value percent-encoded. `None` where it isn't that.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=')?;
            let name = name.trim();
            (!name.is_empty()).then(|| (name.to_owned(), percent_decoded(value.trim())))
        })
        .collect()
}

/// A value of an `OTEL_RESOURCE_ATTRIBUTES` by its name, where it holds that.
pub fn resource_attribute(text: &str, name: &str) -> Option<String> {
    pairs(text)?.into_iter().find(|(found, _)| found == name).map(|(_, value)| value)
}

/// Without `%xx`; what is no such escape stands as it is.
pub(super) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%').then(|| after.get(..2)).flatten().and_then(|digits| {
            let digits =
                std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
            u8::from_str_radix(digits, 16).ok()
        });
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: Service<'_> = Service { name: "grasp-sync", version: "1.2.3" };
    const ENDPOINT: Option<&str> = Some("http://127.0.0.1:4318");

    fn resolved(endpoint: Option<&str>, variables: &[(&str, &str)]) -> Result<Option<TraceOptions>, TraceError> {
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        TraceOptions::resolve(endpoint, SERVICE, 1.0, variable)
    }

    fn attribute<'a>(options: &'a TraceOptions, name: &str) -> Vec<&'a str> {
        options.attributes.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect()
    }

    #[test]
    fn the_defaults_are_those_of_the_specification() {
        let options = resolved(ENDPOINT, &[]).expect("valid").expect("on");
        assert_eq!((options.timeout, options.delay), (Duration::from_secs(10), Duration::from_secs(5)));
        assert_eq!((options.max_queue, options.max_batch), (2_048, 512));
        assert_eq!(attribute(&options, "service.name"), ["grasp-sync"]);
        assert_eq!(attribute(&options, "service.version"), ["1.2.3"]);
    }

    #[test]
    fn each_process_is_an_instance_unless_it_is_told_which() {
        let of = |variables: &[(&str, &str)]| {
            let options = resolved(ENDPOINT, variables).expect("valid").expect("on");
            attribute(&options, "service.instance.id").concat()
        };
        let (one, other) = (of(&[]), of(&[]));
        assert_ne!(one, other);
        assert_eq!((one.len(), &one[14..15]), (36, "4"), "{one}");
        assert_eq!(of(&[("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=blue")]), "blue");
    }

    #[test]
    fn nothing_is_exported_without_an_address_or_where_it_is_switched_off() {
        assert!(resolved(None, &[]).expect("valid").is_none());
        for (name, value) in [("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert!(resolved(ENDPOINT, &[(name, value)]).expect("valid").is_none(), "{name}");
        }
        assert!(
            resolved(ENDPOINT, &[("OTEL_SDK_DISABLED", "no"), ("OTEL_TRACES_EXPORTER", "")]).expect("valid").is_some()
        );
    }

    #[test]
    fn variables_for_traces_stand_above_those_for_all_signals() {
        let options = resolved(
            ENDPOINT,
            &[
                ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
                ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "api-key=a%20b%3D, x = y "),
                ("OTEL_EXPORTER_OTLP_TIMEOUT", "1000"),
                ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
                ("OTEL_BSP_SCHEDULE_DELAY", "50"),
                ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test%2C1,service.name=other"),
            ],
        );
        let options = options.expect("valid").expect("on");
        let headers: Vec<_> = options.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(headers, [("api-key", "a b="), ("x", "y")]);
        assert_eq!((options.timeout, options.delay), (Duration::from_secs(1), Duration::from_millis(50)));
        assert_eq!((options.max_queue, options.max_batch), (100, 100));
        assert_eq!(attribute(&options, "deployment.environment"), ["test,1"]);
        assert_eq!(attribute(&options, "service.name"), ["grasp-sync"], "the configuration has taken it into account");
        assert!(!format!("{options:?}").contains("a b="));
    }

    #[test]
    fn the_address_for_traces_is_used_as_it_stands() {
        let text = "http://c.example/custom";
        let options =
            resolved(Some(text), &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", text)]).expect("valid").expect("on");
        assert_eq!(options.shown_endpoint(), text);
        let options = resolved(Some(text), &[("OTEL_EXPORTER_OTLP_ENDPOINT", text)]).expect("valid").expect("on");
        assert_eq!(options.shown_endpoint(), "http://c.example/custom/v1/traces");
    }

    #[test]
    fn a_value_that_cannot_be_is_named_with_its_variable_and_a_header_is_not_shown() {
        for (variable, value) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_RESOURCE_ATTRIBUTES", "loose"),
        ] {
            let error = resolved(ENDPOINT, &[(variable, value)]).expect_err(variable).to_string();
            assert!(error.contains(&format!("{variable}=`{value}`: must be ")), "{error}");
        }
        let error = resolved(ENDPOINT, &[("OTEL_EXPORTER_OTLP_HEADERS", "my-key")]).expect_err("no pair").to_string();
        assert!(error.contains("(hidden)") && !error.contains("my-key"), "{error}");
    }

    #[test]
    fn what_is_no_escape_stands_as_it_is() {
        for (text, decoded) in [("100%", "100%"), ("%zz%41", "%zzA"), ("%+1", "%+1"), ("a+b", "a+b")] {
            assert_eq!(percent_decoded(text), decoded);
        }
    }
}
