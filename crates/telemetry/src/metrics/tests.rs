//! What is exposed, and how much of it there can be.

use std::collections::BTreeSet;

use super::*;

/// Sets every metric once.
fn exercised(metrics: &Metrics) {
    metrics.relay_status("wss://a.b", 3);
    metrics.relay_health("wss://a.b", 1);
    metrics.relay_failures("wss://a.b", 2);
    metrics.relay_memory("wss://a.b", 4_096);
    metrics.connection_attempt("wss://a.b", AttemptResult::Success);
    metrics.events_synced(7);
    metrics.relays(5, 4, 1);
    metrics.batch_done("negentropy,req", "new_items", "confirmed", Duration::from_millis(200));
    metrics.event_received("stored");
    metrics.bytes("wss://a.b", Direction::Down, 100);
    metrics.rejected_index(Tier::Hot, 9);
    metrics.fallback("negentropy", "");
    metrics.limit_hit("max_relays");
    metrics.store_events(11);
    metrics.store_size(8_192, 65_536);
    metrics.store_commit(Duration::from_millis(3));
    metrics.relays_in_status("Connected", 4);
    metrics.followed(12, 34, 2);
    metrics.outbox(6);
    metrics.own_up(true);
    metrics.own_connections(3);
    metrics.own_received("stored");
    metrics.own_sent(8);
    metrics.spans_exported(12);
    metrics.spans_dropped(SpanLoss::Refused, 4);
    metrics.healthy(true);
    metrics.plugins("barred", 1);
    metrics.started("1.2.3", 1_700_000_000);
    metrics.process(Process { resident_bytes: Some(4_096), open_files: Some(17), max_files: Some(1_024) });
}

/// The names of the labels of a line of the exposition.
fn labels(line: &str) -> Vec<&str> {
    let Some((_, rest)) = line.split_once('{') else { return Vec::new() };
    let (labels, _) = rest.rsplit_once('}').expect("closed");
    labels.split(',').filter_map(|label| Some(label.split_once('=')?.0)).filter(|label| *label != "le").collect()
}

#[test]
fn what_is_described_is_what_is_exposed() {
    let metrics = Metrics::new();
    exercised(&metrics);
    let text = metrics.encode(Format::OpenMetrics).expect("encodes");
    let typed: Vec<(&str, &str)> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let told: Vec<(&str, &str)> = metrics
        .described()
        .iter()
        .map(|metric| (metric.name.strip_suffix("_total").unwrap_or(&metric.name), metric.kind.as_str()))
        .collect();
    // The encoder takes `_total` off the name of a counter alone.
    let typed: Vec<_> =
        typed.into_iter().map(|(name, kind)| (name.strip_suffix("_total").unwrap_or(name), kind)).collect();
    assert_eq!(typed, told, "every metric is described, and every one that is described can be set");
    for metric in metrics.described() {
        let suffix = if metric.kind == Kind::Histogram { "_bucket{" } else { "" };
        let start = format!("{}{suffix}", metric.name);
        let is_its = |line: &&str| {
            line.strip_prefix(&*start).is_some_and(|rest| !suffix.is_empty() || rest.starts_with(['{', ' ']))
        };
        let line = text.lines().find(is_its).unwrap_or_else(|| panic!("`{start}` is missing in:\n{text}"));
        assert_eq!(labels(line), metric.labels, "{line}");
    }
    let names: BTreeSet<&str> = metrics.described().iter().map(|metric| &*metric.name).collect();
    assert_eq!(names.len(), metrics.described().len(), "no name is there twice");
}

#[test]
fn what_a_process_does_not_have_is_not_exposed() {
    let metrics = Metrics::new();
    metrics.process(Process { max_files: Some(9), ..Process::default() });
    let text = metrics.encode(Format::OpenMetrics).expect("encodes");
    assert!(text.contains("process_max_fds 9\n"), "{text}");
    for name in
        ["process_open_fds", "process_resident_memory_bytes", "grasp_sync_outbox_events", "grasp_sync_own_relay_up"]
    {
        assert!(!text.contains(name), "{name} has no value in:\n{text}");
    }
}

#[test]
fn a_batch_that_was_given_up_is_counted_and_not_timed() {
    let metrics = Metrics::new();
    metrics.batch_superseded("", "daily_sync");
    let text = metrics.encode(Format::OpenMetrics).expect("encodes");
    let line = r#"grasp_sync_batches_total{strategy="none",reason="daily_sync",outcome="superseded"} 1"#;
    assert!(text.lines().any(|found| found == line), "{text}");
    assert!(!text.contains("grasp_sync_batch_seconds_count"), "{text}");
}

