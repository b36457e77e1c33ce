//! The OTEL_* variables that stand for keys of `[telemetry]`: a layer above the file, below GRASP_SYNC_*.
//!
//! Those that there is no key for are read where spans are exported (`telemetry::traces`). An empty one counts as not set.

use figment::value::{Dict, Value};
use telemetry::traces::resource_attribute;

use super::layers::Environment;

/// Where the name of a sampler stands.
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";

/// A value for a key of `[telemetry]`, with the variable that it came from.
pub(super) struct Found {
    pub(super) key: &'static str,
    pub(super) value: Value,
    pub(super) variable: &'static str,
}

/// What the variables ask for. What they can't ask for is left as it stands, to be refused like any other value.
pub(super) fn found(env: &Environment) -> Vec<Found> {
    let first = |names: &[&'static str]| {
        names.iter().find_map(|name| Some((*name, env.text(name).filter(|value| !value.is_empty())?)))
    };
    let mut found = Vec::new();
    if let Some((variable, text)) = first(&["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"]) {
        found.push(Found { key: "otlp_endpoint", value: Value::from(text), variable });
    }
    let named = || {
        let variable = "OTEL_RESOURCE_ATTRIBUTES";
        Some((variable, resource_attribute(&env.text(variable)?, "service.name").filter(|name| !name.is_empty())?))
    };
    if let Some((variable, name)) = first(&["OTEL_SERVICE_NAME"]).or_else(named) {
        found.push(Found { key: "service_name", value: Value::from(name), variable });
    }
    if let Some((variable, sampler)) = first(&[SAMPLER]) {
        // A batch is always a root: what its parent was sampled by is never asked.
        let (variable, value) = match sampler.strip_prefix("parentbased_").unwrap_or(&sampler) {
            "always_on" => (variable, Value::from(1.0)),
            "always_off" => (variable, Value::from(0.0)),
            "traceidratio" => match first(&["OTEL_TRACES_SAMPLER_ARG"]) {
                None => (variable, Value::from(1.0)),
                Some((variable, ratio)) => {
                    (variable, ratio.parse::<f64>().map_or_else(|_| Value::from(ratio), Value::from))
                }
            },
            _ => (variable, Value::from(sampler)),
        };
        found.push(Found { key: "sample_ratio", value, variable });
    }
    found
}

/// What is allowed of a value from `origin`, where that is something else than what the key allows.
pub(super) fn allowed(origin: &str) -> Option<&'static str> {
    let is_sampler = origin.strip_prefix(ORIGIN).is_some_and(|variable| variable == SAMPLER);
    is_sampler.then_some("always_on, always_off or traceidratio (with its part in OTEL_TRACES_SAMPLER_ARG), each also with parentbased_ before it")
}

/// How the origin of a value begins that a variable gives.
const ORIGIN: &str = "environment variable ";

impl Found {
    /// As a layer of the configuration.
    pub(super) fn into_layer(self) -> (String, Dict) {
        let section = Dict::from([(self.key.to_owned(), self.value)]);
        let dict = Dict::from([("telemetry".to_owned(), Value::from(section))]);
        (format!("{ORIGIN}{}", self.variable), dict)
    }
}
