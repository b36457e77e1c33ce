//! What reaches a collector, and what becomes of the rest: collectors that refuse, hang, die, or are too slow.

use std::io;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use telemetry::Metrics;
use telemetry::log::{LogOptions, subscriber};
use telemetry::metrics::Format;
use telemetry::spans::{ConnectionSpan, Tracer};
use telemetry::traces::{Service, TraceOptions, Traces};
use testkit::otlp::{Manner, Receiver};
use tracing_subscriber::fmt::MakeWriter;

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// The log of the process: the thread that exports writes to no other.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// The process's log, set up by whoever asks first.
    fn of_process() -> &'static Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        LOG.get_or_init(|| {
            let log = Log::default();
            let subscriber = subscriber(&LogOptions::default(), log.clone()).expect("valid");
            tracing::subscriber::set_global_default(subscriber).expect("the first");
            log
        })
    }

    /// Lines that name this address.
    fn of(&self, endpoint: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().expect("lock").clone()).expect("UTF-8");
        let name = format!("endpoint={endpoint}/v1/traces");
        text.lines().filter(|line| line.contains(&name)).map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// An export to `endpoint`, under these variables.
struct Export {
    traces: Traces,
    metrics: Metrics,
    endpoint: String,
}

impl Export {
    fn to(endpoint: &str, variables: &[(&str, &str)]) -> Self {
        Log::of_process();
        let service = Service { name: "tested", version: "1.2.3" };
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let options = TraceOptions::resolve(Some(endpoint), service, 1.0, variable).expect("valid").expect("on");
        let metrics = Metrics::new();
        let traces = Traces::start(&options, &metrics).expect("starts");
        Self { traces, metrics, endpoint: endpoint.to_owned() }
    }

    fn tracer(&self) -> Tracer {
        self.traces.tracer()
    }

    fn spans(&self, count: usize) {
        let tracer = self.tracer();
        (0..count).for_each(|_| ConnectionSpan::start(&tracer, "wss://a.b").end(0, None));
    }

    fn metric(&self, name: &str) -> u64 {
        let text = self.metrics.encode(Format::OpenMetrics).expect("encodes");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().expect("a number"))
    }

    fn exported(&self) -> u64 {
        self.metric("grasp_sync_spans_exported_total")
    }

    fn dropped(&self, cause: &str) -> u64 {
        self.metric(&format!("grasp_sync_spans_dropped_total{{cause=\"{cause}\"}}"))
    }

    /// Waits until a count is reached; there is nothing that tells of it.
    fn wait(&self, what: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !what(self) {
            assert!(
                Instant::now() < deadline,
                "in vain:\n{}",
                self.metrics.encode(Format::OpenMetrics).expect("encodes")
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends, and tells how long that took.
    fn finish(self, within: Duration) -> (Metrics, Duration) {
        let started = Instant::now();
        self.traces.finish(within);
        (self.metrics, started.elapsed())
    }

    fn warnings(&self) -> Vec<String> {
        let lines = Log::of_process().of(&self.endpoint);
        lines.into_iter().filter(|line| line.contains("WARN")).collect()
    }
}

/// So that what waits goes out at once.
const QUICK: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "20");

#[test]
fn everything_reaches_the_collector_by_the_end_with_who_sent_it() {
    let receiver = Receiver::start().expect("a port");
    let headers = ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20b");
    let export = Export::to(&receiver.endpoint(), &[headers, ("OTEL_RESOURCE_ATTRIBUTES", "deployment=here")]);
    export.spans(1_300);
    let (metrics, took) = export.finish(Duration::from_secs(10));
    let spans = receiver.spans();
    assert_eq!((spans.len(), receiver.problems()), (1_300, Vec::new()));
    assert!(metrics.encode(Format::OpenMetrics).expect("encodes").contains("grasp_sync_spans_exported_total 1300\n"));
    assert!(took < Duration::from_secs(10), "{took:?}");
    let resource = &spans[0].resource;
    for (name, value) in [("service.name", "tested"), ("service.version", "1.2.3"), ("deployment", "here")] {
        assert_eq!(resource[name], value, "{name}");
    }
    assert_eq!(resource["service.instance.id"].as_str().map(str::len), Some(36));
    for head in receiver.heads() {
        assert_eq!(head.target, "POST /v1/traces");
        assert_eq!(head.header("content-type"), Some("application/x-protobuf"));
        assert_eq!(head.header("x-key"), Some("a b"));
    }
    let mut traces: Vec<_> = spans.iter().map(|span| &span.trace).collect();
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), 1_300);
}

