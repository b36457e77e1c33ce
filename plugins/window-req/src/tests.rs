//! Against a model of a relay, whatever it holds and however it answers: what wasn't shown is named, what is claimed was
//! shown, and it ends.

mod relay;

use std::collections::{BTreeMap, BTreeSet};

use strategy_abi::testing::{Local, NOW, Value, configure, host, request};
use strategy_abi::{
    Direction, Filter, Id, Input, Narrow, Outcome, Output, Reason, Request, Session, Strategy, Verdict, Window,
};

use crate::WindowReq;
use crate::session::WindowSession;
use relay::{End, Random, Relay, item, relay};

/// As the host allows.
const MAX_IDLE: u32 = 1_000;

fn open(page_size: i64, request: Request) -> WindowSession {
    let strategy: WindowReq = configure(&[("page_size", Value::Integer(page_size))]).expect("valid");
    strategy.open(request, &host()).expect("opened")
}

/// Everything that a session said and was sent.
#[derive(Debug, Default)]
struct Told {
    shown: BTreeSet<Id>,
    drained: Vec<Window>,
    dense: BTreeMap<u64, u64>,
    haves: BTreeSet<Id>,
    questions: u32,
    most_at_once: usize,
    outcome: Option<Outcome>,
}

impl Told {
    fn is_drained(&self, second: u64) -> bool {
        self.drained.iter().any(|window| (window.since..=window.until).contains(&second))
    }
}

/// Drives a session to its end; the connection breaks before frame `breaks`.
fn drive(relay: &Relay, mut session: WindowSession, local: &Local, breaks: Option<u64>, random: &mut Random) -> Told {
    let (mut told, mut frames, mut idle) = (Told::default(), 0, 0);
    let mut inputs = vec![Input::Start];
    while let Some(input) = inputs.pop() {
        frames += 1;
        let input = if breaks.is_some_and(|breaks| frames > breaks) { Input::ConnectionLost } else { input };
        if let Input::Event { id, verdict: Verdict::New, .. } = input {
            idle = if told.shown.insert(id) { 0 } else { idle };
        }
        local.with(|set| session.handle(input, set, frames, NOW)).expect("no breach");
        let outputs: Vec<_> = std::iter::from_fn(|| session.poll()).collect();
        told.most_at_once = told.most_at_once.max(outputs.len());
        for output in outputs {
            assert_eq!(told.outcome, None, "went on after its end with {output:?}");
            match output {
                Output::Req { sub, narrow: Narrow { window, .. }, limit } => {
                    told.questions += 1;
                    idle += 1;
                    assert!(idle <= MAX_IDLE, "brings nothing");
                    assert!(inputs.is_empty() || matches!(inputs[..], [Input::Eose { .. }]), "one at a time");
                    inputs = frames_of(relay, sub, window, limit, random);
                    assert!(session.next_timeout().is_some(), "waits without a deadline");
                }
                Output::Drained(window) => {
                    idle = if told.is_drained(window.since) { idle } else { 0 };
                    told.drained.push(window);
                }
                Output::Dense { second, shown, .. } => {
                    told.dense.insert(second, shown);
                }
                Output::Have(ids) => told.haves.extend(ids),
                Output::Done(outcome) => told.outcome = Some(outcome),
                Output::Close { .. } | Output::Progress(_) => {}
                other => panic!("{other:?}"),
            }
        }
        if told.outcome.is_some() {
            break;
        }
    }
    told
}

/// In the order in which they are popped.
fn frames_of(relay: &Relay, sub: u32, asked: Window, limit: u64, random: &mut Random) -> Vec<Input<'static>> {
    let (events, whole) = relay.answer(asked, limit, random);
    let unasked = item(5, 5).id;
    let bad = Input::Event { sub, id: unasked, created_at: 0, verdict: Verdict::Bad(21) };
    let mut inputs = vec![bad; relay.junk as usize];
    inputs.extend(events.iter().map(|event| Input::Event {
        sub,
        id: event.id,
        created_at: event.created_at,
        verdict: Verdict::New,
    }));
    // Of a subscription that nobody knows.
    inputs.push(Input::Eose { sub: sub + 77, finished: Some(true) });
    let eose = |finished| Input::Eose { sub, finished };
    match relay.end {
        End::Eose => inputs.push(eose(None)),
        End::Twice => inputs.extend([eose(None), eose(None)]),
        End::Closed => {
            inputs.push(Input::Closed { sub, meaning: 0, text: "", cap: None, names_negentropy: false });
        }
        End::Hint => inputs.push(eose(Some(whole))),
    }
    inputs.reverse();
    inputs
}

