//! Spans as an exporter gets them, and the lines beside them.

use std::sync::{Arc, Mutex};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tracing_subscriber::layer::SubscriberExt;

use super::*;
use crate::log::tests::Kept;
use crate::log::{LogFormat, LogOptions, subscriber};

const START: BatchStart<'_> = BatchStart {
    relay: "wss://a.b",
    id: 7,
    reason: "new_items",
    layer: "2+3",
    filters: 3,
    repos: 2,
    root_events: 1,
    caused_by: None,
    connection: None,
    awaited: false,
};

const END: BatchEnd<'_> = BatchEnd {
    strategy: "negentropy,req",
    needed: 10,
    received: 9,
    stored: 8,
    rejected: 1,
    bytes_up: 100,
    bytes_down: 200,
    outcome: BatchOutcome::Confirmed,
};

#[derive(Debug, Clone, Default)]
struct Exported(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Exported {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().expect("not poisoned").extend(batch);
        Ok(())
    }
}

/// What `work` logs at `level`, and what it exports, in the order of ending.
fn observed(level: &str, work: impl FnOnce()) -> (String, Vec<SpanData>) {
    observed_with(LogOptions { filter: Some(level.to_owned()), ..LogOptions::default() }, |_| work())
}

/// The same for any options, and work that makes spans below sessions.
fn observed_with(options: LogOptions, work: impl FnOnce(&Tracer)) -> (String, Vec<SpanData>) {
    let (kept, exported) = (Kept::default(), Exported::default());
    let provider = SdkTracerProvider::builder().with_simple_exporter(exported.clone()).build();
    let layer = crate::traces::layer(provider.tracer("test"));
    let subscriber = subscriber(&options, kept.clone()).expect("valid").with(layer);
    let tracer = Tracer::new(Some(provider.tracer("test")));
    tracing::subscriber::with_default(subscriber, || work(&tracer));
    let spans = std::mem::take(&mut *exported.0.lock().expect("not poisoned"));
    (kept.text(), spans)
}

fn attribute(span: &SpanData, key: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == key);
    found.map(|attribute| attribute.value.to_string()).unwrap_or_default()
}

