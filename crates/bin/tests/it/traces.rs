//! The traces of batches as a collector gets them: of `run` in a world of several relays, and of `sync` (CONTRACT.md, "Traces").

use std::collections::BTreeSet;

use testkit::otlp::{Receiver, Span};
use testkit::relay::{DropAfter, NoNegentropy};
use testkit::world::WorldSpec;

use crate::daemon::Daemon;
use crate::net::{Net, daemon_place, ids, notes, stored};
use crate::one_repo::now;
use crate::program::Place;
use crate::sync_command::{Synced, sync};

const TEXTS: [&str; 6] = ["relay.url", "batch.reason", "batch.layer", "sync.strategy", "outcome", "trace.id"];
const NUMBERS: [&str; 10] = [
    "batch.id",
    "batch.filters",
    "batch.repos",
    "batch.root_events",
    "events.needed",
    "events.received",
    "events.stored",
    "events.rejected",
    "bytes.up",
    "bytes.down",
];

/// A line for the configuration.
pub(crate) fn to(receiver: &Receiver) -> String {
    format!("telemetry.otlp_endpoint = {:?}\n", receiver.endpoint())
}

pub(crate) fn roots(spans: &[Span]) -> Vec<&Span> {
    spans.iter().filter(|span| span.name == "sync.batch").collect()
}

/// What lies right below a span.
fn below<'a>(spans: &'a [Span], above: &Span) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.parent.as_ref() == Some(&above.id)).collect()
}

/// The sum of a number over what lies below a root's sessions.
fn sum(spans: &[Span], root: &Span, name: &str, key: &str) -> i64 {
    let sessions = below(spans, root);
    let asked = sessions.iter().flat_map(|session| below(spans, session)).filter(|span| span.name == name);
    asked.map(|span| span.number(key).unwrap_or_else(|| panic!("no {key} in {span:#?}"))).sum()
}

/// What holds for every trace: one root with every attribute, sessions below it, questions below those.
fn check(spans: &[Span]) {
    let roots = roots(spans);
    let traces: BTreeSet<_> = roots.iter().map(|root| &root.trace).collect();
    assert_eq!(traces.len(), roots.len(), "one root for each trace");
    for root in &roots {
        assert!(root.parent.is_none());
        for key in TEXTS {
            assert!(root.attribute(key).is_string(), "{key} of {root:#?}");
        }
        for key in NUMBERS {
            assert!(root.number(key).is_some_and(|number| number >= 0), "{key} of {root:#?}");
        }
        assert_eq!(root.text("trace.id"), root.trace);
        assert!(["confirmed", "failed", "superseded"].contains(&root.text("outcome")), "{root:#?}");
        assert_eq!(root.error.is_some(), root.text("outcome") == "failed", "{root:#?}");
        let connection = root.links.iter().find(|link| link.attributes["link"] == "connection").expect("a link");
        let connection = spans.iter().find(|span| span.id == connection.id).expect("its connection");
        assert_eq!(
            (connection.name.as_str(), connection.text("relay.url")),
            ("relay.connection", root.text("relay.url"))
        );
        assert!(!traces.contains(&connection.trace), "a trace stays one batch");
        if root.text("outcome") == "confirmed" {
            // What was asked for has its place below; a batch that is cut off takes account of what is under way, too.
            for key in ["events.received", "events.rejected"] {
                assert_eq!(Some(sum(spans, root, "events.ingest", key)), root.number(key), "{key} of {root:#?}");
            }
        }
    }
    for span in spans.iter().filter(|span| span.name != "sync.batch" && span.name != "relay.connection") {
        let above = spans.iter().find(|above| Some(&above.id) == span.parent.as_ref()).expect("what it lies below");
        assert_eq!(above.trace, span.trace);
        let place = match span.name.as_str() {
            "strategy.session" => {
                for key in ["strategy.name", "filter", "window", "outcome"] {
                    assert!(!span.text(key).is_empty(), "{key} of {span:#?}");
                }
                assert!(span.number("rounds").is_some(), "{span:#?}");
                "sync.batch"
            }
            "negentropy.round" | "req.page" | "events.fetch" | "events.ingest" => "strategy.session",
            other => panic!("a span {other}"),
        };
        assert_eq!(above.name, place, "{span:#?}");
        assert!(span.time.0 <= span.time.1, "{span:#?}");
    }
}

