//! `/metrics` of running daemons, against `docs/metrics.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use testkit::relay::{NoNegentropy, RelayOptions};
use testkit::world::WorldSpec;

use crate::daemon::Daemon;
use crate::net::{Net, daemon_place};
use crate::one_repo::{LONG_AGO, announcement};
use crate::run_embedded::publish;

/// Rows of the page's tables, cell by cell.
fn rows() -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let page = std::fs::read_to_string(path).expect("the page is there");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"));
    rows.map(|row| row.split(" | ").map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// The metrics that the page tells of, by name, with their types.
fn told() -> BTreeMap<String, String> {
    let of_metrics = rows().into_iter().filter(|row| row.len() == 5);
    of_metrics.map(|row| (row[0].split(['{', '`']).next().unwrap_or_default().to_owned(), row[1].clone())).collect()
}

/// The metrics of an exposition, in the same form.
fn exposed(text: &str) -> BTreeMap<String, String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

/// The words that the page lists for a label of a metric, where it has a list.
fn words(label: &str, metric: &str) -> BTreeSet<String> {
    let row = rows().into_iter().find(|row| row.len() == 3 && row[0] == format!("{label}`") && row[1].contains(metric));
    let cell = row.map(|row| row[2].clone()).unwrap_or_default();
    let words: BTreeSet<String> = cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    if words.len() > 1 { words } else { BTreeSet::new() }
}

/// Every label of a line that has a list of words has one of them.
fn check_words(line: &str) {
    let Some((metric, rest)) = line.split_once('{') else { return };
    let Some((labels, _)) = rest.rsplit_once('}') else { return };
    for (label, value) in labels.split(',').filter_map(|label| label.split_once('=')) {
        let (value, words) = (value.trim_matches('"'), words(label, metric));
        assert!(words.is_empty() || words.contains(value), "`{value}` is no word of `{label}`: {line}");
    }
}

fn check(text: &str) -> BTreeSet<String> {
    let (told, exposed) = (told(), exposed(text));
    for (name, kind) in &exposed {
        assert_eq!(told.get(name), Some(kind), "{name} is exposed, and the page tells of something else");
    }
    text.lines().filter(|line| !line.starts_with('#')).for_each(check_words);
    exposed.into_keys().collect()
}

#[test]
fn daemons_expose_what_the_page_tells_of_and_nothing_else() {
    // One with an embedded own relay, a relay that doesn't speak NIP-77, and one relay too many.
    let (net, _) = Net::world(2, WorldSpec::default());
    net.relays[0].set_faults(|faults| faults.no_negentropy = Some(NoNegentropy::NoticeDisabled));
    let place = daemon_place(&[net.url(0)], "").var("GRASP_SYNC_LIMITS__MAX_RELAYS", "1");
    let mut embedded = Daemon::start(&place);
    let own = embedded.own_relay();
    publish(&own, &[announcement("mine", LONG_AGO, &[own.as_str()])]);
    embedded.wait_relays([net.url(0)], "Connected");
    let status = embedded.wait_status_with(|daemon, status| {
        daemon.metric("grasp_sync_limit_hits_total{limit=\"max_relays\"}") >= Some(1.0)
            && daemon.metric("grasp_sync_own_relay_received_total{outcome=\"stored\"}") == Some(1.0)
            && daemon.metric("grasp_sync_relays{status=\"Connected\"}") == Some(1.0)
            && daemon.metric("grasp_sync_store_events") == status["totals"]["store_events"].as_f64()
    });
    for (name, value) in [
        ("grasp_sync_healthy", 1.0),
        ("grasp_sync_own_relay_up", 1.0),
        ("grasp_sync_relays{status=\"ConnectedDegraded\"}", 0.0),
        ("grasp_sync_plugins{state=\"loaded\"}", 0.0),
        ("grasp_sync_pending_batches", 0.0),
        ("grasp_sync_repositories", status["totals"]["repos"].as_f64().expect("a number")),
        ("grasp_sync_store_map_bytes", f64::from(64 << 20) * 1024.0),
        (concat!("grasp_sync_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1.0),
        (&format!("ngit_sync_relay_connected{{relay=\"{}\"}}", net.url(0)), 3.0),
    ] {
        assert_eq!(embedded.metric(name), Some(value), "{name}");
    }
    assert!(embedded.metric("grasp_sync_store_used_bytes") > Some(4_096.0));
    assert!(embedded.metric("process_start_time_seconds") > Some(1.6e9));
    let mut seen = check(&embedded.fetch("/metrics").1);
    assert!(!seen.contains("grasp_sync_outbox_events"), "there is no outbox");
    assert_eq!(embedded.stop().status.code(), Some(0));

    // One with an external own relay.
    let (mut net, _) = Net::world(1, WorldSpec::default());
    let own = net.add(RelayOptions::default()).url().to_string();
    let place = daemon_place(&[net.url(0)], &format!("service.own_relay = {own:?}\n"));
    let mut external = Daemon::start(&place);
    external.wait_relays(net.urls(), "Connected");
    external.wait_status_with(|daemon, _| daemon.metric("grasp_sync_outbox_events") == Some(0.0));
    seen.extend(check(&external.fetch("/metrics").1));
    assert_eq!(external.stop().status.code(), Some(0));

    let told: BTreeSet<String> = told().into_keys().collect();
    let unseen: Vec<_> = told.difference(&seen).collect();
    assert!(unseen.is_empty() || !cfg!(target_os = "linux"), "the page tells of what no daemon exposes: {unseen:?}");
}

#[test]
fn a_relay_that_made_room_for_another_leaves_no_series_behind() {
    let net = Net::of([Vec::new(), Vec::new(), Vec::new()]);
    let named = |relays: &[&str], at| announcement("r", at, relays);
    let [first, second, third] = [0, 1, 2].map(|relay| net.url(relay));
    let _ = net.relays[0].publish(named(&[first, second], LONG_AGO));
    let place = daemon_place(&[first], "").var("GRASP_SYNC_LIMITS__MAX_RELAYS", "2");
    let mut daemon = Daemon::start(&place);
    let of = |relay: &str| format!("ngit_sync_relay_connected{{relay=\"{relay}\"}}");
    daemon.wait_status_with(|daemon, _| daemon.metric(&of(second)) == Some(3.0));
    // Nobody lists it any more: it is known still, and not connected.
    let _ = net.relays[0].publish(named(&[first], LONG_AGO + 10));
    daemon.wait_status_with(|daemon, _| daemon.metric(&of(second)) == Some(0.0));
    let _ = net.relays[0].publish(named(&[first, third], LONG_AGO + 20));
    daemon.wait_status_with(|daemon, _| daemon.metric(&of(third)) == Some(3.0));
    let text = daemon.fetch("/metrics").1;
    assert!(!text.contains(second) && text.contains(third), "{text}");
    assert_eq!(daemon.stop().status.code(), Some(0));
}
