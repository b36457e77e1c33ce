//! `run` with relays that ask for patience, and with one that is dead.

use std::time::{Duration, Instant};

use testkit::relay::{RateLimit, RateLimitAnswer, RelayStats};

use crate::daemon::{Daemon, relay};
use crate::net::{Net, daemon_place, ids, stored};
use crate::one_repo::{LONG_AGO, comment, issue, now, repo};

const COOLDOWN: Duration = Duration::from_secs(4);

/// How often a relay was asked for something.
fn asked(stats: &RelayStats) -> u64 {
    stats.received("REQ") + stats.received("NEG-OPEN") + stats.received("NEG-MSG")
}

/// A relay that answers two requests, and to the third says `answer`, beside a good one.
fn is_left_alone(answer: RateLimitAnswer) {
    let net = Net::of(vec![Vec::new(); 2]);
    let mut events = repo("r", &net.urls());
    net.relays.iter().for_each(|relay| events.iter().for_each(|event| _ = relay.publish(event.clone())));
    // This one only the limited relay has.
    let (issue, url) = (issue("r", 0, LONG_AGO + 100), net.url(1).to_owned());
    events.push(comment(&issue, 9, LONG_AGO + 500));
    let _ = net.relays[1].publish(events[events.len() - 1].clone());
    net.relays[1].set_faults(|faults| faults.rate_limit = Some(RateLimit { after: 2, per_ms: 0, answer }));
    let place = daemon_place(&net.urls(), &format!("health.rate_limit_cooldown = \"{}s\"\n", COOLDOWN.as_secs()));
    let mut daemon = Daemon::start(&place);
    let said = |stats: &RelayStats| stats.sent("CLOSED") + stats.sent("NEG-ERR") + stats.sent("NOTICE") > 0;
    net.runtime.block_on(net.relays[1].wait_for(said)).expect("it is asked too often");
    let since = Instant::now();
    daemon.wait_status(|status| relay(status, &url).is_some_and(|r| r["health"] == "RateLimited"));
    // What was on its way when the relay spoke has arrived by now.
    let before = asked(&net.relays[1].stats());
    assert_eq!(daemon.metric(&format!("ngit_sync_relay_status{{relay={url:?}}}")), Some(5.0));

    // The other goes on meanwhile.
    daemon.wait_status(|status| relay(status, net.url(0)).is_some_and(|r| r["status"] == "Connected"));
    events.push(comment(&issue, 10, now()));
    let _ = net.relays[0].publish(events[events.len() - 1].clone());
    daemon.wait_status(|status| status["totals"]["store_events"] == events.len() - 1);
    let status = daemon.status();
    let shown = relay(&status, &url).expect("listed");
    assert!(since.elapsed() > COOLDOWN || shown["health"] == "RateLimited", "{answer:?}: {shown:#}");

    net.relays[1].set_faults(|faults| faults.rate_limit = None);
    net.runtime.block_on(net.relays[1].wait_for(|stats| asked(stats) > before)).expect("it is asked again");
    let quiet = since.elapsed();
    // The relay was seen to speak a little after it spoke.
    assert!(quiet > COOLDOWN - Duration::from_secs(1), "{answer:?}: asked again after {quiet:?}");
    daemon.wait_relays(net.urls(), "Connected");
    assert_eq!(stored(&place), ids(&events), "{answer:?}");
    assert_ne!(daemon.metric(&format!("ngit_sync_relay_status{{relay={url:?}}}")), Some(5.0));
    let said = daemon.stop().stderr;
    assert!(said.lines().any(|line| line.contains("WARN") && line.contains("ate limit")), "{answer:?}: {said}");
}

#[test]
fn nothing_is_asked_of_a_relay_that_closes_for_its_rate_limit_until_the_cool_down_is_over() {
    is_left_alone(RateLimitAnswer::Closed);
}

#[test]
fn nothing_is_asked_of_a_relay_that_speaks_of_its_rate_limit_until_the_cool_down_is_over() {
    is_left_alone(RateLimitAnswer::Notice);
}

