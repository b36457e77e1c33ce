//! The export of spans: OTLP over HTTP, protobuf in the body (docs/traces.md).
//!
//! | module | is for |
//! |---|---|
//! | `options` | what is exported and how, from the configuration and the OTEL_* variables |
//! | `endpoint` | where to, and how that is shown |
//! | `queue` | where spans wait: bounded, and nobody waits for room |
//! | `worker` | a thread that sends what waits, warns once for each cause, and ends in time |
//! | `client` | one HTTP request |
//!
//! Whoever ends a span never waits: what the collector doesn't take is dropped and counted
//! (`grasp_sync_spans_dropped_total`). The exporter's own requests make no spans: the layer sees those of
//! [`TARGET`](crate::spans::TARGET) alone.

mod client;
mod endpoint;
mod options;
mod queue;
mod worker;

use std::time::{Duration, Instant};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::{FilterFn, LevelFilter};
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

use crate::metrics::Metrics;
use crate::spans::{self, Tracer};
use client::Client;
pub use endpoint::masked;
pub use options::{Service, TraceError, TraceOptions, resource_attribute};
use queue::Queue;
use worker::Worker;

/// The name of the instrumentation scope.
const SCOPE: &str = "grasp-sync";

/// The export of one process; the default exports nothing.
#[derive(Debug, Default)]
pub struct Traces {
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    tracer: SdkTracer,
    // Ends the queue when dropped.
    _provider: SdkTracerProvider,
    worker: worker::Handle,
}

impl Traces {
    /// Starts the thread that exports. Nothing is sent before there are spans: whether the collector is there shows then.
    ///
    /// # Errors
    /// The exporter can't be made of `options`, or the system gives no thread.
    pub fn start(options: &TraceOptions, metrics: &Metrics) -> Result<Self, TraceError> {
        let client = Client::new(options)?;
        let told = client.told();
        let resource = options.resource();
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(options.endpoint.as_uri())
            .with_timeout(options.timeout)
            .with_headers(options.headers.iter().cloned().collect())
            // What comes next waits in the queue meanwhile, and a pause would hold up the end of the process.
            .with_retry_policy(RetryPolicy::default().with_max_retries(0))
            .build()
            .map_err(|error| TraceError::Exporter(error.to_string()))?;
        opentelemetry_sdk::trace::SpanExporter::set_resource(&mut exporter, &resource);
        let (queue, waiting) = Queue::new(options.max_queue, metrics.clone());
        let worker = Worker::start(worker::Work {
            exporter,
            told,
            waiting,
            metrics: metrics.clone(),
            endpoint: options.endpoint.to_string(),
            timeout: options.timeout,
            max_batch: options.max_batch,
            delay: options.delay,
        })
        .map_err(|error| TraceError::Thread(error.to_string()))?;
        let provider = SdkTracerProvider::builder()
            .with_span_processor(queue)
            // A batch is a root, and decides for all that is under it.
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(options.sample_ratio))))
            .with_resource(resource)
            .build();
        let tracer = provider.tracer(SCOPE);
        Ok(Self { open: Some(Open { tracer, _provider: provider, worker }) })
    }

    /// Makes the spans that have no log lines of their own; makes none where nothing is exported.
    pub fn tracer(&self) -> Tracer {
        Tracer::new(self.open.as_ref().map(|open| open.tracer.clone()))
    }

    /// What turns spans of `tracing` into spans of a trace.
    pub fn layer<S>(&self) -> Option<impl Layer<S> + Send + Sync + use<S>>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        self.open.as_ref().map(|open| layer(open.tracer.clone()))
    }

    /// Sends what waits, for as long as `within` allows and no longer. What is left then is dropped, counted and said.
    pub fn finish(self, within: Duration) {
        if let Some(Open { worker, .. }) = self.open {
            worker.finish(Instant::now() + within);
        }
    }
}

/// The layer over a tracer. Only spans of [`spans::TARGET`] and those of plugins pass, and no log lines: a trace holds what
/// docs/traces.md says, whatever is logged.
pub(crate) fn layer<S, T>(tracer: T) -> impl Layer<S> + Send + Sync
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    T: opentelemetry::trace::Tracer + Send + Sync + 'static,
    T::Span: Send + Sync,
{
    let passes = |metadata: &Metadata<'_>| {
        metadata.is_span() && (metadata.target() == spans::TARGET || metadata.name() == spans::names::name::PLUGIN)
    };
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_context_activation(false)
        .with_filter(FilterFn::new(passes).with_max_level_hint(LevelFilter::INFO))
}
