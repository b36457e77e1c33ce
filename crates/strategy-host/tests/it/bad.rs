//! What a plugin may do wrong, and what becomes of it.

use std::time::{Duration, Instant};

use sync_core::model::FailureReason;
use sync_core::nostr::filter::Filter;
use sync_core::response::{SaidIn, classify};
use sync_core::strategy::{Input, Message, Output, RelayProfile, SessionOutcome, Suitability};

use crate::support::{NOW, bad_strategy, end_of, give, impatient, patient, request};

/// The session fails, and the plugin lives.
fn fails(how: &str, words: &str) {
    let (plugin, strategy) = bad_strategy(how, patient());
    match end_of(&*strategy) {
        SessionOutcome::Failed { reason: FailureReason::Local, text } => {
            assert!(text.starts_with("the plugin bad ") && text.contains(words), "{how}: {text}");
        }
        other => panic!("{how}: {other:?}"),
    }
    assert_eq!(plugin.barred(), None, "{how}");
}

#[test]
fn lies_and_nonsense_fail_the_session() {
    fails("complete", "claims to be complete");
    fails("drained", "claims second 10, and no answer has shown it");
    fails("silent", "waits for nothing");
    fails("wide", "asks for seconds");
    fails("twice", "went on after its end");
    fails("nonsense", "an output of kind 99");
    fails("outputs", "more than 100000 outputs");
    fails("ids", "more than 4000000 ids");
    fails("panic", "it is a bad one");
    fails("code", "answered 77");
}

#[test]
fn a_plugin_that_says_no_is_believed() {
    let (_, strategy) = bad_strategy("unsupported", patient());
    assert!(matches!(end_of(&*strategy), SessionOutcome::Unsupported { .. }));
    let (_, strategy) = bad_strategy("fail", patient());
    let mut session = strategy.open(request());
    assert_eq!(give(&mut *session, Input::Start, NOW), Err("it is a bad one".to_owned()));
}

#[test]
fn a_plugin_that_asks_forever_is_stopped() {
    for how in ["forever", "garbage"] {
        let (_, strategy) = bad_strategy(how, patient());
        let mut session = strategy.open(request());
        let mut outputs = give(&mut *session, Input::Start, NOW).expect("asks");
        let refusal = classify(SaidIn::NegErr, "error: can't be parsed", None);
        let mut questions = 0;
        let outcome = loop {
            let open = outputs.iter().find_map(|output| match output {
                Output::Send(Message::Req { sub, .. } | Message::NegOpen { sub, .. }) => Some(*sub),
                _ => None,
            });
            if let Some(Output::Done(outcome)) = outputs.last() {
                break outcome.clone();
            }
            let sub = open.unwrap_or_else(|| panic!("{how} neither asks nor ends: {outputs:?}"));
            questions += 1;
            let input = match how {
                "forever" => Input::Eose { sub, finished: None },
                _ => Input::NegErr { sub, said: &refusal },
            };
            outputs = give(&mut *session, input, NOW).expect("goes on");
        };
        assert!(questions <= 1_001, "{how}: {questions}");
        assert!(matches!(outcome, SessionOutcome::Failed { reason: FailureReason::Local, .. }), "{how}: {outcome:?}");
    }
}

#[test]
fn silence_ends_for_a_plugin_that_would_wait_forever() {
    let (_, strategy) = bad_strategy("deaf", patient());
    let mut session = strategy.open(request());
    give(&mut *session, Input::Start, NOW).expect("asks");
    let (at, _) = session.next_timeout().expect("there is an end");
    let late = sync_core::Now { mono_ms: at, ..NOW };
    let outputs = give(&mut *session, Input::Timeout, late).expect("ends");
    let timed_out =
        |output: &Output| matches!(output, Output::Done(SessionOutcome::Failed { reason: FailureReason::Timeout, .. }));
    assert!(outputs.last().is_some_and(timed_out), "{outputs:?}");
}

#[test]
fn a_hang_bars_the_plugin_and_nobody_waits_for_it_again() {
    for (how, what) in
        [("hang", "handle"), ("hang-create", "create"), ("hang-poll", "poll"), ("hang-timeout", "next_timeout")]
    {
        let (plugin, strategy) = bad_strategy(how, impatient());
        let other = strategy.open(request());
        match end_of(&*strategy) {
            SessionOutcome::Unsupported { text } => {
                assert_eq!(text, format!("the plugin bad is barred: {what} did not return within 200ms"));
            }
            outcome => panic!("{how}: {outcome:?}"),
        }
        assert_eq!(plugin.barred().as_deref(), Some(&*format!("{what} did not return within 200ms")));
        let since = Instant::now();
        assert!(matches!(end_of(&*strategy), SessionOutcome::Unsupported { .. }));
        assert!(matches!(strategy.suits(&RelayProfile::default(), &Filter::new()), Suitability::No(_)));
        drop(other);
        assert!(since.elapsed() < Duration::from_millis(200), "{how}: it is not asked any more");
    }
}

#[test]
fn a_hang_where_nobody_waits_is_found_by_who_comes_next() {
    let limits = strategy_host::Limits { threads: 1, ..impatient() };
    let (plugin, strategy) = bad_strategy("hang-destroy", limits);
    drop({
        let mut session = strategy.open(request());
        give(&mut *session, Input::Start, NOW).expect("asks");
        session
    });
    assert!(matches!(strategy.suits(&RelayProfile::default(), &Filter::new()), Suitability::No(_)));
    assert_eq!(plugin.barred().as_deref(), Some("destroy did not return within 200ms"));
    let (plugin, strategy) = bad_strategy("hang-suits", impatient());
    assert!(matches!(strategy.suits(&RelayProfile::default(), &Filter::new()), Suitability::No(_)));
    assert_eq!(plugin.barred().as_deref(), Some("suits did not return within 200ms"));
}

#[test]
fn sessions_in_other_threads_are_told_when_a_plugin_is_barred() {
    let limits = strategy_host::Limits { threads: 2, ..impatient() };
    let (_, strategy) = bad_strategy("hang", limits);
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..8).map(|_| scope.spawn(|| end_of(&*strategy))).collect();
        for outcome in waiting {
            let outcome = outcome.join().expect("nobody panics");
            assert!(matches!(outcome, SessionOutcome::Unsupported { .. }), "{outcome:?}");
        }
    });
}
