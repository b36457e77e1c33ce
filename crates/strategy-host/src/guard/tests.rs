//! What a guard takes, and what it doesn't.

use std::collections::BTreeSet;

use sync_core::nostr::event::EventId;
use sync_core::nostr::filter::Filter;
use sync_core::strategy::{Direction, RelayProfile};
use sync_core::time::Jitter;

use super::*;

const NOW: Now = Now { mono_ms: 5, unix_s: 1_000 };

fn guard(drained: &[Window]) -> Guard {
    let request = SessionRequest {
        filter: Filter::new(),
        window: Window { since: 100, until: u64::MAX },
        drained: drained.to_vec(),
        remembered: Vec::new(),
        profile: RelayProfile::default(),
        direction: Direction::Down,
        proven: false,
        seed: 1,
    };
    let mut guard = Guard::new(&request, 1_000);
    guard.input(&Input::Start, NOW);
    guard
}

fn window(since: u64, until: u64) -> Window {
    Window { since, until }
}

fn say(guard: &mut Guard, output: &Output) -> Result<(), String> {
    guard.output(output, None, &mut || 10)
}

fn ask(guard: &mut Guard, sub: SubId, window: Window) -> Result<(), String> {
    ask_for(guard, sub, Filter::new(), window)
}

fn ask_for(guard: &mut Guard, sub: SubId, filter: Filter, window: Window) -> Result<(), String> {
    let question = Output::Send(Message::Req { sub, filter: Box::new(filter) });
    guard.output(&question, Some(window), &mut || 10)
}

fn eose(guard: &mut Guard, sub: SubId) {
    guard.input(&Input::Eose { sub, finished: None }, NOW);
}

fn event(sub: SubId, created_at: u64) -> Input<'static> {
    Input::Event { sub, id: EventId::from_byte_array([1; 32]), created_at, verdict: CheckVerdict::New }
}

const COMPLETE: Output = Output::Done(SessionOutcome::Complete);

#[test]
fn spans_are_what_a_set_of_seconds_is() {
    let mut jitter = Jitter::new(7);
    let (mut spans, mut plain) = (Spans::default(), BTreeSet::new());
    for _ in 0..2_000 {
        let since = jitter.between(0, 300);
        let span = window(since, since + jitter.between(0, 4));
        let fresh = (span.since..=span.until).find(|second| !plain.contains(second));
        assert_eq!(spans.gap(span), fresh, "{span:?} in {spans:?}");
        if jitter.between(0, 3) == 0 {
            assert_eq!(spans.add(span), fresh.is_some());
            plain.extend(span.since..=span.until);
        }
    }
    let mut all = Spans::default();
    assert!(all.add(Window::ALL) && !all.add(window(5, u64::MAX)));
    assert_eq!(all.gap(Window::ALL), None);
}

#[test]
fn what_nobody_asked_for_is_not_drained() {
    let mut guard = guard(&[]);
    assert!(say(&mut guard, &Output::Drained(window(100, 200))).is_err());
    ask(&mut guard, 1, window(100, 500)).expect("a question");
    assert!(say(&mut guard, &Output::Drained(window(100, 500))).is_err(), "nothing was shown");
    guard.input(&event(1, 300), NOW);
    say(&mut guard, &Output::Drained(window(300, 500))).expect("was shown");
    assert!(say(&mut guard, &Output::Drained(window(299, 500))).is_err());
    guard.input(&Input::Eose { sub: 1, finished: None }, NOW);
    say(&mut guard, &Output::Drained(window(100, 500))).expect("was answered");
    assert!(say(&mut guard, &COMPLETE).is_err(), "501 to now");
}

#[test]
fn complete_is_what_is_drained_or_named() {
    let mut guard = guard(&[window(0, 400)]);
    ask(&mut guard, 1, window(400, u64::MAX)).expect("a question");
    guard.input(&event(1, 501), NOW);
    eose(&mut guard, 1);
    for drained in [window(401, 500), window(502, u64::MAX)] {
        say(&mut guard, &Output::Drained(drained)).expect("was answered");
    }
    say(&mut guard, &Output::Dense { second: 501, shown: 3, certain: true }).expect("named");
    say(&mut guard, &COMPLETE).expect("it is");
    assert!(say(&mut guard, &COMPLETE).is_err(), "it has ended");
}

#[test]
fn questions_that_bring_nothing_end() {
    let mut guard = guard(&[]);
    let mut again = |sub| {
        ask(&mut guard, sub, window(100, 200))?;
        guard.input(&Input::Eose { sub, finished: None }, NOW);
        Ok::<_, String>(())
    };
    let asked = (0..).take_while(|sub| again(*sub).is_ok()).count();
    assert!(asked <= MAX_OPEN, "they are never closed: {asked}");
}