#[test]
fn credentials_of_the_address_are_sent_and_not_logged() {
    let receiver = Receiver::start().expect("a port");
    receiver.behave(Manner::Refuse(401));
    let endpoint = receiver.endpoint().replace("http://", "http://me:sesame@");
    let export = Export::to(&endpoint, &[QUICK]);
    export.spans(1);
    export.wait(|export| export.dropped("refused") == 1);
    assert_eq!(receiver.heads()[0].header("authorization"), Some("Basic bWU6c2VzYW1l"));
    let shown = receiver.endpoint().replace("http://", "http://***@");
    let lines = Log::of_process().of(&shown);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(!lines[0].contains("sesame"), "{lines:?}");
    export.finish(Duration::from_secs(2));
}

#[test]
fn a_refusal_is_counted_each_time_and_said_once_for_each_status() {
    let receiver = Receiver::start().expect("a port");
    let export = Export::to(&receiver.endpoint(), &[QUICK]);
    for (status, rounds) in [(503, 3), (400, 2)] {
        receiver.behave(Manner::Refuse(status));
        for _ in 0..rounds {
            let before = export.dropped("refused");
            export.spans(2);
            export.wait(|export| export.dropped("refused") == before + 2);
        }
    }
    let warnings = export.warnings();
    assert_eq!(warnings.len(), 2, "{warnings:#?}");
    assert!(warnings[0].contains("503") && warnings[1].contains("400"), "{warnings:#?}");
    assert!(warnings[0].contains("told to refuse"), "what it said: {warnings:#?}");
    receiver.behave(Manner::Take);
    export.spans(1);
    export.wait(|export| export.exported() == 1);
    assert_eq!(export.dropped("refused"), 10);
    export.finish(Duration::from_secs(2));
}

#[test]
fn a_collector_that_dies_costs_what_it_misses_and_is_found_again() {
    let mut receiver = Receiver::start().expect("a port");
    let export = Export::to(&receiver.endpoint(), &[QUICK]);
    export.spans(3);
    export.wait(|export| export.exported() == 3);
    receiver.die();
    for round in 1..=3 {
        export.spans(2);
        export.wait(|export| export.dropped("unreachable") == 2 * round);
    }
    let warnings = export.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(warnings[0].contains("cause=\"unreachable\""), "{warnings:#?}");
    let receiver = Receiver::start_at(receiver.address()).expect("the port is free");
    export.spans(1);
    export.wait(|export| export.exported() == 4);
    assert_eq!(receiver.spans().len(), 1);
    export.wait(|export| Log::of_process().of(&export.endpoint).iter().any(|line| line.contains("exported again")));
    assert_eq!(export.warnings().len(), 1);
    export.finish(Duration::from_secs(2));
}

