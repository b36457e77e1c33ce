//! `sync` with a relay that serves nobody whom it doesn't know (NIP-42).

use serde_json::json;
use testkit::relay::RelayOptions;

use crate::history_world::{complete, degraded, holding, holds};
use crate::net::{Net, notes};
use crate::program::Place;
use crate::sync_command::sync;

const SECRET: &str = "service.secret_key = \"7f7ff03d123792d6ac594bfa67bf6d0c0ab55b6b1fdb6249303fe861f1ccba9a\"\n";

fn guarded(count: usize) -> Net {
    let mut net = Net::of([]);
    net.add(RelayOptions { events: notes(count), require_auth: true, ..RelayOptions::default() });
    net
}

#[test]
fn the_service_s_key_opens_a_relay_that_asks_for_it() {
    for strategy in ["negentropy", "req"] {
        let net = guarded(700);
        let place = Place::with_config(SECRET);
        let synced = sync(&place, &net, &["--strategy", strategy]);
        complete(&synced);
        holds(&place, &notes(700));
        let stats = net.relays[0].stats();
        assert_eq!((stats.authenticated, stats.connections), (1, 1));
    }
}

#[test]
fn events_go_up_to_a_relay_that_asks_for_a_key() {
    let net = guarded(100);
    let place = holding(&notes(150)).file("grasp-sync.toml", SECRET);
    let synced = sync(&place, &net, &["--direction", "up"]);
    complete(&synced);
    assert_eq!(synced.only()["uploaded"], json!(50));
}

#[test]
fn without_a_key_the_relay_s_words_are_the_reason() {
    let net = guarded(10);
    let synced = sync(&Place::new(), &net, &[]);
    degraded(&synced, &["auth-required"]);
}