#[test]
fn in_a_world_of_relays_every_batch_is_one_trace() {
    let receiver = Receiver::start().expect("a port");
    let (net, world) = Net::world(3, WorldSpec::default());
    net.relays[1].set_faults(|faults| faults.no_negentropy = Some(NoNegentropy::NoticeUnknownCommand));
    let place = daemon_place(&[net.url(0)], &to(&receiver));
    let mut daemon = Daemon::start(&place);
    daemon.wait_relays(net.urls(), "Connected");
    let (at, issue) = world.live_issue(1, now());
    let expected = &ids(&world.accepted()) | &BTreeSet::from([issue.id.to_hex()]);
    let _ = net.relays[at].publish(issue);
    daemon.wait_status(|status| status["totals"]["store_events"] == expected.len());
    // What belongs to the new issue is asked of every relay of its repository: by batches that something caused.
    daemon.wait_status_with(|daemon, _| daemon.fetch("/metrics").1.contains("reason=\"new_items\""));
    daemon.wait_relays(net.urls(), "Connected");
    let (_, metrics) = daemon.fetch("/metrics");
    let batches: f64 = metrics
        .lines()
        .filter(|line| line.starts_with("grasp_sync_batches_total{"))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum();
    let stopped = daemon.stop();
    assert_eq!(stopped.status.code(), Some(0));
    assert_eq!(stored(&place), expected);
    assert_eq!(receiver.problems(), Vec::<String>::new());
    let spans = receiver.spans();
    check(&spans);

    let roots = roots(&spans);
    // A batch that is given up is in no metric.
    let ended = roots.iter().filter(|root| root.text("outcome") != "superseded").count();
    assert_eq!(ended as f64, batches, "as many as the metric says");
    assert!(roots.iter().all(|root| root.text("outcome") != "failed"), "{roots:#?}");
    let relays: BTreeSet<_> = roots.iter().map(|root| root.text("relay.url")).collect();
    assert_eq!(relays, net.urls().into_iter().collect());
    let reasons: BTreeSet<_> = roots.iter().map(|root| root.text("batch.reason")).collect();
    assert!(reasons.contains("initial_connect") && reasons.contains("new_items"), "{reasons:?}");
    let total = |key: &str| roots.iter().filter_map(|root| root.number(key)).sum::<i64>();
    assert!(total("events.stored") >= i64::try_from(world.accepted().len()).expect("few"));
    assert!(total("batch.repos") > 0 && total("batch.root_events") > 0);

    // The relay without NIP-77 is gone on with by the other strategy.
    let fallbacks: Vec<_> = roots
        .iter()
        .filter(|root| root.text("relay.url") == net.url(1))
        .flat_map(|root| root.events.iter().map(move |event| (root, event)))
        .collect();
    let (root, event) = fallbacks.first().expect("a fallback");
    assert_eq!((event.name.as_str(), &event.attributes["from"]), ("fallback", &"negentropy".into()));
    assert_eq!(event.attributes["to"], "req");
    assert!(event.attributes["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
    assert_eq!(root.text("sync.strategy"), "negentropy,req");
    assert!(roots.iter().any(|root| root.text("sync.strategy") == "negentropy"));

    // What was discovered on one relay is asked of others.
    let caused: Vec<_> = roots
        .iter()
        .filter_map(|root| {
            let link = root.links.iter().find(|link| link.attributes["link"] == "caused_by")?;
            Some((root, roots.iter().find(|cause| cause.id == link.id).expect("a batch")))
        })
        .collect();
    assert!(caused.iter().all(|(root, cause)| root.trace != cause.trace));
    assert!(caused.iter().any(|(root, cause)| root.text("relay.url") != cause.text("relay.url")), "{caused:#?}");

    let names: BTreeSet<_> = spans.iter().map(|span| span.name.as_str()).collect();
    for name in ["negentropy.round", "req.page", "events.fetch", "events.ingest"] {
        assert!(names.contains(name), "{names:?}");
    }
    let resources: BTreeSet<_> = spans.iter().map(|span| span.resource["service.instance.id"].to_string()).collect();
    assert_eq!(resources.len(), 1);
    assert_eq!(spans[0].resource["service.name"], "grasp-sync");
    assert_eq!(spans[0].resource["service.version"], env!("CARGO_PKG_VERSION"));
}

/// `sync` with an export, which must be whole when it has ended.
fn synced(net: &Net, receiver: &Receiver, place: &Place, flags: &[&str]) -> (Synced, Vec<Span>) {
    let before = receiver.spans().len();
    let synced = sync(place, net, flags);
    let spans = receiver.spans().split_off(before);
    check(&spans);
    assert_eq!(receiver.problems(), Vec::<String>::new());
    (synced, spans)
}

fn place(receiver: &Receiver) -> Place {
    Place::with_config(&format!("limits.allow_private_addresses = true\n{}", to(receiver)))
}

/// The numbers of a root are those that `sync --json` prints.
fn same_as_printed(root: &Span, synced: &Synced) {
    let line = synced.only();
    let rejected: i64 = line["rejected"].as_object().expect("an object").values().filter_map(|n| n.as_i64()).sum();
    for (key, printed) in [
        ("events.needed", line["need"].as_i64()),
        ("events.received", line["received"].as_i64()),
        ("events.stored", line["stored"].as_i64()),
        ("events.rejected", Some(rejected)),
        ("bytes.up", line["bytes_up"].as_i64()),
        ("bytes.down", line["bytes_down"].as_i64()),
    ] {
        assert_eq!(root.number(key), printed, "{key}: {line:#}");
    }
    assert_eq!(root.text("sync.strategy"), line["strategy"]);
}

#[test]
fn the_numbers_of_a_sync_are_what_the_relay_had_and_we_had_not() {
    let events = notes(700);
    for strategy in ["negentropy", "req"] {
        let receiver = Receiver::start().expect("a port");
        let place = place(&receiver);
        let older = Net::of([events[..200].to_vec()]);
        synced(&older, &receiver, &place, &[]);
        let net = Net::of([events.clone()]);
        let (synced, spans) = synced(&net, &receiver, &place, &["--strategy", strategy]);
        assert_eq!(synced.code(), Some(0));
        let [root] = roots(&spans)[..] else { panic!("one root, not {spans:#?}") };
        same_as_printed(root, &synced);
        assert_eq!((root.number("events.needed"), root.number("events.stored")), (Some(500), Some(500)));
        assert_eq!((root.number("events.rejected"), root.number("batch.filters")), (Some(0), Some(1)));
        assert_eq!((root.text("outcome"), root.text("batch.layer")), ("confirmed", "free"));
        let received = root.number("events.received").expect("a number");
        assert_eq!(sum(&spans, root, "events.ingest", "events.stored"), 500);
        assert_eq!(sum(&spans, root, "events.ingest", "events.received"), received);
        if strategy == "negentropy" {
            assert_eq!(received, 500);
            assert_eq!(sum(&spans, root, "events.fetch", "events.asked"), 500);
            let sessions = below(&spans, root);
            let rounds: i64 = sessions.iter().filter_map(|session| session.number("rounds")).sum();
            assert_eq!(synced.only()["rounds"], rounds);
        } else {
            assert_eq!(sum(&spans, root, "req.page", "events.received"), received);
        }
    }
}

#[test]
fn a_sync_that_misses_something_is_a_failed_batch_that_says_what() {
    let (receiver, events) = (Receiver::start().expect("a port"), notes(60));
    let net = Net::of([events.clone()]);
    net.relays[0].set_faults(|faults| faults.withheld.extend(events[..2].iter().map(|event| event.id)));
    let (synced, spans) = synced(&net, &receiver, &place(&receiver), &["--strategy", "negentropy"]);
    assert_eq!(synced.code(), Some(3));
    let [root] = roots(&spans)[..] else { panic!("one root, not {spans:#?}") };
    same_as_printed(root, &synced);
    assert_eq!((root.text("outcome"), root.number("events.stored")), ("failed", Some(58)));
    let reason = root.error.as_deref().expect("a reason");
    assert!(
        !reason.is_empty() && synced.only()["reason"].as_str().is_some_and(|line| line.contains(reason)),
        "{reason}"
    );
}

#[test]
fn what_is_kept_out_is_counted_as_that() {
    let (receiver, events) = (Receiver::start().expect("a port"), notes(40));
    let net = Net::of([events]);
    net.relays[0].set_faults(|faults| faults.bad_signature_every = std::num::NonZeroU64::new(10));
    let (synced, spans) = synced(&net, &receiver, &place(&receiver), &["--strategy", "req"]);
    let root = roots(&spans)[0];
    same_as_printed(root, &synced);
    let rejected = root.number("events.rejected").expect("a number");
    assert!(rejected >= 4, "{root:#?}");
    assert_eq!(sum(&spans, root, "events.ingest", "events.rejected"), rejected);
}

#[test]
fn what_a_probe_brings_lies_below_its_session_too() {
    let receiver = Receiver::start().expect("a port");
    let (net, _) = Net::world(1, WorldSpec::default());
    let place =
        Place::with_config(&format!("limits.allow_private_addresses = true\nlimits.max_tags = 4\n{}", to(&receiver)));
    let (_, spans) = synced(&net, &receiver, &place, &["--strategy", "negentropy"]);
    let root = roots(&spans)[0];
    for key in ["events.received", "events.rejected"] {
        assert!(root.number(key) > Some(0), "{root:#?}");
        assert_eq!(Some(sum(&spans, root, "events.ingest", key)), root.number(key), "{key}: {spans:#?}");
    }
    assert!(sum(&spans, root, "req.page", "events.received") > 0, "no probe: {spans:#?}");
}

#[test]
fn a_warning_about_a_batch_leads_to_its_trace() {
    for export in [true, false] {
        let receiver = Receiver::start().expect("a port");
        let (net, _) = Net::world(1, WorldSpec::default());
        net.relays[0].set_faults(|faults| faults.no_negentropy = Some(NoNegentropy::NoticeUnknownCommand));
        let place = daemon_place(&[net.url(0)], &if export { to(&receiver) } else { String::new() });
        let mut daemon = Daemon::start(&place);
        daemon.wait_relays(net.urls(), "Connected");
        let stopped = daemon.stop();
        let line = stopped.stderr.lines().find(|line| line.contains("WARN") && line.contains("is unsupported"));
        let line = line.unwrap_or_else(|| panic!("no warning: {stopped:?}"));
        let id = line.split("trace.id=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a trace's id");
        assert_eq!(id.len(), 32, "{line}");
        if export {
            let spans = receiver.spans();
            let root = roots(&spans).into_iter().find(|root| root.trace == id).expect("its trace");
            assert!(root.events.iter().any(|event| event.name == "fallback"), "{root:#?}");
        }
    }
}

#[test]
fn each_connection_that_breaks_ends_its_batch_with_an_outcome() {
    let receiver = Receiver::start().expect("a port");
    let net = Net::of([notes(1_500)]);
    net.relays[0].set_faults(|faults| faults.drop_after = Some(DropAfter { frames: 700, times: Some(1) }));
    let (synced, spans) = synced(&net, &receiver, &place(&receiver), &["--strategy", "req"]);
    assert_eq!(synced.code(), Some(0), "{synced:#?}");
    let mut roots = roots(&spans);
    roots.sort_by_key(|root| root.number("batch.id"));
    let outcomes: Vec<_> = roots.iter().map(|root| root.text("outcome")).collect();
    assert_eq!(outcomes, ["failed", "confirmed"]);
    let stored: i64 = roots.iter().filter_map(|root| root.number("events.stored")).sum();
    assert_eq!(stored, 1_500);
    let connections: Vec<_> = spans.iter().filter(|span| span.name == "relay.connection").collect();
    assert_eq!(connections.len(), 2);
    assert!(connections.iter().any(|connection| connection.error.is_some()), "{connections:#?}");
}

#[test]
fn log_lines_within_a_batch_carry_its_trace_id_as_text_and_as_json() {
    for format in ["text", "json"] {
        let receiver = Receiver::start().expect("a port");
        let net = Net::of([notes(30)]);
        let place = Place::with_config(&format!(
            "limits.allow_private_addresses = true\ntelemetry.log_format = {format:?}\n{}",
            to(&receiver)
        ));
        let ended = place.run(&["sync", net.url(0), "--log", "debug"]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let spans = receiver.spans();
        let root = roots(&spans)[0];
        for wanted in ["batch ended", "session ended"] {
            let line = ended.stderr.lines().find(|line| line.contains(wanted)).expect(wanted);
            if format == "json" {
                let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
                assert_eq!(line["spans"][0]["trace.id"], root.trace, "{line:#}");
            } else {
                assert!(line.contains(&format!("trace.id=\"{}\"", root.trace)), "{line}");
            }
        }
    }
}

#[test]
fn the_demo_is_traced_too() {
    let receiver = Receiver::start().expect("a port");
    let place = Place::new().var("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.endpoint());
    let ended = place.run(&["demo", "-q"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let spans = receiver.spans();
    check(&spans);
    assert!(roots(&spans).len() >= 6, "{spans:#?}");
}