#[test]
fn whoever_ends_a_span_never_waits_and_what_finds_no_room_is_counted() {
    let receiver = Receiver::start().expect("a port");
    receiver.behave(Manner::Hang);
    let room = [("OTEL_BSP_MAX_QUEUE_SIZE", "10"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5"), QUICK];
    let export = Export::to(&receiver.endpoint(), &room);
    export.spans(5);
    assert!(receiver.wait_requests(PATIENCE, 1), "the first five are on their way");
    let started = Instant::now();
    export.spans(1_000);
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    // One place is for roots of batches, and these are none.
    assert_eq!(export.dropped("queue_full"), 991);
    receiver.behave(Manner::Take);
    export.wait(|export| export.exported() == 14);
    export.wait(|export| export.warnings().len() == 1);
    assert!(export.warnings()[0].contains("cause=\"queue_full\" spans=991"), "{:?}", export.warnings());
    assert_eq!(receiver.spans().len(), 14);
    export.finish(Duration::from_secs(2));
}

#[test]
fn a_collector_without_an_answer_is_given_up_after_the_time_for_one() {
    let receiver = Receiver::start().expect("a port");
    receiver.behave(Manner::Hang);
    let export = Export::to(&receiver.endpoint(), &[("OTEL_EXPORTER_OTLP_TIMEOUT", "200"), QUICK]);
    export.spans(4);
    export.wait(|export| export.dropped("timeout") == 4);
    assert!(export.warnings()[0].contains("no answer within 200ms"), "{:?}", export.warnings());
    export.finish(Duration::from_secs(2));
}

#[test]
fn the_end_waits_for_a_slow_collector_and_no_longer_than_it_may() {
    let slow = Receiver::start().expect("a port");
    slow.behave(Manner::Slow(Duration::from_millis(300)));
    let export = Export::to(&slow.endpoint(), &[]);
    export.spans(3);
    let (_, took) = export.finish(Duration::from_secs(10));
    assert_eq!(slow.spans().len(), 3);
    assert!((Duration::from_millis(300)..Duration::from_secs(5)).contains(&took), "{took:?}");

    let hanging = Receiver::start().expect("a port");
    hanging.behave(Manner::Hang);
    let export = Export::to(&hanging.endpoint(), &[]);
    export.spans(3);
    let endpoint = export.endpoint.clone();
    let (metrics, took) = export.finish(Duration::from_secs(1));
    assert!(took <= Duration::from_millis(1_300), "{took:?}");
    let text = metrics.encode(Format::OpenMetrics).expect("encodes");
    assert!(text.contains("grasp_sync_spans_dropped_total{cause=\"stopped\"} 3\n"), "{text}");
    let lines = Log::of_process().of(&endpoint);
    assert!(lines.iter().any(|line| line.contains("WARN") && line.contains("cause=\"stopped\"")), "{lines:?}");
}

#[test]
fn the_end_is_quick_where_nobody_listens_or_nothing_waits() {
    let mut receiver = Receiver::start().expect("a port");
    receiver.die();
    for spans in [0, 700] {
        let export = Export::to(&receiver.endpoint(), &[]);
        export.spans(spans);
        let (metrics, took) = export.finish(Duration::from_secs(10));
        assert!(took < Duration::from_secs(5), "{took:?}");
        let lost = format!("grasp_sync_spans_dropped_total{{cause=\"unreachable\"}} {spans}\n");
        let text = metrics.encode(Format::OpenMetrics).expect("encodes");
        assert!(text.contains(&lost), "{text}");
    }
}

#[test]
fn what_a_collector_takes_in_part_is_counted_in_part() {
    let receiver = Receiver::start().expect("a port");
    receiver.behave(Manner::InPart(2));
    let export = Export::to(&receiver.endpoint(), &[QUICK]);
    export.spans(5);
    export.wait(|export| export.exported() == 3 && export.dropped("rejected") == 2);
    assert!(export.warnings()[0].contains("told to reject"), "{:?}", export.warnings());
    export.finish(Duration::from_secs(2));
}

#[test]
fn an_export_that_is_off_makes_nothing() {
    let traces = Traces::default();
    assert!(ConnectionSpan::start(&traces.tracer(), "wss://a.b").link().is_none());
    assert!(traces.layer::<tracing_subscriber::Registry>().is_none());
    traces.finish(Duration::from_secs(2));
}
