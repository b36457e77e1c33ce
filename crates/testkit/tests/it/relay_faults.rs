//! Each fault does what it says, and nothing else.

use std::collections::BTreeSet;
use std::num::NonZeroU64;

use nostr::event::{Event, Kind};
use nostr::filter::Filter;
use nostr::types::Timestamp;
use serde_json::{Value, json};
use sync_core::Now;
use testkit::relay::{
    Drip, DropAfter, Faults, NoNegentropy, OkAnswer, Outgoing, RateLimit, RateLimitAnswer, TooBig, TooBigWording,
};
use testkit::world::{EventSpec, keys};

use crate::client::{NOW, event_ids, heard, ids, notes, relay_with, req, say, types};

fn every(n: u64) -> Option<NonZeroU64> {
    NonZeroU64::new(n)
}

/// What is answered to a REQ for everything.
fn all(events: &[Event], faults: Faults) -> Vec<Value> {
    say(&mut relay_with(events, faults).connect(), &req("s", &[Filter::new()]))
}

fn neg_open(events: &[Event], faults: Faults) -> Vec<Value> {
    say(&mut relay_with(events, faults).connect(), &json!(["NEG-OPEN", "n", {}, "6100000200"]))
}

#[test]
fn no_negentropy_is_said_in_each_known_way() {
    for way in NoNegentropy::ALL {
        let said = neg_open(&notes(3), Faults { no_negentropy: Some(way), ..Faults::default() });
        let expected = match way {
            NoNegentropy::NoticeDisabled => vec![json!(["NOTICE", "ERROR: bad msg: negentropy disabled"])],
            NoNegentropy::NoticeUnknownCommand => vec![json!(["NOTICE", "ERROR: bad msg: unknown cmd"])],
            NoNegentropy::NoticeUnknownLabel => {
                vec![json!(["NOTICE", "failed to parse envelope: unknown envelope label"])]
            }
            NoNegentropy::NoticeCouldNotParse => vec![json!(["NOTICE", "could not parse command"])],
            NoNegentropy::NoticeInvalid => {
                vec![json!(["NOTICE", "invalid: \"[0]\" must be one of [EVENT, REQ, CLOSE, AUTH]"])]
            }
            NoNegentropy::NegErrDisabled => vec![json!(["NEG-ERR", "n", "blocked: Negentropy sync is disabled"])],
            NoNegentropy::ClosedAndNotice => vec![
                json!(["CLOSED", "n", "blocked: filters must specify at least one kind"]),
                json!(["NOTICE", "failed to parse envelope: unknown envelope label"]),
            ],
            NoNegentropy::Silence => vec![],
            NoNegentropy::Garbage => vec![json!(["NEG-MSG", "n", "not hex"])],
            _ => vec![json!(["NEG-MSG", "n", "60"])],
        };
        assert_eq!(said, expected, "{way:?}");
    }
}

#[test]
fn too_big_is_said_in_each_known_way_and_only_beyond_the_cap() {
    for (wording, expected) in [
        (TooBigWording::FourthElement, json!(["NEG-ERR", "n", "blocked: too many query results", 2])),
        (TooBigWording::Bare, json!(["NEG-ERR", "n", "blocked: too many query results"])),
        (TooBigWording::Prose, json!(["NEG-ERR", "n", "blocked: query matches too many records (3 > 2)"])),
    ] {
        let faults = Faults { too_big: Some(TooBig { cap: 2, wording }), ..Faults::default() };
        assert_eq!(neg_open(&notes(3), faults.clone()), [expected]);
        assert_eq!(types(&neg_open(&notes(2), faults)), ["NEG-MSG"]);
    }
}

#[test]
fn truncated_negentropy_shows_the_newest_only() {
    let events = notes(5);
    let said = neg_open(&events, Faults { truncate_negentropy: Some(2), ..Faults::default() });
    let shown = said[0][2].as_str().expect("hex");
    for (place, event) in events.iter().enumerate() {
        assert_eq!(shown.contains(&event.id.to_hex()), place < 2, "{place}");
    }
}

