//! What holds whatever a relay says.

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn the_first_question_of_a_probing_strategy_goes_alone() {
    let neg = Scripted::with("negentropy", true, true, vec![vec![vec![neg_open(1)], vec![done()]]]);
    let mut bench = Bench::new(vec![neg]);
    bench.batch(1, vec![Filter::new(), Filter::new(), Filter::new()]);
    let sent = bench.take_sent();
    assert_eq!(sent.len(), 1, "one question, until it is answered");
    bench.relay_says(json!(["NEG-MSG", text(&sent[0][1]), "61"]));
    let opens = bench.take_sent().iter().filter(|frame| frame[0] == "NEG-OPEN").count();
    assert_eq!(opens, 2, "then several at once");
}

#[test]
fn a_notice_without_negentropy_in_it_binds_where_one_question_is_open() {
    let neg = Scripted::with("negentropy", true, true, vec![vec![vec![neg_open(1)], vec![unsupported("notice")]]]);
    let req = Scripted::new("req", vec![vec![vec![done()]]]);
    let mut bench = Bench::new(vec![neg, req]);
    bench.batch(1, vec![Filter::new()]);
    bench.relay_says(json!(["NOTICE", "could not parse command"]));
    assert_eq!(bench.reports.len(), 1, "the notice was the answer");
}

#[test]
fn subscriptions_never_pass_the_budget() {
    let profile = RelayProfile { max_subscriptions: Some(3), ..RelayProfile::default() };
    let script = vec![vec![req(1), req(2)], vec![], vec![done()]];
    let mut bench = Bench::with(vec![Scripted::new("s", vec![script])], profile, Direction::Down);
    bench.batch(1, (0..5).map(|n| Filter::new().kind(nostr::event::Kind::from_u16(n))).collect());
    let mut open = BTreeSet::new();
    for _ in 0..100 {
        for frame in bench.take_sent() {
            match &*text(&frame[0]) {
                "REQ" => assert!(open.insert(text(&frame[1]))),
                "CLOSE" => assert!(open.remove(&text(&frame[1]))),
                other => panic!("{other}"),
            }
            assert!(open.len() <= 3, "{open:?}");
        }
        let Some(next) = open.first().cloned() else { break };
        bench.relay_says(json!(["EOSE", next]));
        bench.relay_says(json!(["EOSE", next]));
    }
    assert_eq!(bench.reports.len(), 1);
}

fn hostile_frame() -> impl Strategy<Value = String> {
    let wire =
        prop_oneof![Just("l1"), Just("r1"), Just("n1"), Just("r2"), Just("n2"), Just("f2"), Just("f3"), Just("x")];
    let words = prop_oneof![
        Just("rate-limited: x"),
        Just("auth-required: x"),
        Just("blocked: too many query results"),
        Just("ERROR: too many concurrent NEG requests"),
        Just("negentropy disabled"),
        Just(""),
        Just("hello"),
    ];
    (wire, words, any::<u8>(), 0..9u8).prop_map(|(wire, words, n, which)| match which {
        0 => event_frame(wire, id(n)).to_string(),
        1 => json!(["EOSE", wire]).to_string(),
        2 => json!(["CLOSED", wire, words]).to_string(),
        3 => json!(["NEG-MSG", wire, format!("61{n:02x}")]).to_string(),
        4 => json!(["NEG-ERR", wire, words, n]).to_string(),
        5 => json!(["NOTICE", words]).to_string(),
        6 => json!(["OK", id(n).to_hex(), n % 2 == 0, words]).to_string(),
        7 => json!(["AUTH", words]).to_string(),
        _ => words.to_owned(),
    })
}

proptest! {
    /// Whatever comes in whatever order: no panic, and every batch ends within bounded time after the relay falls silent.
    #[test]
    fn every_batch_ends(frames in proptest::collection::vec(hostile_frame(), 0..60), alone: bool) {
        let neg = vec![vec![neg_open(1)], vec![need(vec![id(1), id(2)])], vec![Output::Have(vec![id(3)]), done()]];
        let neg = Scripted::with("negentropy", true, alone, vec![neg]);
        let req = Scripted::new("req", vec![vec![vec![req(1)], vec![], vec![done()]]]);
        let mut bench = Bench::with(vec![neg, req], RelayProfile::default(), Direction::Both);
        bench.batch(1, vec![Filter::new(), Filter::new()]);
        for frame in frames {
            bench.raw(frame);
            bench.pass(100);
        }
        // The scripts have no timeouts of their own: a silent relay is then a lost connection.
        bench.pass(3_600_000);
        bench.link.lost("gone", &bench.local, bench.now);
        while let Some(output) = bench.link.poll() {
            if let LinkOutput::BatchDone(report) = output {
                bench.reports.push(*report);
            }
        }
        prop_assert_eq!(bench.reports.len(), 1);
    }
}