/// What must hold of all that was told of a relay.
fn check(relay: &Relay, told: &Told, context: &str) {
    for event in &relay.events {
        let (second, shown) = (event.created_at, told.shown.contains(&event.id));
        assert!(shown || !told.is_drained(second), "{context}: second {second} is claimed\n{relay:?}");
        let named = told.dense.contains_key(&second) || !matches!(told.outcome, Some(Outcome::Complete));
        assert!(shown || named, "{context}: second {second} lacks an event and isn't named\n{relay:?}");
    }
}

fn covers(told: &Told, window: Window) -> bool {
    let named = told.dense.keys().map(|second| Window { since: *second, until: *second });
    let mut spans: Vec<_> = told.drained.iter().copied().chain(named).collect();
    spans.sort_unstable_by_key(|span| span.since);
    let mut next = window.since;
    for span in spans {
        if span.since > next {
            return false;
        }
        next = next.max(span.until.saturating_add(1));
    }
    next > window.until
}

const ALL: Window = Window { since: 0, until: u64::MAX };

#[test]
fn what_is_not_shown_is_named_and_not_claimed() {
    for seed in 0..6_000 {
        let mut random = Random(seed);
        let relay = relay(&mut random);
        let page_size = 1 + random.below(60) as i64;
        let told = drive(&relay, open(page_size, request(ALL)), &Local::default(), None, &mut random);
        let context = format!("seed {seed}, page size {page_size}, {} questions", told.questions);
        assert!(told.outcome == Some(Outcome::Complete), "{context}: {:?}\n{relay:?}", told.outcome);
        check(&relay, &told, &context);
        assert!(covers(&told, Window { since: 0, until: NOW }), "{context}: {:?}", told.drained);
    }
}

#[test]
fn lost_connections_make_it_longer_and_no_worse() {
    for seed in 0..600 {
        let mut random = Random(seed);
        let relay = Relay { junk: 0, ..relay(&mut random) };
        let mut all = Told::default();
        for connection in 0.. {
            assert!(connection < 2_000, "seed {seed}: doesn't end");
            let named = all.dense.keys().map(|second| Window { since: *second, until: *second });
            let drained = all.drained.iter().copied().chain(named).collect();
            // Longer ones are needed where a cap is found out anew each time.
            let breaks = Some(200 + connection * 10 + random.below(400));
            let session = open(60, Request { drained, ..request(ALL) });
            let told = drive(&relay, session, &Local::default(), breaks, &mut random);
            all.shown.extend(told.shown);
            all.drained.extend(told.drained);
            all.dense.extend(told.dense);
            all.outcome = told.outcome;
            check(&relay, &all, &format!("seed {seed}, connection {connection}"));
            match &all.outcome {
                Some(Outcome::Complete) => break,
                Some(Outcome::Failed(Reason::ConnectionLost, _)) => {}
                other => panic!("seed {seed}: {other:?}"),
            }
        }
    }
}

#[test]
fn answers_that_come_short_are_found() {
    for seed in 0..500 {
        let mut random = Random(seed);
        let events = (0..random.below(150)).map(|number| item(NOW - number * 50 - random.below(50), number)).collect();
        let relay = Relay { comes_short: true, ..Relay::new(events, 1 + random.below(40) as usize) };
        let told = drive(&relay, open(30, request(ALL)), &Local::default(), None, &mut random);
        check(&relay, &told, &format!("seed {seed}"));
        assert_eq!(told.outcome, Some(Outcome::Complete), "seed {seed}");
    }
}

#[test]
fn sparse_years_cost_few_questions() {
    let lone = Relay::new(vec![item(NOW - 1_000_000_000, 1)], 500);
    let told = drive(&lone, open(500, request(ALL)), &Local::default(), None, &mut Random(1));
    assert!(told.questions < 30, "{}", told.questions);
    let yearly = Relay::new((0..50).map(|year| item(NOW - year * 31_557_600, year)).collect(), 500);
    let told = drive(&yearly, open(500, request(ALL)), &Local::default(), None, &mut Random(1));
    assert!(told.questions < 60 && told.dense.len() <= 1, "{} {:?}", told.questions, told.dense);
}

#[test]
fn many_events_cost_few_questions() {
    let mut random = Random(3);
    let events = (0..50_000).map(|number| item(NOW - random.below(30_000_000), number)).collect();
    let told = drive(&Relay::new(events, 500), open(500, request(ALL)), &Local::default(), None, &mut random);
    assert_eq!((told.outcome, told.dense.len(), told.shown.len()), (Some(Outcome::Complete), 0, 50_000));
    assert!(told.questions < 400, "{}", told.questions);
}

#[test]
fn what_is_drained_is_not_asked_for() {
    let relay = Relay::new((0..100).map(|number| item(NOW - number, number)).collect(), 500);
    let drained = vec![Window { since: NOW - 49, until: NOW }, Window { since: 0, until: NOW - 80 }];
    let session = open(500, Request { drained, ..request(ALL) });
    let told = drive(&relay, session, &Local::default(), None, &mut Random(1));
    assert_eq!((told.outcome, told.shown.len()), (Some(Outcome::Complete), 30));
}