#[test]
fn nothing_is_asked_of_a_relay_that_hangs_up_for_its_rate_limit_until_the_cool_down_is_over() {
    is_left_alone(RateLimitAnswer::NoticeAndDrop);
}

/// How often back-off may have tried within this time, at most: waits are at least four fifths of 200 ms · 2^n, up to
/// that of a second.
fn most_attempts(within: Duration) -> u64 {
    let (mut at, mut wait, mut attempts) = (0, 200, 1);
    while at <= within.as_millis() {
        at += wait * 4 / 5;
        wait = (wait * 2).min(1_000);
        attempts += 1;
    }
    attempts
}

fn failed_attempts(daemon: &Daemon, url: &str) -> u64 {
    let name = format!("ngit_sync_connection_attempts_total{{relay={url:?},result=\"failure\"}}");
    daemon.metric(&name).unwrap_or_default() as u64
}

const MORTAL: &str = "health.max_backoff = \"1s\"\nhealth.dead_after = \"2s\"\n";

#[test]
fn a_relay_that_never_answers_is_dead_for_now_and_stays_so_through_a_restart() {
    let net = Net::faulty(Vec::new(), |faults| faults.refuse_connections = true);
    let url = net.url(0).to_owned();
    let place = daemon_place(&net.urls(), &format!("{MORTAL}health.dead_retry = \"1h\"\n"));
    let started = Instant::now();
    let mut daemon = Daemon::start(&place);
    let dead = |status: &serde_json::Value| relay(status, &url).is_some_and(|r| r["health"] == "Dead");
    let status = daemon.wait_status(dead);
    let shown = relay(&status, &url).expect("listed");
    assert_eq!(shown["status"], "Disconnected", "{shown:#}");
    assert!(shown["last_error"].is_string() && shown["last_connected"].is_null(), "{shown:#}");
    // Dead by the clock at two seconds, and told to whoever counts.
    let state = format!("ngit_sync_relay_status{{relay={url:?}}}");
    daemon.wait_status_with(|daemon, status| status["totals"]["dead"] == 1 && daemon.metric(&state) == Some(4.0));
    let tries = failed_attempts(&daemon, &url);
    assert!((3..=most_attempts(started.elapsed())).contains(&tries), "{tries} in {:?}", started.elapsed());
    assert_eq!(daemon.metric("ngit_sync_relays_dead_total"), Some(1.0));
    assert_eq!(daemon.fetch("/healthz").0, 200);
    let refused = net.relays[0].stats().connections_refused;
    let more = |stats: &RelayStats| stats.connections_refused > refused;
    let tried = net.runtime.block_on(net.relays[0].wait_for_within(Duration::from_millis(2_500), more));
    assert!(tried.is_err(), "a dead relay is tried once an hour");
    assert_eq!(daemon.stop().status.code(), Some(0));

    let mut daemon = Daemon::start(&place);
    daemon.wait_status(dead);
    assert_eq!(net.relays[0].stats().connections_refused, refused, "a restart doesn't forget it");
    assert_eq!(daemon.stop().status.code(), Some(0));
}

#[test]
fn a_dead_relay_that_is_back_is_found_with_the_next_try() {
    let net = Net::faulty(Vec::new(), |faults| faults.refuse_connections = true);
    let events = repo("r", &net.urls());
    events.iter().for_each(|event| _ = net.relays[0].publish(event.clone()));
    let url = net.url(0).to_owned();
    let more = format!("{MORTAL}health.dead_retry = \"3s\"\nhealth.stable_after = \"1s\"\n");
    let place = daemon_place(&net.urls(), &more);
    let mut daemon = Daemon::start(&place);
    daemon.wait_status(|status| relay(status, &url).is_some_and(|r| r["health"] == "Dead"));
    net.relays[0].set_faults(|faults| faults.refuse_connections = false);
    daemon.wait_relays(net.urls(), "Connected");
    assert_eq!(stored(&place), ids(&events));
    daemon.wait_status(|status| {
        status["totals"]["dead"] == 0 && relay(status, &url).is_some_and(|r| r["health"] == "Healthy")
    });
    assert_eq!(daemon.stop().status.code(), Some(0));
}
