//! The session without sockets and threads: work is done when the test says so.

use std::sync::Arc;
use std::time::Duration;

use nostr::event::Event;
use sync_core::intake::IntakeConfig;
use sync_core::response::{Meaning, SaidIn, classify};
use sync_core::store::{EventStore, PageSize, Submission};
use testkit::store::MemoryStore;
use testkit::world::{keys, sign};
use tokio::time::Instant;

use super::{Received, Session};
use crate::budget::Budgets;
use crate::config::RelayLimits;
use crate::live::LiveEvent;
use crate::work::Context;

const NOW: u64 = 1_700_000_000;

fn event(number: u64) -> Event {
    sign(&keys(1, 1), 1, NOW + number, [], format!("{number}"))
}

/// A session over a store of some events, with pages of two.
struct Bench {
    session: Session,
    context: Context,
    budgets: Budgets,
    now: Instant,
}

impl Bench {
    fn new(events: u64, limits: RelayLimits) -> Self {
        let store = MemoryStore::new(None, IntakeConfig::default());
        let submission = Submission { events: (0..events).map(event).collect(), now: NOW, ..Submission::default() };
        store.submit(submission, Box::new(|answer| assert!(answer.is_ok()))).expect("stored");
        let budgets = Budgets::of_all(&limits);
        let context =
            Context { store: Arc::new(store), page: PageSize { events: 2, bytes: usize::MAX }, max_items: 1_000 };
        Self { session: Session::new(limits, &budgets), context, budgets, now: Instant::now() }
    }

    fn receive(&mut self, text: &str) -> Received {
        self.session.receive(text, 0, self.now)
    }

    /// Does one piece of work, where there is any.
    fn work(&mut self) -> bool {
        let Some(work) = self.session.next_work() else { return false };
        let done = work.run(&self.context, NOW);
        self.session.done(done, self.now);
        true
    }

    /// The kinds of the frames that are due, with the ids of their subscriptions.
    fn said(&mut self) -> Vec<String> {
        let frames = self.session.take_out().frames;
        let name = |frame: &str| {
            let parts = frame.split(['[', '"', ',']).filter(|part| !part.is_empty());
            parts.take(2).collect::<Vec<_>>().join(" ")
        };
        frames.iter().map(|frame| name(frame)).collect()
    }
}