#[test]
fn a_batch_is_one_trace_with_every_field_of_the_contract() {
    let (_, spans) = observed("error", || {
        let batch = BatchSpan::start(START);
        batch.session("negentropy", r#"{"kinds":[1]}"#, "all").end(4, "complete", false);
        batch.end(END);
    });
    let [session, batch] = spans.as_slice() else { panic!("two spans, not {spans:?}") };
    for (key, value) in [
        ("relay.url", "wss://a.b"),
        ("batch.id", "7"),
        ("batch.reason", "new_items"),
        ("batch.layer", "2+3"),
        ("batch.filters", "3"),
        ("batch.repos", "2"),
        ("batch.root_events", "1"),
        ("sync.strategy", "negentropy,req"),
        ("events.needed", "10"),
        ("events.received", "9"),
        ("events.stored", "8"),
        ("events.rejected", "1"),
        ("bytes.up", "100"),
        ("bytes.down", "200"),
        ("outcome", "confirmed"),
    ] {
        assert_eq!(attribute(batch, key), value, "{key}");
    }
    for (key, value) in
        [("strategy.name", "negentropy"), ("filter", r#"{"kinds":[1]}"#), ("window", "all"), ("rounds", "4")]
    {
        assert_eq!(attribute(session, key), value, "{key}");
    }
    assert_eq!((batch.name.as_ref(), session.name.as_ref()), ("sync.batch", "strategy.session"));
    assert_eq!(session.parent_span_id, batch.span_context.span_id());
    assert_eq!(session.span_context.trace_id(), batch.span_context.trace_id());
    assert_eq!(batch.status, Status::Unset);
}

#[test]
fn a_failed_batch_has_the_status_error_and_says_why() {
    let outcome = BatchOutcome::Failed { reason: "12 ids not served" };
    let (log, spans) = observed("debug", || BatchSpan::start(START).end(BatchEnd { outcome, ..END }));
    assert_eq!(spans[0].status, Status::error("12 ids not served"));
    assert_eq!(attribute(&spans[0], "outcome"), "failed");
    assert!(log.contains("12 ids not served"), "{log}");
}

#[test]
fn a_batch_that_is_dropped_was_superseded() {
    let (log, spans) = observed("debug", || drop(BatchSpan::start(START)));
    assert_eq!(attribute(&spans[0], "outcome"), "superseded");
    assert!(log.contains("superseded"), "{log}");
}

#[test]
fn a_batch_links_to_the_one_that_gave_rise_to_it_even_after_that_has_ended() {
    let (_, spans) = observed("error", || {
        let cause = BatchSpan::start(START);
        let link = cause.link();
        cause.end(END);
        BatchSpan::start(BatchStart { id: 8, caused_by: Some(&link), ..START }).end(END);
    });
    let [cause, follower] = spans.as_slice() else { panic!("two spans, not {spans:?}") };
    assert_ne!(cause.span_context.trace_id(), follower.span_context.trace_id());
    let links: Vec<_> = follower.links.iter().map(|link| link.span_context.clone()).collect();
    assert_eq!(links, std::slice::from_ref(&cause.span_context));
}

#[test]
fn the_end_is_one_line_with_the_fields_and_the_trace_id() {
    let (log, spans) = observed("debug", || {
        let batch = BatchSpan::start(START);
        batch.fell_back("negentropy", "req", "unsupported: \x1b[31mno\nsuch thing");
        batch.end(END);
    });
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert!(lines[0].contains("fallback") && lines[0].contains("\"req\""), "{log}");
    let trace_id = spans[0].span_context.trace_id().to_string();
    for part in ["batch ended", "wss://a.b", "events.stored=8", "outcome=\"confirmed\"", trace_id.as_str()] {
        assert!(lines[1].contains(part), "{part}: {log}");
    }
    assert!(!log.contains('\x1b'), "{log}");
    assert_eq!(spans[0].events.events.iter().filter(|event| event.name == "fallback").count(), 1);
}

#[test]
fn without_an_exporter_the_lines_of_a_batch_have_an_id_of_their_own() {
    let kept = Kept::default();
    let options = LogOptions { filter: Some("sync=debug".to_owned()), ..LogOptions::default() };
    tracing::subscriber::with_default(subscriber(&options, kept.clone()).expect("valid"), || {
        let cause = BatchSpan::start(START);
        BatchSpan::start(BatchStart { caused_by: Some(&cause.link()), ..START }).end(END);
    });
    let log = kept.text();
    let ids: std::collections::BTreeSet<_> =
        log.lines().filter_map(|line| line.split("trace.id=\"").nth(1)?.split('"').next()).collect();
    assert!(log.contains("events.stored=8") && log.lines().count() == 2, "{log}");
    assert!(ids.len() == 2 && ids.iter().all(|id| id.len() == 32), "{log}");
}

/// A batch with a session, below which every kind of span is made.
fn whole(tracer: &Tracer) {
    let connection = ConnectionSpan::start(tracer, "wss://a.b");
    let batch = BatchSpan::start(BatchStart { connection: connection.link().as_ref(), ..START });
    let session = batch.session("negentropy", "{}", "all");
    let link = session.link();
    QuestionSpan::start(tracer, &link, Question::Round).end(0, Answer::Whole);
    session.end(1, "complete", false);
    // What a session named is fetched when it may be over.
    let fetch = QuestionSpan::start(tracer, &link, Question::Fetch { ids: 3 });
    let ingest = IngestSpan::start(tracer, &link);
    fetch.end(2, Answer::Broken("error: busy"));
    QuestionSpan::start(tracer, &link, Question::Page).end(0, Answer::TakenBack);
    ingest.end(Ingested { received: 2, stored: 1, duplicate: 0, rejected: 1, bytes: 700 });
    batch.end(END);
    connection.end(1, Some("gone"));
}

#[test]
fn what_lies_below_a_session_is_its_child_with_its_counts() {
    let (_, spans) = observed_with(LogOptions::default(), whole);
    let of = |name: &str| spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name}: {spans:?}"));
    let session = &of("strategy.session").span_context;
    for name in ["negentropy.round", "events.fetch", "req.page", "events.ingest"] {
        assert_eq!(of(name).parent_span_id, session.span_id(), "{name}");
        assert_eq!(of(name).span_context.trace_id(), session.trace_id(), "{name}");
    }
    let fetch = of("events.fetch");
    assert_eq!((attribute(fetch, "events.asked"), attribute(fetch, "events.received")), ("3".into(), "2".into()));
    assert_eq!(fetch.status, Status::error("error: busy"));
    assert_eq!(attribute(of("req.page"), "outcome"), "taken back");
    for (key, value) in [
        ("events.received", "2"),
        ("events.stored", "1"),
        ("events.duplicate", "0"),
        ("events.rejected", "1"),
        ("bytes.down", "700"),
    ] {
        assert_eq!(attribute(of("events.ingest"), key), value, "{key}");
    }
    assert!(of("events.fetch").start_time >= of("strategy.session").end_time, "the session ends by its own end");
}

#[test]
fn a_connection_is_a_trace_of_its_own_that_its_batches_point_at() {
    let (_, spans) = observed_with(LogOptions::default(), whole);
    let of = |name: &str| spans.iter().find(|span| span.name == name).expect("one");
    let (batch, connection) = (of("sync.batch"), of("relay.connection"));
    assert_ne!(batch.span_context.trace_id(), connection.span_context.trace_id());
    let [link] = batch.links.links.as_slice() else { panic!("one link, not {:?}", batch.links) };
    assert_eq!(link.span_context, connection.span_context);
    assert_eq!(link.attributes, [KeyValue::new("link", "connection")]);
    assert_eq!(connection.status, Status::error("gone"));
    assert_eq!(
        (attribute(connection, "relay.url"), attribute(connection, "batches")),
        ("wss://a.b".into(), "1".into())
    );
}

#[test]
fn counts_are_numbers() {
    let (_, spans) = observed_with(LogOptions::default(), whole);
    let counts = ["batch.id", "batch.filters", "events.needed", "events.stored", "bytes.up", "rounds", "events.asked"];
    for key in counts {
        let found = spans.iter().flat_map(|span| &span.attributes).find(|attribute| attribute.key.as_str() == key);
        let value = &found.unwrap_or_else(|| panic!("no {key}")).value;
        assert!(matches!(value, opentelemetry::Value::I64(_)), "{key} is {value:?}");
    }
}

#[test]
fn where_a_batch_is_not_sampled_nothing_below_it_is() {
    let exported = Exported::default();
    let sampler = opentelemetry_sdk::trace::Sampler::AlwaysOff;
    let sampler = opentelemetry_sdk::trace::Sampler::ParentBased(Box::new(sampler));
    let provider = SdkTracerProvider::builder().with_simple_exporter(exported.clone()).with_sampler(sampler).build();
    let tracer = Tracer::new(Some(provider.tracer("test")));
    let layer = crate::traces::layer(provider.tracer("test"));
    let subscriber = subscriber(&LogOptions::default(), Kept::default()).expect("valid").with(layer);
    tracing::subscriber::with_default(subscriber, || {
        assert!(!BatchSpan::start(START).is_recorded());
        assert!(ConnectionSpan::start(&tracer, "wss://a.b").link().is_none());
        whole(&tracer);
    });
    assert_eq!(exported.0.lock().expect("not poisoned").len(), 0);
}

#[test]
fn a_session_that_is_dropped_was_cut_off_and_one_that_failed_says_why() {
    let (_, spans) = observed("error", || {
        let batch = BatchSpan::start(START);
        let mut session = batch.session("req", "{}", "all");
        session.round();
        session.round();
        drop(session);
        batch.session("req", "{}", "all").end(1, "failed: no", true);
    });
    assert_eq!(attribute(&spans[0], "outcome"), "cut off");
    assert_eq!((attribute(&spans[0], "rounds"), &spans[0].status), ("2".to_owned(), &Status::error("cut off")));
    assert_eq!(spans[1].status, Status::error("failed: no"));
}

#[test]
fn a_failure_that_nobody_waits_for_is_logged_by_itself() {
    for (awaited, lines) in [(false, 1), (true, 0)] {
        let (log, _) = observed("info", || {
            let outcome = BatchOutcome::Failed { reason: "3 ids are missing" };
            BatchSpan::start(BatchStart { awaited, ..START }).end(BatchEnd { outcome, ..END });
            BatchSpan::start(BatchStart { awaited, ..START }).end(END);
        });
        assert_eq!(log.lines().filter(|line| line.contains("3 ids are missing")).count(), lines, "{log}");
        assert_eq!(log.lines().count(), lines, "{log}");
    }
}

#[test]
fn a_batch_whose_task_panics_has_failed() {
    let (_, spans) = observed("error", || {
        let done = std::panic::catch_unwind(|| {
            let _batch = BatchSpan::start(START);
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(done.is_err());
    });
    assert_eq!(attribute(&spans[0], "outcome"), "failed");
    assert_eq!(spans[0].status, Status::error("the connection's task panicked"));
}

#[test]
fn a_span_ends_with_its_batch_though_a_handle_is_left() {
    let mut handle = Span::none();
    let (_, spans) = observed("error", || {
        let batch = BatchSpan::start(START);
        handle = batch.span().clone();
        batch.end(END);
    });
    assert_eq!(spans.len(), 1);
}

#[test]
fn lines_of_every_level_carry_the_trace_id_of_the_batch_they_are_written_in() {
    for (format, level) in
        [(LogFormat::Text, "warn"), (LogFormat::Json, "warn"), (LogFormat::Text, "debug"), (LogFormat::Json, "debug")]
    {
        let options = LogOptions { filter: Some(level.to_owned()), format, ..LogOptions::default() };
        let (log, spans) = observed_with(options, |_| {
            let batch = BatchSpan::start(START);
            batch.span().in_scope(|| tracing::warn!("within the batch"));
            let session = batch.session("req", "{}", "all");
            session.span().in_scope(|| tracing::warn!("within a session"));
            session.end(1, "complete", false);
            batch.end(END);
        });
        let id = spans[0].span_context.trace_id().to_string();
        let lines: Vec<_> = log.lines().collect();
        assert_eq!(lines.len(), if level == "debug" { 4 } else { 2 }, "{log}");
        for line in lines {
            let field =
                if format == LogFormat::Json { format!(r#""trace.id":"{id}""#) } else { format!("trace.id=\"{id}\"") };
            assert!(line.contains(&field), "{field} is not in {line}");
        }
    }
}

#[test]
fn a_trace_holds_no_spans_or_lines_of_others() {
    let (_, spans) = observed("trace", || {
        let batch = BatchSpan::start(START);
        let other = tracing::info_span!(target: "hyper", parent: batch.span(), "request");
        other.in_scope(|| tracing::error!("within"));
        let plugin = tracing::info_span!(parent: batch.span(), "strategy.plugin", otel.name = "its own");
        drop((other, plugin));
        batch.end(END);
    });
    let names: Vec<_> = spans.iter().map(|span| span.name.as_ref()).collect();
    assert_eq!(names, ["its own", "sync.batch"]);
    assert_eq!(spans[1].events.events.len(), 0);
}
