//! What is told of each question of a session, and who stands around its work.

use std::sync::{Arc, Mutex};

use nostr::filter::Filter;
use serde_json::json;
use sync_core::link::{AnswerEnd, Asked, LinkCommand, LinkNotice, Surround};
use sync_core::model::BatchId;
use sync_core::strategy::{Message, Output};

use super::{Bench, Scripted, done, event_frame, id, need, neg_open, req, text};

/// What was told of questions, in order: those that went out with their session, those that ended with what came.
fn told(bench: &Bench) -> Vec<String> {
    let told = bench.notices.iter().filter_map(|notice| match notice {
        LinkNotice::Asked { batch, session, question, kind } => {
            Some(format!("{question} of {session} in {batch}: {kind:?}"))
        }
        LinkNotice::Answered { question, received, end, .. } => Some(format!("{question} {end:?}, {received} events")),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_page_counts_what_came_by_it() {
    let mut bench = Bench::new(vec![Scripted::new("req", vec![vec![vec![req(1)], vec![], vec![], vec![done()]]])]);
    bench.batch(1, vec![Filter::new()]);
    let wire = text(&bench.take_sent()[0][1]);
    bench.relay_says(event_frame(&wire, id(1)));
    bench.relay_says(event_frame(&wire, id(2)));
    bench.relay_says(json!(["EOSE", wire]));
    assert_eq!(told(&bench), ["1 of 1 in 1: Page", "1 Whole, 2 events"]);
}

#[test]
fn each_message_of_a_reconciliation_is_a_round_and_a_request_by_id_belongs_to_the_session_that_named_the_ids() {
    let next = Output::Send(Message::NegMsg { sub: 1, payload: vec![0x61] });
    let script = vec![vec![neg_open(1)], vec![next], vec![need(vec![id(1), id(2)]), done()]];
    let mut bench = Bench::new(vec![Scripted::new("negentropy", vec![script])]);
    bench.batch(7, vec![Filter::new()]);
    let wire = text(&bench.take_sent()[0][1]);
    bench.relay_says(json!(["NEG-MSG", wire, "61"]));
    bench.relay_says(json!(["NEG-MSG", wire, "61"]));
    let (fetch, ids) = Bench::fetches(&bench.take_sent()).remove(0);
    assert_eq!(ids.len(), 2);
    bench.relay_says(event_frame(&fetch, id(1)));
    bench.relay_says(json!(["CLOSED", fetch, "error: busy"]));
    let told = told(&bench);
    assert_eq!(
        told[..6],
        [
            "1 of 1 in 7: Round",
            "1 Whole, 0 events",
            "2 of 1 in 7: Round",
            "2 Whole, 0 events",
            "3 of 1 in 7: Ids(2)",
            "3 Broken(\"error: busy\"), 1 events",
        ]
    );
    assert_eq!(told[6], "4 of 1 in 7: Ids(1)", "what didn't come is asked for again: {told:?}");
}

#[test]
fn a_notice_in_the_place_of_an_answer_ends_the_question_by_its_words() {
    let script = vec![vec![neg_open(1)], vec![need(vec![id(1)]), done()]];
    let mut bench = Bench::new(vec![Scripted::new("negentropy", vec![script])]);
    bench.batch(7, vec![Filter::new()]);
    let wire = text(&bench.take_sent()[0][1]);
    bench.relay_says(json!(["NEG-MSG", wire, "61"]));
    bench.relay_says(json!(["NOTICE", "error: could not read the database"]));
    let told = told(&bench);
    assert_eq!(told[3], "2 Broken(\"error: could not read the database\"), 0 events", "{told:?}");
}

#[test]
fn a_question_that_is_open_when_its_batch_is_given_up_was_taken_back() {
    let mut bench = Bench::new(vec![Scripted::new("req", vec![vec![vec![req(1)]]])]);
    bench.batch(1, vec![Filter::new()]);
    bench.command(LinkCommand::Cancel(1));
    let last = bench.notices.last();
    assert!(matches!(last, Some(LinkNotice::Answered { end: AnswerEnd::TakenBack, .. })), "{last:?}");
}

#[test]
fn every_question_is_asked_once_and_answered_once() {
    let mut bench = Bench::new(vec![Scripted::new("req", vec![vec![vec![req(1), req(2)], vec![], vec![done()]]])]);
    bench.batch(1, vec![Filter::new()]);
    let wires: Vec<String> = bench.take_sent().iter().map(|frame| text(&frame[1])).collect();
    bench.relay_says(json!(["EOSE", wires[1]]));
    bench.relay_says(json!(["EOSE", wires[1]]));
    bench.relay_says(json!(["CLOSED", wires[0], ""]));
    let (mut asked, mut answered) = (Vec::new(), Vec::new());
    for notice in &bench.notices {
        match notice {
            LinkNotice::Asked { question, kind, .. } => {
                assert_eq!(*kind, Asked::Page);
                asked.push(*question);
            }
            LinkNotice::Answered { question, .. } => answered.push(*question),
            _ => {}
        }
    }
    answered.sort_unstable();
    assert_eq!((asked, answered), (vec![1, 2], vec![1, 2]));
}

#[derive(Default)]
struct Witness {
    seen: Mutex<Vec<(BatchId, u64)>>,
    works: bool,
}

impl Surround for Witness {
    fn around(&self, batch: BatchId, session: u64, work: &mut dyn FnMut()) {
        self.seen.lock().expect("lock").push((batch, session));
        if self.works {
            work();
            // Once is enough, whatever is called.
            work();
        }
    }
}

#[test]
fn whoever_stands_around_a_session_sees_each_of_its_turns_and_cannot_keep_it_from_them() {
    for works in [true, false] {
        let script = vec![vec![req(1)], vec![done()]];
        let mut bench = Bench::new(vec![Scripted::new("req", vec![script])]);
        let witness = Arc::new(Witness { works, ..Witness::default() });
        bench.link.surround(Arc::clone(&witness) as Arc<dyn Surround>);
        bench.batch(5, vec![Filter::new()]);
        let wire = text(&bench.take_sent()[0][1]);
        bench.relay_says(json!(["EOSE", wire]));
        assert_eq!(*witness.seen.lock().expect("lock"), [(5, 1), (5, 1)]);
        assert_eq!(bench.reports.len(), 1, "the session has ended, and its batch");
    }
}
