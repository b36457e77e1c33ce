//! `sync` down, up and both ways, and what narrows it.

use serde_json::json;
use testkit::relay::{NoNegentropy, OkAnswer, RelayOptions};

use crate::net::{Net, ids, notes, stored};
use crate::program::Place;
use crate::signed;
use crate::sync_command::{sync, sync_with};

/// A place whose store holds these events.
fn holding(events: &[nostr::event::Event]) -> Place {
    let lines: String = events.iter().map(|event| signed::json(event) + "\n").collect();
    let place = Place::new().file("events.jsonl", &lines);
    assert_eq!(place.run(&["import", "events.jsonl"]).code, Some(0));
    place
}

#[test]
fn down_brings_what_the_relay_has() {
    let events = notes(700);
    let net = Net::of([events.clone()]);
    let place = holding(&events[..100]);
    let synced = sync(&place, &net, &[]);
    let line = synced.only();
    assert_eq!(
        (synced.code(), &line["status"], &line["strategy"]),
        (Some(0), &json!("complete"), &json!("negentropy"))
    );
    assert_eq!((&line["relay"], &line["local_before"]), (&json!(net.url(0)), &json!(100)));
    assert_eq!(
        (&line["need"], &line["received"], &line["stored"]),
        (&json!(600), &json!(600), &json!(600)),
        "{line:#}"
    );
    assert_eq!((&line["duplicate"], &line["uploaded"]), (&json!(0), &json!(0)), "{line:#}");
    assert!(line["rounds"].as_u64() > Some(0) && line["bytes_down"].as_u64() > Some(600 * 300), "{line:#}");
    assert_eq!(synced.summary["stored"], 600);
    assert_eq!(synced.summary["complete"], 1);
    assert_eq!(stored(&place), ids(&events));
}

#[test]
fn up_offers_what_the_relay_lacks_and_brings_nothing() {
    let events = notes(300);
    let net = Net::of([events[200..].to_vec()]);
    let place = holding(&events[..250]);
    let synced = sync(&place, &net, &["--direction", "up"]);
    let line = synced.only();
    assert_eq!((synced.code(), &line["have"], &line["uploaded"]), (Some(0), &json!(200), &json!(200)), "{line:#}");
    assert_eq!(line["stored"], 0);
    assert_eq!(ids(&net.relays[0].events()), ids(&events));
    assert_eq!(stored(&place), ids(&events[..250]));
}

#[test]
fn both_ways_make_both_equal_and_a_second_time_costs_next_to_nothing() {
    let events = notes(2_000);
    let net = Net::of([events[500..].to_vec()]);
    let place = holding(&events[..1_000]);
    let first = sync(&place, &net, &["--direction", "both"]);
    let line = first.only();
    assert_eq!((first.code(), &line["need"], &line["have"]), (Some(0), &json!(1_000), &json!(500)), "{line:#}");
    assert_eq!((&line["stored"], &line["uploaded"]), (&json!(1_000), &json!(500)), "{line:#}");
    assert_eq!(ids(&net.relays[0].events()), ids(&events));
    assert_eq!(stored(&place), ids(&events));

    let before = net.relays[0].stats();
    let second = sync(&place, &net, &["--direction", "both"]);
    let line = second.only();
    assert_eq!((second.code(), &line["need"], &line["have"]), (Some(0), &json!(0), &json!(0)), "{line:#}");
    assert_eq!((&line["received"], &line["uploaded"]), (&json!(0), &json!(0)), "{line:#}");
    assert!(line["bytes_up"].as_u64() < Some(2048) && line["bytes_down"].as_u64() < Some(2048), "{line:#}");
    let after = net.relays[0].stats();
    assert_eq!(after.events_out(), before.events_out());
    let moved = (after.bytes_in - before.bytes_in, after.bytes_out - before.bytes_out);
    assert!(moved.0 < 2048 && moved.1 < 2048, "the relay counted {moved:?}");
}

#[test]
fn without_negentropy_both_ways_work_too() {
    let events = notes(1_200);
    let net = Net::of([events[300..].to_vec()]);
    let place = holding(&events[..600]);
    let synced = sync(&place, &net, &["--direction", "both", "--strategy", "req"]);
    let line = synced.only();
    assert_eq!((synced.code(), &line["strategy"]), (Some(0), &json!("req")), "{line:#}");
    assert_eq!((&line["stored"], &line["uploaded"], &line["fallbacks"]), (&json!(600), &json!(300), &json!([])));
    assert_eq!(ids(&net.relays[0].events()), ids(&events));
    assert_eq!(stored(&place), ids(&events));
    assert!(net.relays[0].stats().neg_opens.is_empty());
}

#[test]
fn a_dry_run_tells_what_differs_and_moves_nothing() {
    let events = notes(300);
    let net = Net::of([events[100..].to_vec()]);
    let place = holding(&events[..150]);
    for strategy in ["negentropy", "req"] {
        let synced = sync(&place, &net, &["--direction", "both", "--dry-run", "--strategy", strategy]);
        let line = synced.only();
        assert_eq!((synced.code(), &line["need"], &line["have"]), (Some(0), &json!(150), &json!(100)), "{line:#}");
        assert_eq!((&line["stored"], &line["uploaded"]), (&json!(0), &json!(0)), "{line:#}");
    }
    assert_eq!(stored(&place), ids(&events[..150]));
    assert_eq!(ids(&net.relays[0].events()), ids(&events[100..]));
}