#[test]
fn caps_on_negentropy_count_what_matches_the_filter() {
    let events = notes(9);
    let of = |filter: Filter, faults| {
        say(&mut relay_with(&events, faults).connect(), &json!(["NEG-OPEN", "n", filter, "6100000200"]))
    };
    // Three in a second: the middle second, between the newest and the oldest.
    let middle = Filter::new().since(events[3].created_at).until(events[3].created_at);
    let shown = of(middle.clone(), Faults { truncate_negentropy: Some(2), ..Faults::default() });
    let shown = shown[0][2].as_str().expect("hex");
    for (place, event) in events.iter().enumerate() {
        assert_eq!(shown.contains(&event.id.to_hex()), (3..5).contains(&place), "{place}");
    }
    let too_big = |cap| Faults { too_big: Some(TooBig { cap, wording: TooBigWording::Prose }), ..Faults::default() };
    assert_eq!(types(&of(middle.clone(), too_big(3))), ["NEG-MSG"]);
    let refused = json!(["NEG-ERR", "n", "blocked: query matches too many records (3 > 2)"]);
    assert_eq!(of(middle, too_big(2)), [refused]);
}

#[test]
fn reconciliations_are_bounded_and_forgotten() {
    let core = relay_with(&notes(3), Faults { max_negentropy: Some(1), ..Faults::default() });
    let mut connection = core.connect();
    assert_eq!(types(&say(&mut connection, &json!(["NEG-OPEN", "a", {}, "61"]))), ["NEG-MSG"]);
    let refused = say(&mut connection, &json!(["NEG-OPEN", "b", {}, "61"]));
    assert_eq!(refused, [json!(["NOTICE", "ERROR: too many concurrent NEG requests"])]);
    say(&mut connection, &json!(["NEG-CLOSE", "a"]));
    assert_eq!(types(&say(&mut connection, &json!(["NEG-OPEN", "b", {}, "61"]))), ["NEG-MSG"]);

    core.set_faults(|faults| faults.forget_negentropy_after = Some(2));
    assert_eq!(types(&say(&mut connection, &json!(["NEG-MSG", "b", "61"]))), ["NEG-MSG"]);
    let gone = say(&mut connection, &json!(["NEG-MSG", "b", "61"]));
    assert_eq!(gone, [json!(["NEG-ERR", "b", "closed: unknown subscription handle"])]);
    assert_eq!(core.stats().max_reconciliations, 1);
}

#[test]
fn caps_cut_answers_short() {
    let events = notes(9);
    let by_author = |author| Filter::new().author(keys(1, author).public_key());
    let two = [by_author(0), by_author(1), by_author(2)];
    let answer = |faults| ids(&say(&mut relay_with(&events, faults).connect(), &req("s", &two)), "s").len();
    assert_eq!(answer(Faults::default()), 3);
    assert_eq!(answer(Faults { page_cap: Some(2), ..Faults::default() }), 2);
    let capped = all(&events, Faults { max_limit: Some(4), ..Faults::default() });
    assert_eq!(ids(&capped, "s"), event_ids(&events[..4]));
    assert_eq!(types(&capped).last(), Some(&"EOSE"));
}

#[test]
fn limit_zero_and_until_can_be_ignored() {
    let events = notes(4);
    let none = Filter::new().limit(0);
    let mut connection = relay_with(&events, Faults { ignore_limit_zero: true, ..Faults::default() }).connect();
    assert_eq!(ids(&say(&mut connection, &req("s", std::slice::from_ref(&none))), "s").len(), 4);
    let mut connection = relay_with(&events, Faults { limit_zero_never_eose: true, ..Faults::default() }).connect();
    assert_eq!(say(&mut connection, &req("s", &[none])), Vec::<Value>::new());
    assert_eq!(types(&say(&mut connection, &req("t", &[Filter::new().limit(1)]))), ["EVENT", "EOSE"]);
    let mut connection = relay_with(&events, Faults { ignore_until: true, ..Faults::default() }).connect();
    let old = Filter::new().until(Timestamp::from_secs(5));
    assert_eq!(ids(&say(&mut connection, &req("s", &[old])), "s").len(), 4);
}