#[test]
fn what_the_relay_closed_is_not_open() {
    let mut guard = guard(&[]);
    let (meaning, text) = (sync_core::response::Meaning::Unknown, String::new());
    let said = sync_core::response::Said { meaning, text, cap: None, names_negentropy: false };
    for sub in 0..900 {
        ask(&mut guard, sub, window(100, 200)).expect("few are open");
        guard.input(&Input::Closed { sub, said: &said }, NOW);
    }
    say(&mut guard, &Output::Drained(window(100, 200))).expect("was answered");
}

#[test]
fn whoever_waits_for_nothing_is_found() {
    let mut guard = guard(&[]);
    assert!(guard.waits(false).is_err() && guard.waits(true).is_ok());
    ask(&mut guard, 1, window(100, 200)).expect("a question");
    assert!(guard.waits(false).is_ok());
    assert_eq!(guard.deadline(), NOW.mono_ms + MIN_SILENCE_MS, "silence ends");
}

fn drained(since: u64, until: u64) -> Output {
    Output::Drained(window(since, until))
}

fn dense(second: u64) -> Output {
    Output::Dense { second, shown: 1, certain: false }
}

#[test]
fn nothing_is_claimed_outside_of_the_session() {
    let mut guard = guard(&[]);
    ask(&mut guard, 1, window(100, u64::MAX)).expect("a question");
    eose(&mut guard, 1);
    assert!(say(&mut guard, &drained(99, 200)).is_err());
    assert!(say(&mut guard, &drained(200, 150)).is_err());
    let need = Output::Need { ids: Vec::new(), within: window(0, 100) };
    assert!(say(&mut guard, &need).is_err());
    let shared = Output::Shared { count: 1, oldest: Some(99) };
    assert!(say(&mut guard, &shared).is_err());
    say(&mut guard, &drained(100, u64::MAX)).expect("was answered");
}

#[test]
fn a_second_is_dense_where_an_answer_ends() {
    let mut guard = guard(&[]);
    assert!(say(&mut guard, &dense(300)).is_err(), "nothing was asked");
    ask(&mut guard, 1, window(100, u64::MAX)).expect("a question");
    guard.input(&event(1, 400), NOW);
    guard.input(&event(1, 300), NOW);
    assert!(say(&mut guard, &dense(400)).is_err());
    say(&mut guard, &dense(300)).expect("it may go on there");
}

#[test]
fn dense_seconds_alone_complete_nothing() {
    let mut guard = guard(&[window(100, 990)]);
    for second in 991..=1_000 {
        ask(&mut guard, 1, window(second, second)).expect("a question");
        guard.input(&event(1, second), NOW);
        let refused = Said {
            meaning: Meaning::RateLimited,
            text: "rate-limited: wait".into(),
            cap: None,
            names_negentropy: false,
        };
        guard.input(&Input::Closed { sub: 1, said: &refused }, NOW);
        say(&mut guard, &dense(second)).expect("an answer ends there");
    }
    say(&mut guard, &COMPLETE).expect("each was shown, and named");
    let mut other = self::guard(&[window(100, 990)]);
    let few = Filter::new().kind(sync_core::nostr::event::Kind::from_u16(1));
    for second in 991..=1_000 {
        ask_for(&mut other, 1, few.clone(), window(second, second)).expect("a question");
        other.input(&event(1, second), NOW);
        eose(&mut other, 1);
        say(&mut other, &dense(second)).expect("an answer ends there");
    }
    assert!(say(&mut other, &COMPLETE).is_err(), "of other kinds nothing was shown");
}

#[test]
fn a_refusal_is_no_answer() {
    for (meaning, text) in [(Meaning::AuthRequired, "auth-required: who are you"), (Meaning::Unknown, "no")] {
        let mut guard = guard(&[]);
        ask(&mut guard, 1, window(100, 500)).expect("a question");
        let said = Said { meaning, text: text.into(), cap: None, names_negentropy: false };
        guard.input(&Input::Closed { sub: 1, said: &said }, NOW);
        assert!(say(&mut guard, &drained(100, 500)).is_err(), "{text}");
    }
}