#[test]
fn since_until_and_filters_bound_what_moves() {
    // One a second from 1,700,000,000.
    let events = notes(400);
    let net = Net::of([events.clone()]);
    let place = Place::new();
    let window = ["--since", "1700000100", "--until", "2023-11-14T22:16:39Z"];
    let synced = sync(&place, &net, &window);
    assert_eq!((synced.code(), &synced.only()["stored"]), (Some(0), &json!(100)), "{synced:#?}");
    assert_eq!(stored(&place), ids(&events[100..200]));

    let place = Place::new();
    let one = format!(r#"{{"authors":["{}"],"until":1700000049}}"#, events[0].pubkey.to_hex());
    let other = format!(r#"{{"ids":["{}","{}"]}}"#, events[300].id, events[0].id);
    let synced = sync(&place, &net, &["--filter", &one, "--filter", &other]);
    let expected = events[..50].iter().step_by(16).chain([&events[300]]);
    assert_eq!(synced.code(), Some(0), "{synced:#?}");
    assert_eq!(stored(&place), ids(expected));
    let asked = net.relays[0].stats().neg_opens;
    assert!(asked.iter().all(|request| request.filters.len() == 1), "NIP-77 takes one filter");
}

#[test]
fn a_relay_that_is_not_there_is_named_and_the_others_are_synced() {
    let events = notes(200);
    let mut net = Net::of([events[..120].to_vec(), events[80..].to_vec()]);
    let gone = net.add(RelayOptions::default()).url().to_string();
    net.runtime.block_on(net.relays[2].stop());
    let place = Place::new();
    let synced = sync(&place, &net, &[]);
    assert_eq!(synced.code(), Some(3), "{synced:#?}");
    let line = synced.of(&gone);
    assert_eq!((&line["status"], &line["strategy"]), (&json!("failed"), &json!("")), "{line:#}");
    assert!(line["reason"].as_str().is_some_and(|reason| reason.contains("refused")), "{line:#}");
    for url in &net.urls()[..2] {
        assert_eq!(synced.of(url)["status"], "complete");
    }
    let summary = &synced.summary;
    assert_eq!((&summary["relays"], &summary["complete"], &summary["failed"]), (&json!(3), &json!(2), &json!(1)));
    assert_eq!(stored(&place), ids(&events));

    // For people it is a line that names the relay, too.
    let ended = place.run(&["sync", net.url(0), &gone]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stdout.lines().any(|line| line.starts_with(&format!("{gone} failed")) && line.contains("refused")));
    assert!(ended.stdout.lines().any(|line| line.starts_with(&format!("{} complete", net.url(0)))), "{ended:?}");
    assert!(ended.stderr.contains("2 relays: 1 complete, 0 degraded, 1 failed"), "{ended:?}");
}

#[test]
fn spellings_of_one_relay_are_one() {
    let net = Net::of([notes(3)]);
    let place = Place::new();
    let upper = net.url(0).replace("ws://", "WS://") + "/";
    let synced = sync_with(&place, &[net.url(0), &upper], &[]);
    assert_eq!(synced.only()["stored"], 3);
}

#[test]
fn relays_that_share_a_host_are_all_synced_at_once() {
    let events = notes(70);
    let net = Net::of(events.chunks(10).map(<[_]>::to_vec));
    let place = Place::new();
    let synced = sync(&place, &net, &[]);
    assert_eq!((synced.code(), &synced.summary["complete"]), (Some(0), &json!(7)), "{synced:#?}");
    assert_eq!(stored(&place), ids(&events));
}

#[test]
fn a_fallback_is_told_in_words() {
    let net = Net::faulty(notes(5), |faults| faults.no_negentropy = Some(NoNegentropy::NoticeDisabled));
    let ended = Place::new().run(&["sync", net.url(0)]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let said = format!("{}: negentropy gave up, going on by req: ERROR: bad msg: negentropy disabled\n", net.url(0));
    assert_eq!(ended.stderr, said, "once");
    assert!(ended.stdout.starts_with(&format!("{} complete by negentropy,req: ", net.url(0))), "{ended:?}");
}

#[test]
fn uploads_that_are_refused_are_counted_by_reason() {
    let events = notes(20);
    let net = Net::faulty(Vec::new(), |faults| {
        faults.ok = Some(OkAnswer { accepted: false, message: "blocked: not on the list".to_owned() });
    });
    let place = holding(&events);
    let synced = sync(&place, &net, &["--direction", "up"]);
    let line = synced.only();
    assert_eq!((&line["uploaded"], &line["upload_refused"]), (&json!(0), &json!({ "blocked": 20 })), "{line:#}");
    assert_eq!((synced.code(), &line["status"]), (Some(3), &json!("degraded")), "what it lacks isn't there: {line:#}");
    assert!(line["reason"].as_str().is_some_and(|reason| reason.contains("blocked: not on the list")), "{line:#}");
    assert_eq!(stored(&place), ids(&events), "a refusal takes nothing away");
}

#[test]
fn what_the_operator_knows_of_a_relay_counts_for_more_than_what_it_says() {
    let events = notes(60);
    let net = Net::of([events.clone()]);
    let place = Place::with_config(&format!(
        "[sync.relays.{:?}]\nstrategies = [\"req\"]\n[sync.relays.{:?}.limits]\nmax_limit = 7\n",
        net.url(0),
        net.url(0)
    ));
    let synced = sync(&place, &net, &[]);
    assert_eq!((synced.code(), &synced.only()["strategy"]), (Some(0), &json!("req")), "{synced:#?}");
    assert_eq!(stored(&place), ids(&events));
    let asked = net.relays[0].stats().reqs;
    assert!(asked.iter().flat_map(|request| &request.filters).all(|filter| filter.limit == Some(7)), "{asked:#?}");
}