#[test]
fn answers_come_in_odd_orders() {
    let events = notes(12);
    let shuffled = ids(&all(&events, Faults { unordered: true, ..Faults::default() }), "s");
    assert_ne!(shuffled, event_ids(&events));
    assert_eq!(BTreeSet::from_iter(shuffled), BTreeSet::from_iter(event_ids(&events)));

    let twice = all(&events[..1], Faults { repeat_eose: true, ..Faults::default() });
    assert_eq!(types(&twice), ["EVENT", "EOSE", "EOSE"]);
    let late = all(&events[..3], Faults { events_after_eose: 2, ..Faults::default() });
    assert_eq!(types(&late), ["EVENT", "EOSE", "EVENT", "EVENT"]);
    assert_eq!(ids(&late, "s"), event_ids(&events[..3]));

    let core = relay_with(&events, Faults { event_after_close: true, ..Faults::default() });
    let mut connection = core.connect();
    say(&mut connection, &req("s", &[Filter::new()]));
    assert_eq!(ids(&say(&mut connection, &json!(["CLOSE", "s"])), "s"), [events[0].id]);
}

#[test]
fn the_oldest_come_first() {
    let events = notes(9);
    let faults = Faults { oldest_first: true, ..Faults::default() };
    let mut oldest_first = event_ids(&events);
    oldest_first.reverse();
    assert_eq!(ids(&all(&events, faults.clone()), "s"), oldest_first);
    let mut connection = relay_with(&events, faults).connect();
    let page = Filter::new().until(events[3].created_at).limit(2);
    assert_eq!(ids(&say(&mut connection, &req("s", &[page])), "s"), oldest_first[..2]);
}

#[test]
fn a_req_by_ids_is_answered_in_part() {
    let events = notes(5);
    let faults = Faults { max_ids: Some(2), ..Faults::default() };
    let mut connection = relay_with(&events, faults.clone()).connect();
    let answer = say(&mut connection, &req("s", &[Filter::new().ids(event_ids(&events))]));
    assert_eq!((ids(&answer, "s"), types(&answer)[2]), (event_ids(&events[..2]), "EOSE"));
    let rest = say(&mut connection, &req("t", &[Filter::new().ids(event_ids(&events[2..4]))]));
    assert_eq!(ids(&rest, "t"), event_ids(&events[2..4]));
    assert_eq!(ids(&all(&events, faults), "s").len(), 5, "a REQ without ids is answered in full");
}

#[test]
fn closed_ends_a_req_by_ids() {
    let events = notes(2);
    let core = relay_with(&events, Faults { closed_after_ids: true, ..Faults::default() });
    let mut connection = core.connect();
    let answer = say(&mut connection, &req("s", &[Filter::new().id(events[0].id)]));
    assert_eq!(answer[1], json!(["CLOSED", "s", ""]));
    assert_eq!(core.stats().subscriptions, 0);
    assert_eq!(types(&say(&mut connection, &req("s", &[Filter::new()]))), ["EVENT", "EVENT", "EOSE"]);
}

#[test]
fn withheld_events_are_announced_and_not_served() {
    let events = notes(3);
    let faults = Faults { withheld: [events[1].id].into(), ..Faults::default() };
    assert!(neg_open(&events, faults.clone())[0][2].as_str().is_some_and(|hex| hex.contains(&events[1].id.to_hex())));
    assert_eq!(ids(&all(&events, faults.clone()), "s"), [events[0].id, events[2].id]);
    let by_id = req("s", &[Filter::new().id(events[1].id)]);
    assert_eq!(types(&say(&mut relay_with(&events, faults).connect(), &by_id)), ["EOSE"]);
}

#[test]
fn subscriptions_are_refused_and_bounded() {
    let refused = all(&notes(1), Faults { refuse_req: Some("restricted: members only".into()), ..Faults::default() });
    assert_eq!(refused, [json!(["CLOSED", "s", "restricted: members only"])]);

    let core = relay_with(&[], Faults { max_subscriptions: Some(1), ..Faults::default() });
    let mut connection = core.connect();
    assert_eq!(types(&say(&mut connection, &req("a", &[Filter::new()]))), ["EOSE"]);
    let refused = say(&mut connection, &req("b", &[Filter::new()]));
    assert_eq!(refused, [json!(["CLOSED", "b", "error: too many concurrent REQs"])]);
    assert_eq!(types(&say(&mut connection, &req("a", &[Filter::new()]))), ["EOSE"], "replaces, adds nothing");
}

