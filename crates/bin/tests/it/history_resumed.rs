//! A sync that was interrupted says what it has drained, and the next one asks for nothing of that.

use std::collections::VecDeque;
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use testkit::relay::{Faults, NoNegentropy, SeenRequest, TooBig, TooBigWording};

use crate::history_world::{KINDS, complete, history, holds, relay_with};
use crate::net::Net;
use crate::program::Place;
use crate::sync_command::sync;

const COUNT: usize = 6_000;
/// What was published just now may have been missed; here nothing is.
const NO_OVERLAP: &str = "sync.catch_up_overlap = \"0s\"\n";

/// Interrupts a sync when half of the events were sent; the line that it prints.
fn interrupted(net: &Net, place: &Place, flags: &[&str]) -> Value {
    let mut command = place.command(&[&["sync", "--json", net.url(0)], flags].concat());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let half = net.relays[0].wait_for(|stats| stats.events_out() >= COUNT as u64 / 2);
    net.runtime.block_on(half).expect("half of it is sent");
    let sent = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(sent.expect("kill runs").success());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    serde_json::from_str(said.lines().next().expect("a line for the relay")).expect("JSON")
}

/// The windows of a list of a coverage.
fn windows(filter: &Value, list: &str) -> Vec<(u64, u64)> {
    let all = filter[list].as_array().unwrap_or_else(|| panic!("{list} in {filter:#}"));
    all.iter()
        .map(|window| (window["since"].as_u64().expect("since"), window["until"].as_u64().expect("until")))
        .collect()
}

/// The windows of requests, but for those by ids.
fn asked(requests: &VecDeque<SeenRequest>, from: usize) -> Vec<(u64, u64)> {
    let filters = requests.iter().skip(from).flat_map(|request| &request.filters).filter(|filter| filter.ids.is_none());
    filters
        .map(|filter| (filter.since.map_or(0, |at| at.as_secs()), filter.until.map_or(u64::MAX, |at| at.as_secs())))
        .collect()
}

fn resumed(flags: &[&str], filter: &str, set: impl FnOnce(&mut Faults)) {
    let events = history(COUNT);
    let net = relay_with(&events, 500, set);
    let place = Place::with_config(NO_OVERLAP);
    let begun = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let first = interrupted(&net, &place, flags);
    let coverage = first["coverage"].as_array().expect("a list");
    assert_eq!(coverage.len(), 1, "one filter: {first:#}");
    assert_eq!(coverage[0]["filter"], filter, "{first:#}");
    let (drained, open) = (windows(&coverage[0], "drained"), windows(&coverage[0], "open"));
    assert!(!drained.is_empty() && !open.is_empty(), "{first:#}");
    for (since, until) in &drained {
        let apart = open.iter().all(|(from, to)| to < since || from > until);
        assert!(apart, "drained and open at once: {first:#}");
    }

    let before = net.relays[0].stats();
    let second = sync(&place, &net, flags);
    complete(&second);
    holds(&place, &events);
    let after = net.relays[0].stats();
    let opened = asked(&after.neg_opens, before.neg_opens.len());
    let read = asked(&after.reqs, before.reqs.len());
    assert!(!opened.is_empty() || !read.is_empty());
    for (since, until) in opened.into_iter().chain(read) {
        let again = drained.iter().any(|(from, to)| *from <= since && until <= *to);
        // What is dated after the first run began may have come since.
        assert!(!again || since >= begun, "{since} to {until} is asked for again: {first:#}\n{second:#?}");
    }
    let whole = &second.only()["coverage"][0];
    assert!(windows(whole, "open").is_empty(), "{whole:#}");
    assert_eq!(windows(whole, "drained").len(), 1, "{whole:#}");
}

#[test]
fn windows_that_were_reconciled_are_not_opened_again() {
    resumed(&[], "{}", |faults| faults.too_big = Some(TooBig { cap: 1_000, wording: TooBigWording::FourthElement }));
}

#[test]
fn pages_that_were_read_are_not_asked_for_again() {
    let filter = serde_json::json!({ "kinds": KINDS }).to_string();
    resumed(&["--filter", &filter], &filter, |faults| faults.no_negentropy = Some(NoNegentropy::NoticeDisabled));
}
