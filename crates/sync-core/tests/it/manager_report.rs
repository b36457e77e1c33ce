//! What an operator is shown of batches in flight, and of what went wrong lately.

use sync_core::link::LinkNotice;
use sync_core::manager::{Incident, IncidentKind, ManagerInput, StatusReport};
use sync_core::model::{BatchRequest, FailureReason, FilterCoverage};
use sync_core::strategy::Window;
use sync_core::transport::FaultKind;

use crate::kit::*;

fn report(rig: &Rig) -> StatusReport {
    rig.manager.status(rig.now)
}

/// Kind, subject and count of each incident, newest first.
fn incidents(rig: &Rig) -> Vec<(IncidentKind, String, u64)> {
    let told = |incident: Incident| (incident.kind, incident.subject, incident.count);
    report(rig).incidents.into_iter().map(told).collect()
}

fn session(rig: &mut Rig, batch: &BatchRequest, strategy: &str, ended: bool) {
    let (batch, session, window) = (batch.id, 1, Window::ALL);
    let (strategy, filter) = (strategy.to_owned(), "{}".to_owned());
    rig.notice("a", LinkNotice::SessionStarted { batch, session, strategy, filter, window });
    if ended {
        rig.notice(
            "a",
            LinkNotice::SessionEnded { batch, session, rounds: 1, outcome: "complete".to_owned(), failed: false },
        );
    }
}

#[test]
fn a_batch_in_flight_tells_how_far_it_has_come() {
    let mut rig = Rig::new(bootstrap("a"));
    rig.fold([announcement(1, "r", &["a"])]);
    rig.connected("a");
    let batches = rig.batches("a");
    let told = report(&rig);
    assert_eq!(told.batches.len() as u64, told.totals.pending_batches);
    let first = told.batches.iter().find(|batch| batch.id == batches[0].id).expect("it is in flight");
    assert_eq!((first.strategy.as_str(), first.sessions, first.filters_drained), ("", 0, 0));
    assert_eq!((first.reason.as_str(), first.layer.as_str(), first.since), ("initial_connect", "1", rig.now.unix_s));
    assert_eq!(first.filters, batches[0].filters.len() as u64);

    session(&mut rig, &batches[0], "negentropy", true);
    session(&mut rig, &batches[0], "req", false);
    let window = |since| Window { since, until: since + 9 };
    let whole = FilterCoverage { drained: vec![window(10), window(20)], ..FilterCoverage::default() };
    let open = FilterCoverage { drained: vec![window(10)], open: vec![window(20)], ..FilterCoverage::default() };
    rig.notice("a", LinkNotice::Coverage { batch: batches[0].id, filters: vec![open.clone(), whole] });
    let told = report(&rig);
    let first = told.batches.iter().find(|batch| batch.id == batches[0].id).expect("it is in flight");
    assert_eq!((first.strategy.as_str(), first.sessions, first.filters_drained), ("req", 1, 1));
    assert_eq!((first.windows_drained, first.windows_open), (3, 1));

    // What is told of a batch that isn't in flight any more is nothing.
    batches.iter().for_each(|batch| rig.done("a", batch, sync_core::model::BatchOutcome::Confirmed));
    rig.confirm_all("a");
    rig.notice("a", LinkNotice::Coverage { batch: batches[0].id, filters: vec![open] });
    let told = report(&rig);
    assert_eq!((told.batches, told.relays[0].coverage.clone()), (vec![], vec![]));
    rig.lost("a");
    assert_eq!(report(&rig).batches, []);
}

#[test]
fn what_went_wrong_is_told_newest_first() {
    let mut rig = Rig::synced();
    rig.fold([issue(3, "r")]);
    let batch = rig.manager.relays()[&relay("a")].in_flight().keys().next().copied().expect("a batch");
    for first in [true, false] {
        let (from, reason) = ("negentropy".to_owned(), "unsupported: what?".to_owned());
        rig.notice("a", LinkNotice::FellBack { batch, from, to: "req".to_owned(), reason, first });
    }
    rig.fail_all("a", FailureReason::Timeout);
    rig.notice("a", LinkNotice::RateLimited { text: "slow down".to_owned() });
    rig.lost("a");
    let expected = [
        (IncidentKind::ConnectionLost, String::new(), 1),
        (IncidentKind::RateLimited, String::new(), 1),
        (IncidentKind::BatchFailed, "new_items".to_owned(), 1),
        (IncidentKind::Fallback, "negentropy → req".to_owned(), 2),
    ];
    assert_eq!(incidents(&rig), expected);
    let failed = &report(&rig).incidents[2];
    assert!(failed.relay == relay("a") && failed.reason.contains("silence (filter {"), "{failed:?}");
}

#[test]
fn closing_by_ourselves_and_strangers_are_no_incidents() {
    let mut rig = Rig::synced();
    rig.give(ManagerInput::Disconnected { relay: relay("a"), fault: None });
    rig.give(ManagerInput::Disconnected { relay: relay("unknown"), fault: Some(fault(FaultKind::Closed)) });
    rig.give(ManagerInput::ConnectFailed { relay: relay("unknown"), fault: fault(FaultKind::Network) });
    rig.notice("a", LinkNotice::RateLimited { text: "after the end".to_owned() });
    assert_eq!(incidents(&rig), []);
}