#[test]
fn asking_too_often_is_answered_in_each_known_way() {
    let limited = |answer| {
        let rate_limit = Some(RateLimit { after: 1, per_ms: 5_000, answer });
        let core = relay_with(&[], Faults { rate_limit, ..Faults::default() });
        let mut connection = core.connect();
        say(&mut connection, &req("a", &[Filter::new()]));
        (core, connection)
    };
    let (_core, mut connection) = limited(RateLimitAnswer::Closed);
    let closed = say(&mut connection, &req("b", &[Filter::new()]));
    assert_eq!(closed, [json!(["CLOSED", "b", "rate-limited: too many REQs"])]);
    let refused = say(&mut connection, &json!(["NEG-OPEN", "n", {}, "61"]));
    assert_eq!(refused, [json!(["NEG-ERR", "n", "rate-limited: too many REQs"])]);
    connection.receive(&req("b", &[Filter::new()]).to_string(), NOW.plus_ms(5_000));
    assert_eq!(types(&heard(&mut connection)), ["EOSE"], "counts from zero again");

    let (_core, mut connection) = limited(RateLimitAnswer::Notice);
    let said = say(&mut connection, &req("b", &[Filter::new()]));
    assert_eq!(said, [json!(["NOTICE", "rate-limited: slow down"])]);

    let (core, mut connection) = limited(RateLimitAnswer::NoticeAndDrop);
    connection.receive(&req("b", &[Filter::new()]).to_string(), NOW);
    assert_eq!(connection.poll(), Some(Outgoing::Text("[\"NOTICE\",\"Rate limit exceeded.\"]".into())));
    assert_eq!(connection.poll(), Some(Outgoing::Drop));
    assert_eq!(core.stats().connections_dropped, 1);
}

#[test]
fn published_events_are_refused_with_the_reason_given() {
    let event = EventSpec::new(1).at(5).sign(&keys(1, 1));
    for (accepted, message) in [(false, "blocked: not on the list"), (true, "purgatory: waits for its git data")] {
        let ok = Some(OkAnswer { accepted, message: message.into() });
        let core = relay_with(&[], Faults { ok, ..Faults::default() });
        let said = say(&mut core.connect(), &json!(["EVENT", event]));
        assert_eq!(said, [json!(["OK", event.id, accepted, message])]);
        assert!(!core.has(&event.id));
    }
}

#[test]
fn some_events_are_forged_or_foreign() {
    let events = notes(4);
    let sent = |faults| -> Vec<Event> {
        let frames = all(&events, faults);
        frames.iter().filter(|frame| frame[0] == "EVENT").map(|frame| event(&frame[2])).collect()
    };
    let wrong = sent(Faults { wrong_id_every: every(2), ..Faults::default() });
    assert_eq!(wrong.iter().map(Event::verify_id).collect::<Vec<_>>(), [true, false, true, false]);
    let wrong = sent(Faults { bad_signature_every: every(4), ..Faults::default() });
    assert!(wrong.iter().all(Event::verify_id));
    assert_eq!(wrong.iter().map(Event::verify_signature).collect::<Vec<_>>(), [true, true, true, false]);

    let foreign = EventSpec::new(7).at(9).sign(&keys(1, 1));
    let core = relay_with(&events, Faults { mismatch_every: every(3), ..Faults::default() });
    core.publish(foreign.clone());
    let frames = say(&mut core.connect(), &req("s", &[Filter::new().kind(Kind::from(1))]));
    let mut expected = event_ids(&events);
    expected.insert(2, foreign.id);
    assert_eq!(ids(&frames, "s"), expected);
}

fn event(value: &Value) -> Event {
    Event::from_json(value.to_string()).expect("an event")
}