#[test]
fn work_is_done_in_turns() {
    let mut bench = Bench::new(4, RelayLimits::default());
    bench.receive(r#"["REQ","a",{}]"#);
    bench.receive(r#"["REQ","b",{"limit":1}]"#);
    bench.receive(r#"["COUNT","c",{}]"#);
    assert!(bench.said().is_empty(), "all of it is work");
    let mut said = Vec::new();
    while bench.work() {
        said.push(bench.said());
    }
    assert_eq!(
        said,
        [vec!["EVENT a", "EVENT a"], vec!["EVENT b", "EOSE b"], vec!["COUNT c"], vec!["EVENT a", "EVENT a", "EOSE a"]]
    );
}

#[test]
fn an_answer_to_what_is_closed_or_replaced_is_dropped() {
    let mut bench = Bench::new(4, RelayLimits::default());
    bench.receive(r#"["REQ","a",{}]"#);
    let done = bench.session.next_work().expect("a page").run(&bench.context, NOW);
    bench.receive(r#"["REQ","a",{"kinds":[2]}]"#);
    bench.session.done(done, bench.now);
    assert_eq!(bench.said(), Vec::<String>::new());
    assert!(bench.work());
    assert_eq!(bench.said(), ["EOSE a"]);
    bench.receive(r#"["REQ","a",{}]"#);
    bench.receive(r#"["CLOSE","a"]"#);
    assert!(!bench.work(), "its work is gone with it");
}

#[test]
fn live_events_reach_those_they_are_after_and_no_others() {
    let mut bench = Bench::new(0, RelayLimits::default());
    bench.session.receive(r#"["REQ","early",{"limit":0}]"#, 10, bench.now);
    bench.session.receive(r#"["REQ","late",{"limit":0}]"#, 12, bench.now);
    bench.session.receive(r#"["REQ","stored",{}]"#, 10, bench.now);
    bench.said();
    assert_eq!(bench.session.live_place(), Some(10), "the one that still reads stored events doesn't count");
    let live = |seq| Arc::new(LiveEvent::new(seq, Arc::new(event(seq))));
    bench.session.tell(10, &[live(11), live(12)], 12, NOW);
    assert_eq!(bench.said(), ["EVENT early", "EVENT early"]);
    assert_eq!(bench.session.live_place(), Some(12));
    bench.session.tell(12, &[live(13)], 14, NOW);
    let mut said = bench.said();
    said.sort_unstable();
    assert_eq!(said, ["EVENT early", "EVENT late"]);
    // Its stored events were those as of place 0, which is behind what was told meanwhile.
    while bench.work() {}
    assert_eq!(bench.said(), ["EOSE stored"]);
    assert_eq!(bench.session.live_place(), Some(0));
    bench.session.tell(0, &[live(11), live(13)], 14, NOW);
    assert_eq!(bench.said(), ["EVENT stored", "EVENT stored"]);
}

#[test]
fn much_is_told_in_parts() {
    let mut bench = Bench::new(0, RelayLimits::default());
    for id in 0..20 {
        bench.session.receive(&format!(r#"["REQ","{id}",{{"limit":0}}]"#), 0, bench.now);
    }
    bench.said();
    let large = |seq| {
        let event = sign(&keys(1, 1), 1, NOW, [], format!("{seq}{}", "x".repeat(20_000)));
        Arc::new(LiveEvent::new(seq, Arc::new(event)))
    };
    let events: Vec<_> = (1..=10).map(large).collect();
    let (mut told, mut rounds) = (0, 0);
    while let Some(place) = bench.session.live_place().filter(|place| *place < 10) {
        let first = events.partition_point(|event| event.seq <= place);
        bench.session.tell(place, &events[first..], 10, NOW);
        told += bench.said().len();
        rounds += 1;
    }
    assert_eq!((told, rounds), (200, 5));
}

#[test]
fn many_filters_are_held_against_live_events_in_parts() {
    let mut bench = Bench::new(0, RelayLimits::default());
    // None of these matches, so that every one is looked at; the last does.
    let filters = [r#"{"limit":0,"kinds":[1],"until":1}"#; 31].join(",");
    for id in 0..100 {
        bench.receive(&format!(r#"["REQ","{id}",{filters},{{"limit":0,"kinds":[1]}}]"#));
    }
    bench.said();
    let events: Vec<_> = (1..=20).map(|seq| Arc::new(LiveEvent::new(seq, Arc::new(event(seq))))).collect();
    let (mut told, mut places) = (0, Vec::new());
    while let Some(place) = bench.session.live_place().filter(|place| *place < 20) {
        let first = events.partition_point(|event| event.seq <= place);
        bench.session.tell(place, &events[first..], 20, NOW);
        told += bench.said().len();
        places.extend(bench.session.live_place());
    }
    assert_eq!(told, 2_000, "everybody is told everything, once");
    assert_eq!(places, [7, 14, 20], "3,200 filters an event");
}

#[test]
fn reconciliations_are_answered_in_order_and_bounded() {
    let mut bench = Bench::new(3, RelayLimits::default());
    bench.receive(r#"["NEG-OPEN","a",{},"61"]"#);
    for _ in 0..4 {
        bench.receive(r#"["NEG-MSG","a","61"]"#);
    }
    let mut answers = 0;
    while bench.work() {
        assert_eq!(bench.said(), ["NEG-MSG a"]);
        answers += 1;
    }
    assert_eq!(answers, 5);
    for _ in 0..6 {
        bench.receive(r#"["NEG-MSG","a","61"]"#);
    }
    assert_eq!(bench.said(), ["NEG-ERR a"], "one is answered, four may wait");
    assert!(!bench.work());
    assert_eq!(bench.budgets.ids.held(), 0);
}

#[test]
fn what_is_idle_is_forgotten_and_its_ids_with_it() {
    let limits = RelayLimits { reconciliation_idle: Duration::from_secs(10), ..RelayLimits::default() };
    let mut bench = Bench::new(3, limits);
    bench.receive(r#"["NEG-OPEN","a",{},"61"]"#);
    assert!(bench.work());
    bench.said();
    assert_eq!(bench.budgets.ids.held(), 3);
    bench.session.tick(bench.now + Duration::from_secs(9));
    assert_eq!(bench.said(), Vec::<String>::new());
    bench.session.tick(bench.now + Duration::from_secs(10));
    assert_eq!(bench.said(), ["NEG-ERR a"]);
    assert_eq!(bench.budgets.ids.held(), 0);
}

#[test]
fn the_ids_of_a_connection_are_bounded_together() {
    let limits = RelayLimits { max_connection_reconciliation_items: 7, ..RelayLimits::default() };
    let mut bench = Bench::new(3, limits);
    for id in ["a", "b", "c"] {
        bench.receive(&format!(r#"["NEG-OPEN","{id}",{{}},"61"]"#));
    }
    while bench.work() {}
    let out = bench.session.take_out();
    let refused = r#"["NEG-ERR","c","error: too many concurrent NEG requests, try again later"]"#;
    assert_eq!(out.frames.iter().filter(|frame| frame.starts_with("[\"NEG-MSG\"")).count(), 2);
    assert_eq!(out.frames.back().map(|frame| frame.as_str()), Some(refused));
    assert_eq!(out.limits, ["max_connection_reconciliation_items"]);
    assert_eq!(bench.budgets.ids.held(), 6);
    // What is closed makes room, and others have theirs.
    bench.receive(r#"["NEG-CLOSE","a"]"#);
    bench.receive(r#"["NEG-OPEN","c",{},"61"]"#);
    assert!(bench.work());
    assert_eq!(bench.said(), ["NEG-MSG c"]);
    let mut other = Session::new(limits, &bench.budgets);
    std::mem::swap(&mut bench.session, &mut other);
    for id in ["a", "b"] {
        bench.receive(&format!(r#"["NEG-OPEN","{id}",{{}},"61"]"#));
        assert!(bench.work());
        assert_eq!(bench.said(), [format!("NEG-MSG {id}")]);
    }
    assert_eq!(bench.budgets.ids.held(), 12);
    drop(other);
    assert_eq!(bench.budgets.ids.held(), 6, "a connection that ends gives back what it held");
}

#[test]
fn the_filters_of_subscriptions_take_no_more_than_their_bytes() {
    let limits = RelayLimits { max_filter_bytes: 100, max_all_filter_bytes: 150, ..RelayLimits::default() };
    let mut bench = Bench::new(0, limits);
    let req = |id: &str, bytes: usize| {
        let req = format!(r##"["REQ","{id}",{{"limit":0,"#t":["x"]}}]"##);
        let more = "x".repeat(bytes.checked_sub(req.len()).expect("long enough"));
        req.replace("\"x\"", &format!("\"x{more}\""))
    };
    let ask = |session: &mut Session, text: &str| {
        session.receive(text, 0, bench.now);
        let mut out = session.take_out();
        (out.frames.pop_front().expect("an answer").to_string(), out.limits)
    };
    let open = |id: &str| (format!(r#"["EOSE","{id}"]"#), Vec::new());
    let refused = |id: &str, limit: &'static str, why: &str| {
        (format!(r#"["CLOSED","{id}","error: too many subscriptions, {why} bytes"]"#), vec![limit])
    };
    let own = |id: &str| refused(id, "max_filter_bytes", "their filters take more than 100");
    let all = &bench.budgets.filter_bytes;
    let one = &mut bench.session;
    assert_eq!(ask(one, &req("a", 60)), open("a"));
    assert_eq!(ask(one, &req("b", 41)), own("b"));
    assert_eq!(ask(one, &req("b", 40)), open("b"));
    // The one that is replaced makes room, or is closed.
    assert_eq!(ask(one, &req("a", 50)), open("a"));
    assert_eq!(all.held(), 90);
    assert_eq!(ask(one, &req("a", 61)), own("a"));
    assert_eq!(all.held(), 40);
    one.receive(r#"["CLOSE","b"]"#, 0, bench.now);
    assert_eq!(all.held(), 0, "what is closed makes room");
    assert_eq!(ask(one, &req("a", 100)), open("a"));
    let mut other = Session::new(limits, &bench.budgets);
    let of_all = refused("a", "max_all_filter_bytes", "the filters of all clients take more than 150");
    assert_eq!(ask(&mut other, &req("a", 51)), of_all);
    assert_eq!(ask(&mut other, &req("a", 50)), open("a"));
    drop(other);
    assert_eq!(all.held(), 100, "a connection that ends gives back what it held");
}

#[test]
fn nonsense_is_counted_until_something_makes_sense() {
    let mut bench = Bench::new(0, RelayLimits { max_bad_messages: 2, ..RelayLimits::default() });
    for _ in 0..2 {
        assert_eq!(bench.receive("nonsense"), Received::Done);
    }
    bench.receive(r#"["CLOSE","a"]"#);
    for _ in 0..2 {
        assert_eq!(bench.receive("nonsense"), Received::Done);
    }
    assert_eq!(bench.receive("nonsense"), Received::Enough);
    assert!(bench.said().iter().all(|frame| frame.starts_with("NOTICE invalid: ")));
}

#[test]
fn our_own_client_understands_every_refusal() {
    let limits = RelayLimits {
        max_subscriptions: 1,
        max_filters: 1,
        max_counts: 1,
        max_reconciliations: 1,
        ..RelayLimits::default()
    };
    let mut bench = Bench::new(3, limits);
    bench.context.max_items = 2;
    for message in [
        r#"["REQ","a",{"limit":0}]"#,
        r#"["REQ","b",{}]"#,
        r#"["REQ","c",{},{}]"#,
        r#"["REQ","d",{"kinds":1}]"#,
        r#"["COUNT","e",{}]"#,
        r#"["COUNT","f",{}]"#,
        r#"["NEG-OPEN","g",{},"61"]"#,
        r#"["NEG-OPEN","h",{},"61"]"#,
        r#"["NEG-MSG","i","61"]"#,
        r#"["NEG-MSG","j","x"]"#,
    ] {
        bench.receive(message);
    }
    while bench.work() {}
    let mut understood: Vec<(String, Meaning)> = Vec::new();
    for frame in bench.session.take_out().frames {
        let frame: Vec<serde_json::Value> = serde_json::from_str(&frame).expect("JSON");
        let place = match frame[0].as_str() {
            Some("CLOSED") => SaidIn::Closed,
            Some("NEG-ERR") => SaidIn::NegErr,
            _ => continue,
        };
        let said = classify(place, frame[2].as_str().expect("a text"), frame.get(3).and_then(|cap| cap.as_u64()));
        understood.push((frame[1].as_str().expect("an id").to_owned(), said.meaning));
    }
    understood.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [
        ("b", Meaning::TooManyAtOnce),
        ("c", Meaning::TooManyAtOnce),
        ("d", Meaning::Invalid),
        ("f", Meaning::TooManyAtOnce),
        ("g", Meaning::TooBig),
        ("h", Meaning::TooManyAtOnce),
        ("i", Meaning::SessionGone),
        ("j", Meaning::Error),
    ];
    assert_eq!(understood, expected.map(|(id, meaning)| (id.to_owned(), meaning)));
}