#[test]
fn what_the_relay_lacks_is_offered_once_all_was_shown() {
    let events: Vec<_> = (0..100).map(|number| item(NOW - number * 9, number)).collect();
    let lacks: BTreeSet<Id> = (100..120).map(|number| item(NOW - number, number).id).collect();
    let local = Local::new(events.iter().copied().chain((100..120).map(|number| item(NOW - number, number))));
    let relay = Relay::new(events, 20);
    for direction in [Direction::Up, Direction::Both] {
        let drained = vec![Window { since: 0, until: NOW - 50 }];
        let session = open(500, Request { direction, drained, ..request(ALL) });
        let told = drive(&relay, session, &local, None, &mut Random(1));
        assert_eq!((told.outcome, &told.haves), (Some(Outcome::Complete), &lacks));
        assert_eq!(told.dense.len(), 0);
    }
}

#[test]
fn what_is_not_shown_of_a_second_that_may_be_whole_is_offered() {
    let (theirs, ours, later) = (item(NOW - 50, 1), item(NOW - 50, 2), item(NOW - 20, 3));
    let session = open(500, Request { direction: Direction::Both, ..request(ALL) });
    // One event is as many as it ever shows: nothing says that there are more.
    let told = drive(&Relay::new(vec![theirs], 500), session, &Local::new([ours, later]), None, &mut Random(1));
    assert_eq!(told.dense.keys().collect::<Vec<_>>(), [&(NOW - 50)]);
    assert_eq!((told.outcome, told.haves), (Some(Outcome::Complete), BTreeSet::from([ours.id, later.id])));
}

#[test]
fn many_dense_seconds_are_named_a_few_at_a_time() {
    // More of each second than it shows: every second is unsure to the end.
    let events = (0..6_000).map(|number| item(NOW - number / 3, number)).collect();
    let told = drive(&Relay::new(events, 2), open(500, request(ALL)), &Local::default(), None, &mut Random(1));
    assert_eq!((told.outcome, told.dense.len()), (Some(Outcome::Complete), 2_000));
    assert!(told.most_at_once <= 510, "{} outputs of one input", told.most_at_once);
}

#[test]
fn ids_that_all_came_end_it() {
    let events: Vec<_> = (0..30).map(|number| item(NOW - number * 9, number)).collect();
    let filter = Filter { ids: Some(events.iter().map(|event| event.id).collect()), ..Filter::default() };
    let session = open(500, Request { filter, ..request(ALL) });
    let told = drive(&Relay::new(events, 500), session, &Local::default(), None, &mut Random(1));
    assert_eq!((told.outcome.clone(), told.questions), (Some(Outcome::Complete), 1));
    assert!(covers(&told, Window { since: 0, until: NOW }));
}

#[test]
fn refusals_and_silence_end_it() {
    let mut session = open(500, request(ALL));
    Local::default().with(|set| {
        session.handle(Input::Start, set, 10, NOW).expect("no breach");
        let sub = match session.poll() {
            Some(Output::Req { sub, .. }) => sub,
            other => panic!("{other:?}"),
        };
        assert_eq!(session.next_timeout(), Some((30_010, "an event or EOSE")));
        session.handle(Input::Timeout, set, 30_009, NOW).expect("no breach");
        assert_eq!(session.poll(), None);
        session.handle(Input::Timeout, set, 30_010, NOW).expect("no breach");
        assert_eq!(session.poll(), Some(Output::Close { sub }));
        assert!(matches!(session.poll(), Some(Output::Done(Outcome::Failed(Reason::Timeout, _)))));
        assert_eq!((session.poll(), session.next_timeout()), (None, None));
        let mut session = open(500, request(ALL));
        session.handle(Input::Start, set, 10, NOW).expect("no breach");
        let closed = Input::Closed { sub, meaning: 4, text: "auth-required: no", cap: None, names_negentropy: false };
        session.handle(closed, set, 11, NOW).expect("no breach");
        let last = std::iter::from_fn(|| session.poll()).last();
        assert!(matches!(last, Some(Output::Done(Outcome::Failed(Reason::Refused(4), _)))), "{last:?}");
    });
}

#[test]
fn what_is_wrong_with_a_section_is_said() {
    for (key, value, allowed) in [
        ("page_size", Value::Integer(0), "must be a whole number from 1 to 5000"),
        ("timeout", Value::Integer(30), "must be a duration in quotes"),
        ("first_window", Value::Text("10ms"), "from 1000ms"),
        ("colour", Value::Bool(true), "is unknown; the keys are page_size, timeout, first_window"),
    ] {
        let error = configure::<WindowReq>(&[(key, value)]).expect_err(key);
        assert!(error.key == key && error.allowed.contains(allowed), "{error:?}");
    }
    assert!(configure::<WindowReq>(&[("first_window", Value::Text("2d"))]).is_ok());
}
