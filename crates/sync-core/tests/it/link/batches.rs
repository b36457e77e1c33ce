//! How batches end, and how strategies follow one another.

use serde_json::json;
use sync_core::link::{AnswerEnd, LinkCommand, LinkNotice};
use sync_core::model::{BatchOutcome, FailureReason};
use sync_core::strategy::{Output, SessionOutcome};

use super::*;

#[test]
fn a_batch_is_confirmed_when_every_event_is_committed() {
    let mut bench = Bench::new(vec![Scripted::new("req", vec![vec![vec![req(1)], vec![], vec![done()]]])]);
    bench.hold = Some(Vec::new());
    bench.batch(7, vec![Filter::new()]);
    let wire = text(&bench.take_sent()[0][1]);
    bench.relay_says(event_frame(&wire, id(1)));
    bench.relay_says(json!(["EOSE", wire]));
    assert!(bench.reports.is_empty(), "the event is not checked yet, so the EOSE waits");
    bench.release();
    let report = bench.reports.pop().expect("the batch ends");
    assert_eq!((report.id, &report.outcome), (7, &BatchOutcome::Confirmed));
    assert_eq!((report.counts.need, report.counts.received, report.counts.stored), (1, 1, 1));
}

#[test]
fn an_unsupported_strategy_is_passed_over_with_one_warning() {
    let first = Scripted::new("negentropy", vec![vec![vec![unsupported("no such thing")]]]);
    let second = Scripted::new("req", vec![vec![vec![done()]]]);
    let mut bench = Bench::new(vec![first.clone(), second.clone()]);
    bench.batch(1, vec![Filter::new(), Filter::new().kind(nostr::event::Kind::from_u16(1))]);
    bench.batch(2, vec![Filter::new()]);
    let warned: Vec<_> =
        bench.notices.iter().filter(|notice| matches!(notice, LinkNotice::FellBack { first: true, .. })).collect();
    assert_eq!(warned.len(), 1);
    assert_eq!(first.opened.lock().expect("lock").len(), 1, "what is unsupported is not tried again");
    assert_eq!(second.opened.lock().expect("lock").len(), 3);
    assert!(bench.reports.iter().all(|report| report.outcome == BatchOutcome::Confirmed));
    let fallback = &bench.reports.iter().find(|report| report.id == 1).expect("reported").fallbacks[0];
    assert_eq!((&*fallback.from, &*fallback.to, &*fallback.reason), ("negentropy", "req", "no such thing"));
}

#[test]
fn a_strategy_that_does_not_suit_is_asked_once_and_passed_over_once() {
    let first = Scripted::unsuited("small", "too big for it");
    let second = Scripted::new("req", vec![vec![vec![req(1)], vec![done()]]]);
    let mut bench = Bench::new(vec![first.clone(), second.clone()]);
    // More than there is room for: the others wait.
    let batches = 10;
    for id in 0..batches {
        bench.batch(id, vec![Filter::new()]);
    }
    assert_eq!(second.opened.lock().expect("lock").len(), second.hints.concurrency);
    while bench.reports.len() < batches as usize {
        let sent = bench.take_sent();
        assert!(!sent.is_empty(), "{:?}", bench.reports);
        for wire in sent.iter().filter(|frame| frame[0] == "REQ").map(|frame| text(&frame[1])) {
            bench.relay_says(json!(["EOSE", wire]));
        }
    }
    assert_eq!(first.asked.load(Ordering::Relaxed) as u64, batches);
    let told = |notice: &&LinkNotice| matches!(notice, LinkNotice::FellBack { from, .. } if from == "small");
    assert_eq!(bench.notices.iter().filter(told).count() as u64, batches);
    assert!(bench.reports.iter().all(|report| report.fallbacks.len() == 1));
}

#[test]
fn the_last_strategy_names_what_it_could_not_do() {
    let mut bench = Bench::new(vec![Scripted::new("negentropy", vec![vec![vec![unsupported("turned off")]]])]);
    bench.batch(1, vec![Filter::new()]);
    let BatchOutcome::Failed(failures) = &bench.reports[0].outcome else { panic!("it can't be whole") };
    assert_eq!((&failures[0].reason, &*failures[0].text), (&FailureReason::Unsupported, "turned off"));
}

#[test]
fn a_session_that_failed_is_tried_again_then_the_next_strategy() {
    let failed = || Output::Done(SessionOutcome::Failed { reason: FailureReason::Timeout, text: "silence".into() });
    let first = Scripted::new("negentropy", vec![vec![vec![failed()]]]);
    let second = Scripted::new("req", vec![vec![vec![done()]]]);
    let mut bench = Bench::new(vec![first.clone(), second]);
    bench.batch(1, vec![Filter::new()]);
    assert!(bench.reports.is_empty());
    bench.pass(10_000);
    assert_eq!(first.opened.lock().expect("lock").len(), 2);
    assert_eq!(bench.reports[0].outcome, BatchOutcome::Confirmed);
}