#[test]
fn every_name_of_the_contract_is_exposed_with_its_labels_and_type() {
    let metrics = Metrics::new();
    exercised(&metrics);
    let text = metrics.encode(Format::OpenMetrics).expect("encodes");
    for line in [
        r#"ngit_sync_relay_connected{relay="wss://a.b"} 3"#,
        r#"ngit_sync_relay_status{relay="wss://a.b"} 1"#,
        r#"ngit_sync_relay_failures{relay="wss://a.b"} 2"#,
        r#"ngit_sync_connection_attempts_total{relay="wss://a.b",result="success"} 1"#,
        "ngit_sync_events_synced_total 7",
        "ngit_sync_relays_tracked_total 5",
        "ngit_sync_relays_connected_total 4",
        "ngit_sync_relays_dead_total 1",
        r#"grasp_sync_batches_total{strategy="negentropy,req",reason="new_items",outcome="confirmed"} 1"#,
        r#"grasp_sync_batch_seconds_count{strategy="negentropy,req"} 1"#,
        r#"grasp_sync_batch_seconds_bucket{le="0.2",strategy="negentropy,req"} 1"#,
        r#"grasp_sync_events_received_total{outcome="stored"} 1"#,
        r#"grasp_sync_bytes_total{relay="wss://a.b",direction="down"} 100"#,
        r#"grasp_sync_rejected_index_size{tier="hot"} 9"#,
        r#"grasp_sync_fallbacks_total{from="negentropy",to="none"} 1"#,
        r#"grasp_sync_limit_hits_total{limit="max_relays"} 1"#,
        "grasp_sync_store_events 11",
        "grasp_sync_store_commit_seconds_count 1",
        "# TYPE ngit_sync_relays_tracked_total gauge",
        "# TYPE grasp_sync_batches counter",
        "# TYPE grasp_sync_store_commit_seconds histogram",
    ] {
        assert!(text.lines().any(|found| found == line), "`{line}` is missing in:\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn clones_share_their_numbers_and_processes_do_not() {
    let metrics = Metrics::new();
    metrics.clone().events_synced(1);
    assert!(metrics.encode(Format::OpenMetrics).expect("encodes").contains("ngit_sync_events_synced_total 1\n"));
    assert!(Metrics::new().encode(Format::OpenMetrics).expect("encodes").contains("ngit_sync_events_synced_total 0\n"));
}

#[test]
fn past_the_bound_counters_share_a_label_and_gauges_are_left_out() {
    let metrics = Metrics::with_max_relays(2);
    for relay in ["wss://a", "wss://b", "wss://c", "wss://d", "wss://a"] {
        metrics.relay_status(relay, 4);
        metrics.bytes(relay, Direction::Up, 10);
    }
    let text = metrics.encode(Format::OpenMetrics).expect("encodes");
    let series = |name: &str| {
        let mut lines: Vec<_> = text.lines().filter(|line| line.starts_with(name)).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(
        series("grasp_sync_bytes_total"),
        [
            r#"grasp_sync_bytes_total{relay="other",direction="up"} 20"#,
            r#"grasp_sync_bytes_total{relay="wss://a",direction="up"} 20"#,
            r#"grasp_sync_bytes_total{relay="wss://b",direction="up"} 10"#,
        ]
    );
    assert_eq!(
        series("ngit_sync_relay_connected"),
        [r#"ngit_sync_relay_connected{relay="wss://a"} 4"#, r#"ngit_sync_relay_connected{relay="wss://b"} 4"#]
    );
}

#[test]
fn the_bound_is_five_hundred_relays() {
    let metrics = Metrics::new();
    for number in 0..2_000 {
        metrics.connection_attempt(&format!("wss://{number}.example"), AttemptResult::Failure);
    }
    let text = metrics.encode(Format::OpenMetrics).expect("encodes");
    let series = text.lines().filter(|line| line.starts_with("ngit_sync_connection_attempts_total")).count();
    assert_eq!(series, 501);
    assert!(text.contains(r#"{relay="other",result="failure"} 1500"#));
}

#[test]
fn a_limit_is_news_once_for_each_relay() {
    let metrics = Metrics::with_max_relays(2);
    let hits =
        ["wss://a", "wss://a", "wss://b", "wss://c", "wss://d"].map(|relay| metrics.relay_limit_hit(relay, "max_tags"));
    assert_eq!(hits, [true, false, true, true, false], "the last two share a label");
    assert!(metrics.relay_limit_hit("wss://a", "max_future"));
    assert!(
        metrics
            .encode(Format::OpenMetrics)
            .expect("encodes")
            .contains("grasp_sync_limit_hits_total{limit=\"max_tags\"} 5\n")
    );
}

#[test]
fn hostile_label_values_are_escaped() {
    let metrics = Metrics::new();
    metrics.relay_status("wss://a\"} 1\nforged{x=\"\\", 3);
    let text = metrics.encode(Format::OpenMetrics).expect("encodes");
    assert!(
        text.contains(r#"ngit_sync_relay_connected{relay="wss://a\"} 1\nforged{x=\"\\"} 3"#),
        "the value must stay within its quotes:\n{text}"
    );
    assert!(!text.lines().any(|line| line.starts_with("forged")));
}

#[test]
fn a_relay_that_is_let_go_of_leaves_nothing_and_gives_its_place_to_another() {
    let metrics = Metrics::with_max_relays(1);
    let touch = |relay: &str| {
        metrics.relay_status(relay, 4);
        metrics.relay_health(relay, 3);
        metrics.relay_failures(relay, 1);
        metrics.relay_memory(relay, 1);
        metrics.connection_attempt(relay, AttemptResult::Failure);
        metrics.bytes(relay, Direction::Up, 1);
    };
    touch("wss://a");
    assert!(metrics.relay_limit_hit("wss://a", "max_tags"));
    metrics.retain_relays(|relay| relay == "wss://a");
    assert!(!metrics.relay_limit_hit("wss://a", "max_tags"), "it stays while it is known");
    metrics.retain_relays(|relay| relay == "wss://b");
    assert!(!metrics.encode(Format::OpenMetrics).expect("encodes").contains("wss://a"));
    touch("wss://b");
    let text = metrics.encode(Format::OpenMetrics).expect("encodes");
    assert_eq!(text.matches("relay=\"wss://b\"").count(), 6, "{text}");
    touch("wss://a");
    assert_eq!(
        metrics.encode(Format::OpenMetrics).expect("encodes").matches("relay=\"other\"").count(),
        2,
        "counters alone"
    );
    metrics.retain_relays(|_| false);
    assert!(metrics.encode(Format::OpenMetrics).expect("encodes").contains("relay=\"other\""), "what is shared stays");
}
