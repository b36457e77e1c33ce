//! `run` among relays that break the rules: each gets a status and a reason, and nothing good is lost.

use std::num::NonZeroU64;

use nostr::event::Event;
use serde_json::Value;
use testkit::relay::DropAfter;
use testkit::world::{EventSpec, WorldSpec, keys};

use crate::daemon::{Daemon, relay};
use crate::net::{DOMAIN, Net, daemon_place, ids, stored};

const HASTY: &str = "strategy.negentropy.timeout = \"700ms\"\nstrategy.req.timeout = \"700ms\"\n";

/// Repositories with issues and comments, all listed on all of these relays.
fn on_every_relay(relays: &[&str]) -> Vec<Event> {
    let mut events = Vec::new();
    for repo in 0..3 {
        let (owner, d) = (keys(1, repo), format!("repo-{repo}"));
        let announcement = EventSpec::new(30617)
            .at(1_700_000_000 + repo)
            .tag(["d", &d])
            .tag(["clone", &format!("https://{DOMAIN}/{d}.git")])
            .tag([&["relays", &format!("wss://{DOMAIN}")], relays].concat())
            .sign(&owner);
        let address = format!("30617:{}:{d}", announcement.pubkey);
        events.push(announcement);
        for issue in 0..5 {
            let at = 1_700_001_000 + 10 * issue;
            let issue = EventSpec::new(1621).at(at).tag(["a", &address]).tag(["subject", &d]).sign(&keys(2, issue));
            let root = issue.id.to_hex();
            events.push(issue);
            let comments = (1..4).map(|n| EventSpec::new(1111).at(at + n).tag(["E", &root]).sign(&keys(3, n)));
            events.extend(comments);
        }
    }
    events
}

#[test]
fn one_good_relay_among_bad_ones_is_enough() {
    let net = Net::of(vec![Vec::new(); 7]);
    let events = on_every_relay(&net.urls());
    for relay in &net.relays {
        events.iter().for_each(|event| _ = relay.publish(event.clone()));
    }
    let every = NonZeroU64::new(5);
    net.relays[0].set_faults(|faults| faults.invalid_json_every = NonZeroU64::new(3));
    net.relays[1].set_faults(|faults| faults.bad_signature_every = every);
    net.relays[2].set_faults(|faults| faults.wrong_id_every = every);
    net.relays[3].set_faults(|faults| faults.stall_after = Some(3));
    net.relays[4].set_faults(|faults| faults.refuse_req = Some("blocked: not you".to_owned()));
    net.relays[5].set_faults(|faults| faults.oversized_notice = Some(6 << 20));
    net.relays[6].set_faults(|faults| faults.drop_after = Some(DropAfter { frames: 3, times: None }));
    let place = daemon_place(&[net.url(0)], HASTY);
    let mut daemon = Daemon::start(&place);
    let status = daemon.wait_status(|status| {
        let shown = |at: usize, key: &str| relay(status, net.url(at)).map_or(&Value::Null, |relay| &relay[key]);
        shown(0, "status") == "Connected"
            && shown(3, "status") == "ConnectedDegraded"
            && shown(4, "status") == "ConnectedDegraded"
            && shown(5, "last_error").is_string()
            && shown(6, "last_error").is_string()
    });
    assert_eq!(stored(&place), ids(&events));
    let shown = |at: usize, key: &str| relay(&status, net.url(at)).expect("listed")[key].as_str().unwrap_or_default();
    assert!(shown(3, "reason").contains("700ms"), "{}", shown(3, "reason"));
    assert!(shown(4, "reason").contains("blocked: not you"), "{}", shown(4, "reason"));
    assert!(shown(5, "last_error").contains("4194304"), "{}", shown(5, "last_error"));
    for at in 5..7 {
        assert!(!["Connected", "ConnectedDegraded"].contains(&shown(at, "status")), "{status:#}");
    }
    assert_eq!(daemon.fetch("/healthz").0, 200);
    let stopped = daemon.stop();
    assert_eq!(stopped.status.code(), Some(0), "{stopped:?}");
    assert!(!stopped.stderr.contains("panicked"), "{}", stopped.stderr);
}

#[test]
fn withheld_events_degrade_a_relay_by_name_until_it_serves_them() {
    let (net, world) = Net::world(1, WorldSpec { deletions: 0, expiring: 0, ..WorldSpec::default() });
    let issue = world.accepted().into_iter().find(|event| event.kind.as_u16() == 1111).expect("a comment");
    net.relays[0].set_faults(|faults| faults.withheld = [issue.id].into());
    let place = daemon_place(&net.urls(), HASTY);
    let mut daemon = Daemon::start(&place);
    let status = daemon.wait_relays(net.urls(), "ConnectedDegraded");
    let reason = relay(&status, net.url(0)).expect("listed")["reason"].clone();
    assert!(reason.as_str().is_some_and(|reason| reason.contains(&issue.id.to_hex())), "{reason}");
    let mut expected = ids(&world.accepted());
    expected.remove(&issue.id.to_hex());
    assert_eq!(stored(&place), expected);
    assert_eq!(daemon.metric(&format!("ngit_sync_relay_connected{{relay={:?}}}", net.url(0))), Some(4.0));
    let ended = place.run(&["status", "--admin", &daemon.admin()]);
    assert!(ended.stdout.contains(&issue.id.to_hex()), "{ended:?}");
}

#[test]
fn discovered_addresses_that_are_not_public_are_refused_by_name_and_never_connected_to() {
    let trap = Net::of([Vec::new()]);
    let port = trap.relays[0].addr().port();
    let forbidden = [
        format!("ws://127.0.0.1:{port}"),
        "ws://169.254.169.254".to_owned(),
        "ws://[::ffff:10.0.0.1]".to_owned(),
        format!("ws://localhost:{port}"),
    ];
    let announcement: Event = EventSpec::new(30617)
        .at(1_700_000_000)
        .tag(["d", "lured"])
        .tag(["clone", &format!("https://{DOMAIN}/lured.git")])
        .tag([&["relays".to_owned(), format!("wss://{DOMAIN}")], forbidden.as_slice()].concat())
        .sign(&keys(1, 1));
    let net = Net::of([vec![announcement.clone()]]);
    let config = daemon_place(&net.urls(), "").var("GRASP_SYNC_LIMITS__ALLOW_PRIVATE_ADDRESSES", "false");
    let mut daemon = Daemon::start_with(&config, &["--log", "debug"]);
    daemon.wait_relays(net.urls(), "Connected");
    assert_eq!(stored(&config), ids([&announcement]));
    for url in &forbidden {
        let host = url.trim_start_matches("ws://").split(':').next().unwrap_or_default().to_owned();
        let line = daemon.wait_line(|line| {
            line.contains("WARN") && line.contains("allow_private_addresses") && line.contains(&host)
        });
        assert!(line.contains("discovered relays must have public ones"), "{line}");
    }
    let status = daemon.status();
    for shown in status["relays"].as_array().expect("a list").iter().filter(|relay| relay["url"] != net.url(0)) {
        assert_eq!(shown["status"], "Disconnected", "{shown:#}");
        assert!(shown["last_error"].as_str().is_some_and(|error| error.contains("is at")), "{shown:#}");
    }
    assert_eq!(daemon.stop().status.code(), Some(0));
    let stats = trap.relays[0].stats();
    assert_eq!((stats.connections, stats.connections_refused, stats.nip11_requests), (0, 0, 0));
}
