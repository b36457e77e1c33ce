//! The program with a collector that dies, hangs, refuses or was never there: the work goes on, losses are counted, and said
//! once for each cause.

use std::time::{Duration, Instant};

use nostr::event::Event;
use testkit::otlp::{Manner, Receiver};

use crate::daemon::{Daemon, PATIENCE, STOP};
use crate::net::{Net, daemon_place, notes};
use crate::one_repo::{issue, now, repo};
use crate::program::Place;
use crate::traces::{roots, to};

/// A relay with a repository.
fn net() -> (Net, Vec<Event>) {
    let net = Net::of([Vec::new()]);
    let events = repo("r", &net.urls());
    events.iter().for_each(|event| _ = net.relays[0].publish(event.clone()));
    (net, events)
}

/// A daemon whose spans go out at once.
fn start(net: &Net, receiver: &Receiver) -> (Place, Daemon) {
    let place = daemon_place(&net.urls(), &to(receiver)).var("OTEL_BSP_SCHEDULE_DELAY", "50");
    let mut daemon = Daemon::start(&place);
    daemon.wait_relays(net.urls(), "Connected");
    (place, daemon)
}

/// Publishes one more issue, and waits until what follows of it is done.
fn one_more(net: &Net, daemon: &mut Daemon, number: u64) {
    let before = daemon.status()["totals"]["store_events"].as_u64().expect("a number");
    let _ = net.relays[0].publish(issue("r", 10 + number, now()));
    daemon.wait_status(|status| status["totals"]["store_events"].as_u64() > Some(before));
}

fn dropped(daemon: &Daemon, cause: &str) -> f64 {
    daemon.metric(&format!("grasp_sync_spans_dropped_total{{cause=\"{cause}\"}}")).unwrap_or_default()
}

#[test]
fn a_collector_that_dies_in_between_stops_nothing_and_is_warned_of_once() {
    let mut receiver = Receiver::start().expect("a port");
    let (net, _) = net();
    let (_place, mut daemon) = start(&net, &receiver);
    receiver.wait(PATIENCE, |spans| !roots(spans).is_empty()).expect("traces come");
    receiver.die();
    for number in 0..3 {
        let before = dropped(&daemon, "unreachable");
        one_more(&net, &mut daemon, number);
        daemon.wait_status_with(|daemon, _| dropped(daemon, "unreachable") > before);
    }
    daemon.wait_relays(net.urls(), "Connected");
    let receiver = Receiver::start_at(receiver.address()).expect("its port is free");
    one_more(&net, &mut daemon, 3);
    receiver.wait(PATIENCE, |spans| !roots(spans).is_empty()).expect("traces come again");
    daemon.wait_line(|line| line.contains("traces are exported again"));
    let exported = daemon.metric("grasp_sync_spans_exported_total").expect("counted");
    assert!(exported > 0.0);
    let stopped = daemon.stop();
    assert_eq!(stopped.status.code(), Some(0));
    let warnings: Vec<_> = stopped.stderr.lines().filter(|line| line.contains("traces are lost")).collect();
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(warnings[0].contains("WARN") && warnings[0].contains(&receiver.endpoint()), "{warnings:#?}");
}

#[test]
fn a_collector_that_hangs_does_not_hold_up_the_end() {
    let receiver = Receiver::start().expect("a port");
    receiver.behave(Manner::Hang);
    let (net, _) = net();
    let (_place, mut daemon) = start(&net, &receiver);
    assert!(receiver.wait_requests(PATIENCE, 1), "one is on its way");
    one_more(&net, &mut daemon, 0);
    let stopped = daemon.stop();
    assert_eq!(stopped.status.code(), Some(0));
    assert!(stopped.took < STOP, "{:?}", stopped.took);
    assert!(stopped.stderr.contains("cause=\"stopped\""), "{}", stopped.stderr);
    assert_eq!(receiver.spans().len(), 0);
}

#[test]
fn a_sync_ends_in_time_whatever_the_collector_does() {
    let mut receiver = Receiver::start().expect("a port");
    let net = Net::of([notes(100)]);
    let run = |receiver: &Receiver| {
        let place = Place::with_config(&format!("limits.allow_private_addresses = true\n{}", to(receiver)));
        let started = Instant::now();
        let ended = place.run(&["sync", net.url(0)]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.stdout.contains("100 stored"), "{ended:?}");
        let warnings = ended.stderr.lines().filter(|line| line.contains("traces are lost")).count();
        (started.elapsed(), warnings)
    };
    receiver.behave(Manner::Slow(Duration::from_millis(500)));
    assert_eq!(run(&receiver).1, 0);
    assert_eq!(roots(&receiver.spans()).len(), 1, "it waits for a slow one");
    receiver.behave(Manner::Hang);
    let (took, warnings) = run(&receiver);
    assert!(took < Duration::from_secs(8) && warnings == 1, "{took:?}, {warnings}");
    receiver.behave(Manner::Refuse(500));
    assert_eq!(run(&receiver).1, 1);
    receiver.die();
    assert_eq!(run(&receiver).1, 1);
}

#[test]
fn what_waits_is_bounded_while_a_collector_hangs() {
    let receiver = Receiver::start().expect("a port");
    receiver.behave(Manner::Hang);
    let (net, events) = net();
    let place = daemon_place(&net.urls(), &to(&receiver))
        .var("OTEL_BSP_SCHEDULE_DELAY", "10")
        .var("OTEL_BSP_MAX_QUEUE_SIZE", "4");
    let mut daemon = Daemon::start(&place);
    daemon.wait_relays(net.urls(), "Connected");
    assert!(receiver.wait_requests(PATIENCE, 1), "one is on its way");
    let mut number = 0;
    while dropped(&daemon, "queue_full") == 0.0 {
        one_more(&net, &mut daemon, number);
        number += 1;
        assert!(number < 20, "more than fits is made by then");
    }
    let status = daemon.wait_relays(net.urls(), "Connected");
    assert!(status["totals"]["store_events"].as_u64() >= Some(events.len() as u64));
    assert_eq!(daemon.stop().status.code(), Some(0));
}