#[test]
fn an_answer_of_as_many_as_were_asked_for_is_not_whole() {
    let id = |byte| EventId::from_byte_array([byte; 32]);
    let event = |byte, created_at| Input::Event { sub: 1, id: id(byte), created_at, verdict: CheckVerdict::New };
    let answered = |ids: &[u8], finished| {
        let mut guard = guard(&[]);
        ask_for(&mut guard, 1, Filter::new().limit(2), window(100, 500)).expect("a question");
        for (number, byte) in ids.iter().enumerate() {
            guard.input(&event(*byte, 400 - number as u64), NOW);
        }
        guard.input(&Input::Eose { sub: 1, finished }, NOW);
        let below = say(&mut guard, &drained(100, 398)).is_ok();
        assert!(say(&mut guard, &drained(399, 500)).is_ok(), "what was shown was shown");
        below
    };
    assert!(!answered(&[1, 2], None));
    assert!(answered(&[1, 1], None), "it was the same event twice");
    assert!(answered(&[1, 2], Some(true)), "the relay says that there are no more");
    assert!(!answered(&[1, 2], Some(false)));
}

#[test]
fn amounts_are_bounded_by_what_came() {
    let mut guard = guard(&[]);
    let ids = |count| vec![EventId::from_byte_array([1; 32]); count];
    let need = |count| Output::Need { ids: ids(count), within: window(100, 200) };
    assert!(say(&mut guard, &need(1)).is_err(), "nothing came");
    let neg = Output::Send(Message::NegOpen { sub: 1, filter: Box::new(Filter::new()), payload: vec![0x61] });
    guard.output(&neg, Some(window(100, 200)), &mut || 10).expect("a question");
    guard.input(&Input::NegMsg { sub: 1, payload: &[0; 100] }, NOW);
    assert!(say(&mut guard, &need(3)).is_err(), "one was needed before");
    assert!(say(&mut guard, &Output::Have(ids(41))).is_err(), "of ten");
    assert!(say(&mut guard, &Output::Shared { count: MAX_ITEMS + 1, oldest: None }).is_err());
    assert!(say(&mut guard, &Output::Remember(vec![0; MAX_REMEMBERED + 1])).is_err());
    let progress = Output::Progress { items: 1 };
    let said = (0..u64::MAX).take_while(|_| say(&mut guard, &progress).is_ok()).count() as u64;
    assert!(said <= OUTPUTS + 10 * OUTPUTS_EACH, "{said}");
}

#[test]
fn a_reconciliation_takes_turns_and_fits_into_messages() {
    let mut guard = guard(&[]);
    let open = |payload| Output::Send(Message::NegOpen { sub: 1, filter: Box::new(Filter::new()), payload });
    let go_on = |payload| Output::Send(Message::NegMsg { sub: 1, payload });
    assert!(say(&mut guard, &go_on(vec![1])).is_err(), "it isn't open");
    guard.output(&open(vec![1]), Some(window(100, 200)), &mut || 10).expect("a question");
    assert!(say(&mut guard, &go_on(vec![1])).is_err(), "it is the relay's turn");
    guard.input(&Input::NegMsg { sub: 1, payload: &[1] }, NOW);
    assert!(say(&mut guard, &go_on(Vec::new())).is_err());
    guard.input(&Input::NegMsg { sub: 1, payload: &[1] }, NOW);
    assert!(say(&mut guard, &go_on(vec![0; MAX_PAYLOAD + 1])).is_err());
    let many = (0..20_000_u64).map(|number| {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        EventId::from_byte_array(id)
    });
    let wide = ask_for(&mut guard, 2, Filter::new().ids(many), window(100, 200));
    assert!(wide.is_err_and(|what| what.contains("bytes")), "no relay takes a message as long as that");
}

#[test]
fn deadlines_that_pass_and_bring_nothing_end() {
    let mut guard = guard(&[]);
    ask(&mut guard, 1, window(100, 200)).expect("a question");
    let passed = (0..).take_while(|_| guard.passed().is_ok()).count() as u32;
    assert!(passed < MAX_IDLE);
}

#[test]
fn a_question_ends_however_much_is_heard() {
    let mut guard = guard(&[]);
    ask(&mut guard, 1, window(100, 200)).expect("a question");
    let at = |mono_ms| Now { mono_ms, unix_s: 1_000 };
    for second in 0..1_000 {
        guard.input(&event(1, 150), at(5 + second * 1_000));
    }
    assert_eq!(guard.deadline(), 5 + LATE * MIN_SILENCE_MS, "an answer has its end");
    guard.input(&Input::Eose { sub: 1, finished: None }, at(1_000_000));
    guard.input(&event(1, 150), at(2_000_000));
    assert_eq!(
        guard.deadline(),
        1_000_000 + MIN_SILENCE_MS,
        "what comes after the answer is nothing that it waits for"
    );
}
