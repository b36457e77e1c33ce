//! `run` beside relays that try to wear it out: it stays within its bounds, and the others don't notice.

use std::time::{Duration, Instant};

use nostr::event::Event;
use testkit::relay::{Drip, Nip11Fault};
use testkit::world::{EventSpec, keys};

use crate::daemon::{Daemon, relay};
use crate::net::{Net, daemon_place, ids, stored};
use crate::one_repo::{LONG_AGO, address, announcement, issue, now};

/// Soon enough for somebody who waits for it.
const SOON: Duration = Duration::from_secs(10);

/// Two relays that a repository lists, the first of which starts the discovery; nothing but its announcement is on them.
fn two_relays(more: &str) -> (Net, Daemon, crate::program::Place) {
    let net = Net::of([Vec::new(), Vec::new()]);
    let listed: Vec<String> = net.urls().into_iter().map(str::to_owned).collect();
    for relay in &net.relays {
        let _ = relay.publish(announcement("r", LONG_AGO, &listed));
    }
    let place = daemon_place(&[net.url(0)], more);
    let mut daemon = Daemon::start(&place);
    daemon.wait_relays(net.urls(), "Connected");
    (net, daemon, place)
}

/// An issue on the second relay reaches the store soon, whatever the first does.
fn the_other_is_served(net: &Net, daemon: &mut Daemon, number: u64) {
    let before = daemon.metric("grasp_sync_store_events").unwrap_or_default();
    let published = Instant::now();
    let _ = net.relays[1].publish(issue("r", number, now()));
    daemon.wait_status_with(|daemon, _| daemon.metric("grasp_sync_store_events") > Some(before));
    assert!(published.elapsed() < SOON, "{:?}", published.elapsed());
}

#[test]
fn a_flood_of_live_events_takes_no_more_memory_than_it_may_and_all_of_it_arrives() {
    const MEMORY: f64 = 1_048_576.0;
    const MESSAGE: f64 = 262_144.0;
    let flood: Vec<Event> = (0..1_500)
        .map(|number| {
            EventSpec::new(1621)
                .at(now())
                .tag(["a", &address("r")])
                .content(format!("{number} {}", "x".repeat(16_000)))
                .sign(&keys(7, number))
        })
        .collect();
    let (net, mut daemon, place) = two_relays(
        "limits.memory_per_relay = \"1MiB\"\nlimits.max_message_size = \"256KiB\"\nlimits.max_event_size = \"64KiB\"\n",
    );
    let gauge = format!("grasp_sync_relay_memory_bytes{{relay=\"{}\"}}", net.url(0));
    let mut most: f64 = 0.0;
    for event in &flood {
        let _ = net.relays[0].publish(event.clone());
    }
    the_other_is_served(&net, &mut daemon, 1);
    daemon.wait_status_with(|daemon, status| {
        most = most.max(daemon.metric(&gauge).unwrap_or_default());
        status["totals"]["store_events"].as_u64() == Some(flood.len() as u64 + 2)
    });
    // What is read at once beyond the bound, and what is held beside the events.
    assert!(most < 2.0 * MEMORY + 2.0 * MESSAGE, "{most} bytes were held");
    let held = stored(&place);
    assert!(ids(&flood).is_subset(&held), "{} of {}", held.len(), flood.len());
    daemon.wait_relays(net.urls(), "Connected");
    assert_eq!(daemon.metric(&gauge), Some(0.0), "nothing is held of what is stored");
}

#[test]
fn a_relay_that_drips_is_given_up_with_a_reason_and_holds_nobody_up() {
    let (net, mut daemon, _place) =
        two_relays("strategy.negentropy.timeout = \"500ms\"\nstrategy.req.timeout = \"500ms\"\n");
    net.relays[0].set_faults(|faults| faults.drip = Some(Drip { piece: 1, pause_ms: 200 }));
    // An announcement makes it ask both of them for what belongs to it.
    let listed: Vec<String> = net.urls().into_iter().map(str::to_owned).collect();
    let _ = net.relays[1].publish(announcement("s", now(), &listed));
    daemon.wait_line(|line| {
        line.contains(net.url(0)) && ["within 500ms", "said nothing"].iter().any(|words| line.contains(words))
    });
    the_other_is_served(&net, &mut daemon, 1);
    assert_eq!(daemon.stop().status.code(), Some(0), "within its time, whatever drips");
}

#[test]
fn a_relay_that_reads_and_writes_no_more_holds_nobody_up() {
    let (net, mut daemon, _place) =
        two_relays("strategy.negentropy.timeout = \"500ms\"\nstrategy.req.timeout = \"500ms\"\n");
    net.relays[0].set_faults(|faults| faults.half_open = true);
    let listed: Vec<String> = net.urls().into_iter().map(str::to_owned).collect();
    let _ = net.relays[1].publish(announcement("s", now(), &listed));
    daemon.wait_status(|status| relay(status, net.url(0)).is_some_and(|relay| relay["status"] != "Connected"));
    the_other_is_served(&net, &mut daemon, 1);
    // Nothing is answered for six times as long as an answer may take: it is left, and tried again.
    daemon.wait_line(|line| line.contains(net.url(0)) && line.contains("has said nothing for 3s"));
    net.relays[0].set_faults(|faults| faults.half_open = false);
    daemon.wait_relays(net.urls(), "Connected");
    assert_eq!(daemon.stop().status.code(), Some(0));
}

#[test]
fn a_relay_may_say_of_itself_what_it_likes() {
    let lies = [
        r#"{"limitation":{"max_limit":0,"max_subscriptions":0,"max_filters":0,"max_message_length":0}}"#,
        r#"{"limitation":{"max_limit":-5,"max_subscriptions":-1}}"#,
        r#"{"limitation":{"max_limit":1e300,"max_subscriptions":18446744073709551615,"max_subid_length":0}}"#,
        r#"{"limitation":"none","supported_nips":"all"}"#,
        r#"{"supported_nips":[77,77,-1,1e9,null,{"x":[]}],"software":["a"],"limitation":{"auth_required":"maybe"}}"#,
        r#"[]"#,
        "",
    ];
    let deep = format!("{{\"limitation\":{}1{}}}", "[".repeat(50_000), "]".repeat(50_000));
    let lies: Vec<String> = lies.into_iter().map(str::to_owned).chain([deep]).collect();
    let net = Net::of(lies.iter().map(|_| Vec::new()));
    let listed: Vec<String> = net.urls().into_iter().map(str::to_owned).collect();
    let mut expected = Vec::new();
    for (number, (relay, lie)) in (0u64..).zip(net.relays.iter().zip(&lies)) {
        relay.set_faults(|faults| faults.nip11 = Some(Nip11Fault::Says(lie.clone())));
        let event = announcement(&format!("r{number}"), LONG_AGO, &listed);
        let about = issue(&format!("r{number}"), number, LONG_AGO);
        let _ = (relay.publish(event.clone()), relay.publish(about.clone()));
        expected.extend([event, about]);
    }
    let place = daemon_place(&net.urls(), "");
    let mut daemon = Daemon::start(&place);
    daemon.wait_relays(net.urls(), "Connected");
    assert_eq!(stored(&place), ids(&expected));
    assert!(!daemon.said().contains("panicked"));
}