#[test]
fn an_incomplete_session_fails_its_batch_with_its_reason() {
    let reason = FailureReason::DenseSecond { second: 5, more_than: 500 };
    let incomplete = Output::Done(SessionOutcome::Incomplete { reason: reason.clone(), text: "second 5".into() });
    let mut bench = Bench::new(vec![Scripted::new("req", vec![vec![vec![incomplete]]])]);
    bench.batch(1, vec![Filter::new()]);
    assert!(matches!(&bench.reports[0].outcome, BatchOutcome::Failed(failures) if failures[0].reason == reason));
}

#[test]
fn a_lost_connection_reports_every_batch() {
    let mut bench = Bench::new(vec![Scripted::new("req", vec![vec![vec![req(1)]]])]);
    bench.batch(1, vec![Filter::new()]);
    bench.batch(2, vec![Filter::new()]);
    bench.link.lost("reset by peer", &bench.local, bench.now);
    let mut lost = 0;
    while let Some(output) = bench.link.poll() {
        if let LinkOutput::Notice(LinkNotice::Answered { end, .. }) = &output {
            assert_eq!(*end, AnswerEnd::TakenBack);
            continue;
        }
        let LinkOutput::BatchDone(report) = output else { panic!("nothing is sent any more") };
        assert!(matches!(&report.outcome, BatchOutcome::Failed(failures)
            if failures[0].reason == FailureReason::ConnectionLost && failures[0].text == "reset by peer"));
        lost += 1;
    }
    assert_eq!(lost, 2);
}

#[test]
fn a_cancelled_batch_closes_what_it_had_open_and_is_not_reported() {
    let mut bench = Bench::new(vec![Scripted::new("req", vec![vec![vec![req(1)]]])]);
    bench.batch(1, vec![Filter::new()]);
    let wire = text(&bench.take_sent()[0][1]);
    bench.command(LinkCommand::Cancel(1));
    assert_eq!(bench.take_sent(), vec![json!(["CLOSE", wire])]);
    assert!(bench.reports.is_empty() && !bench.link.is_busy());
}

#[test]
fn a_set_comparison_is_verified_after_ingest() {
    let finds = vec![vec![neg_open(1)], vec![need(vec![id(1)]), done()]];
    let finds_nothing = vec![vec![neg_open(1)], vec![done()]];
    let strategy = Scripted::with("negentropy", true, false, vec![finds, finds_nothing]);
    let mut bench = Bench::new(vec![strategy.clone()]);
    bench.batch(1, vec![Filter::new()]);
    let wire = text(&bench.take_sent()[0][1]);
    bench.relay_says(json!(["NEG-MSG", wire, "61"]));
    let fetch = Bench::fetches(&bench.take_sent()).remove(0);
    bench.relay_says(event_frame(&fetch.0, id(1)));
    bench.relay_says(json!(["EOSE", fetch.0]));
    assert!(bench.reports.is_empty(), "not before the verification round");
    let sent = bench.take_sent();
    let again = sent.iter().find(|frame| frame[0] == "NEG-OPEN").expect("a verification round");
    bench.relay_says(json!(["NEG-MSG", text(&again[1]), "61"]));
    assert!(bench.reports.is_empty(), "not before the relay has shown that it left nothing out");
    let probe = bench.take_sent().into_iter().find(|frame| frame[0] == "REQ").expect("a probe");
    assert_eq!(probe[2]["until"], 0, "below the oldest event that was needed");
    bench.relay_says(json!(["EOSE", probe[1]]));
    assert_eq!(bench.reports[0].outcome, BatchOutcome::Confirmed);
    let opened = strategy.opened.lock().expect("lock");
    let (first, second) = (opened[0].window, opened[1].window);
    assert_eq!((first.since, first.until), (0, 1_700_000_900), "events may be dated ahead");
    assert_eq!((second.since, second.until), (0, 1_700_000_000), "what is published meanwhile is not missing");
}

#[test]
fn a_set_that_keeps_differing_is_not_called_complete() {
    let needs = |n| vec![vec![neg_open(1)], vec![need(vec![id(n)]), done()]];
    let mut bench = Bench::new(vec![Scripted::with("negentropy", true, false, vec![needs(1), needs(2), needs(3)])]);
    bench.batch(1, vec![Filter::new()]);
    for n in 1..=3 {
        let open = bench.take_sent().into_iter().find(|frame| frame[0] == "NEG-OPEN").expect("a round");
        bench.relay_says(json!(["NEG-MSG", text(&open[1]), "61"]));
        let fetch = Bench::fetches(&bench.take_sent()).remove(0);
        bench.relay_says(event_frame(&fetch.0, id(n)));
        bench.relay_says(json!(["EOSE", fetch.0]));
    }
    assert!(matches!(&bench.reports[0].outcome, BatchOutcome::Failed(failures)
        if failures[0].reason == FailureReason::Protocol));
}