#[test]
fn broken_frames_come_in_between() {
    let core = relay_with(&notes(2), Faults { invalid_json_every: every(2), ..Faults::default() });
    let mut connection = core.connect();
    connection.receive(&req("s", &[Filter::new()]).to_string(), NOW);
    let texts: Vec<bool> = std::iter::from_fn(|| connection.poll())
        .map(|said| matches!(said, Outgoing::Text(text) if serde_json::from_str::<Value>(&text).is_ok()))
        .collect();
    assert_eq!(texts, [true, false, true, true]);
    assert_eq!(core.stats().sent("invalid"), 1);

    let frames = all(&notes(1), Faults { oversized_notice: Some(100_000), ..Faults::default() });
    assert_eq!(types(&frames), ["NOTICE", "EVENT", "EOSE"]);
    assert_eq!(frames[0].to_string().len(), 100_000);
}

#[test]
fn a_message_ends_in_the_middle_and_silence_follows() {
    let core = relay_with(&notes(3), Faults { half_message_after: Some(1), ..Faults::default() });
    let mut connection = core.connect();
    connection.receive(&req("s", &[Filter::new()]).to_string(), NOW);
    assert!(matches!(connection.poll(), Some(Outgoing::Text(_))));
    assert!(
        matches!(connection.poll(), Some(Outgoing::Half(text)) if text.starts_with("[\"EVENT\"") && !text.ends_with(']'))
    );
    assert_eq!(connection.poll(), None);
    connection.receive(&req("t", &[Filter::new()]).to_string(), NOW);
    assert_eq!(connection.poll(), None);
}

#[test]
fn frames_drip() {
    let drip = Some(Drip { piece: 3, pause_ms: 7 });
    let mut connection = relay_with(&[], Faults { drip, ..Faults::default() }).connect();
    connection.receive(&req("s", &[Filter::new()]).to_string(), NOW);
    let text = "[\"EOSE\",\"s\"]".to_owned();
    assert_eq!(connection.poll(), Some(Outgoing::Drip { text, piece: 3, pause_ms: 7 }));
}

#[test]
fn a_stalled_relay_says_what_it_owes_when_it_recovers() {
    let core = relay_with(&notes(3), Faults { stall_after: Some(2), ..Faults::default() });
    let mut connection = core.connect();
    assert_eq!(types(&say(&mut connection, &req("s", &[Filter::new()]))), ["EVENT", "EVENT"]);
    assert_eq!(heard(&mut connection), Vec::<Value>::new());
    core.set_faults(|faults| faults.stall_after = None);
    assert_eq!(types(&heard(&mut connection)), ["EVENT", "EOSE"]);
}

#[test]
fn connections_are_dropped_after_so_many_frames() {
    let drop_after = Some(DropAfter { frames: 2, times: Some(1) });
    let core = relay_with(&notes(3), Faults { drop_after, ..Faults::default() });
    let mut connection = core.connect();
    connection.receive(&req("s", &[Filter::new()]).to_string(), NOW);
    let said: Vec<_> = std::iter::from_fn(|| connection.poll()).collect();
    assert!(matches!(said[..], [Outgoing::Text(_), Outgoing::Text(_), Outgoing::Drop]));
    assert!(!connection.receive("[\"CLOSE\",\"s\"]", Now { mono_ms: 0, unix_s: 0 }));
    let mut second = core.connect();
    assert_eq!(types(&say(&mut second, &req("s", &[Filter::new()]))).len(), 4, "that was the only one");

    core.drop_connections();
    assert_eq!(second.poll(), Some(Outgoing::Drop));
    assert_eq!(second.poll(), None);
    assert_eq!(core.connect().poll(), None, "a new one is welcome");
}

#[test]
fn faults_are_read_from_json() {
    let faults: Faults = serde_json::from_str(
        r#"{"no_negentropy":"notice_disabled","drop_after":{"frames":3},"wrong_id_every":2,"nip11":{"oversized":9}}"#,
    )
    .expect("faults");
    assert_eq!(faults.no_negentropy, Some(NoNegentropy::NoticeDisabled));
    assert_eq!(faults.drop_after, Some(DropAfter { frames: 3, times: None }));
    assert!(serde_json::from_str::<Faults>(r#"{"no_such_fault":1}"#).is_err());
    let again: Faults = serde_json::from_str(&serde_json::to_string(&faults).expect("JSON")).expect("faults");
    assert_eq!(again, faults);
}