#[test]
fn a_retry_that_waits_for_room_needs_no_timer() {
    let failed = Output::Done(SessionOutcome::Failed { reason: FailureReason::Timeout, text: "silence".into() });
    let scripts = vec![vec![vec![failed]], vec![vec![req(1)]]];
    let profile = RelayProfile { max_subscriptions: Some(1), ..RelayProfile::default() };
    let mut bench = Bench::with(vec![Scripted::new("s", scripts)], profile, Direction::Down);
    bench.batch(1, vec![Filter::new(), Filter::new().kind(nostr::event::Kind::from_u16(1))]);
    bench.pass(2_500);
    let (_, next) = bench.link.next_timeout().expect("the relay owes an answer");
    assert_eq!(next, "anything at all", "the first waits until the second has made room");
}

#[test]
fn what_came_meanwhile_is_not_asked_for_by_id() {
    let strategy = Scripted::new("req", vec![vec![vec![done()]]]);
    let mut bench = Bench::new(vec![strategy.clone()]);
    bench.local.known.insert(id(1));
    let request = BatchRequest {
        id: 5,
        reason: BatchReason::NewItems,
        layer: Layer::Wanted,
        filters: vec![Filter::new().ids([id(1), id(2)]), Filter::new().id(id(1))],
        items: PendingItems::default(),
        caused_by: None,
        reads: false,
        run_since: None,
    };
    bench.command(LinkCommand::Batch(request.clone()));
    let asked: Vec<Filter> = strategy.opened.lock().expect("lock").iter().map(|opened| opened.filter.clone()).collect();
    assert_eq!(asked, [Filter::new().id(id(2))]);
    bench.local.known.insert(id(2));
    bench.command(LinkCommand::Batch(BatchRequest { id: 6, ..request }));
    assert_eq!(bench.reports.iter().map(|report| report.id).collect::<Vec<_>>(), [5, 6]);
    assert!(bench.reports.iter().all(|report| report.outcome == BatchOutcome::Confirmed));
}

#[test]
fn what_has_come_by_another_way_is_not_asked_for_by_its_id() {
    let strategy = Scripted::new("req", vec![vec![vec![done()]]]);
    let mut bench = Bench::new(vec![strategy.clone()]);
    bench.local.known.insert(id(1));
    bench.batch(1, vec![Filter::new().ids([id(1)])]);
    assert!(strategy.opened.lock().expect("lock").is_empty(), "nothing is left to ask for");
    bench.batch(2, vec![Filter::new().ids([id(1), id(2)])]);
    let opened = strategy.opened.lock().expect("lock");
    assert_eq!(opened.iter().map(|request| request.filter.ids.clone()).collect::<Vec<_>>(), [Some([id(2)].into())]);
    assert_eq!(bench.reports.iter().map(|report| report.id).collect::<Vec<_>>(), [1, 2]);
    assert!(bench.reports.iter().all(|report| report.outcome == BatchOutcome::Confirmed));
}

#[test]
fn what_came_in_the_first_round_by_its_id_is_no_news_in_the_next() {
    let script = vec![vec![need(vec![id(1)]), done()]];
    let strategy = Scripted::with("negentropy", true, false, vec![script]);
    let mut bench = Bench::new(vec![strategy.clone()]);
    bench.batch(1, vec![Filter::new().ids([id(1)])]);
    let sent = bench.take_sent();
    let fetch = sent.iter().find(|frame| frame[0] == "REQ").map(|frame| text(&frame[1])).expect("it is fetched");
    bench.local.known.remove(&id(1));
    bench.relay_says(event_frame(&fetch, id(1)));
    bench.local.known.insert(id(1));
    bench.relay_says(json!(["EOSE", fetch]));
    bench.pass(1_000);
    let report = bench.reports.pop().expect("it ends");
    assert_eq!(report.outcome, BatchOutcome::Confirmed);
    assert!(report.fallbacks.is_empty());
    assert_eq!(strategy.opened.lock().expect("lock").len(), 1);
    assert_eq!(bench.take_sent().iter().filter(|frame| frame[0] == "REQ").count(), 0, "nothing is asked again");
}

/// Which of these carries a batch that is to be read.
fn readers(strategies: &[(&str, bool)]) -> Vec<String> {
    let opens = |(name, compares): &(&str, bool)| -> Arc<dyn SyncStrategy> {
        Scripted::with(name, *compares, false, vec![vec![vec![unsupported("the next one, please")]]])
    };
    let mut bench = Bench::new(strategies.iter().map(opens).collect());
    bench.command(LinkCommand::Batch(BatchRequest {
        id: 1,
        reason: BatchReason::QuickReconnect,
        layer: Layer::Repositories,
        filters: vec![Filter::new()],
        items: PendingItems::default(),
        caused_by: None,
        reads: true,
        run_since: None,
    }));
    bench.reports.remove(0).methods.iter().map(ToString::to_string).collect()
}

#[test]
fn a_batch_that_is_to_be_read_goes_by_the_strategies_that_read_in_their_order() {
    assert_eq!(readers(&[("negentropy", true), ("req", false)]), ["req"]);
    assert_eq!(readers(&[("a", false), ("negentropy", true), ("req", false)]), ["a", "req"]);
    assert_eq!(readers(&[("by-author", false), ("req", true)]), ["by-author"], "whatever they are called");
    assert_eq!(readers(&[("negentropy", true), ("n", true)]), ["negentropy", "n"], "where none reads");
}
