//! What the outbox hands over for the own relay.

use serde_json::json;
use sync_core::store::OwnAnswer;

use super::*;

fn own_relay(profile: RelayProfile) -> Bench {
    Bench::with(vec![Scripted::new("s", Vec::new())], profile, Direction::Down)
}

impl Bench {
    fn publish(&mut self, event: Event) {
        self.link.publish(event, &self.local, self.now);
        self.drain();
    }

    fn lose(&mut self) {
        self.link.lost("reset", &self.local, self.now);
        self.drain();
    }
}

fn published(sent: &[Value]) -> Vec<String> {
    sent.iter().filter(|frame| frame[0] == "EVENT").map(|frame| text(&frame[1]["id"])).collect()
}

fn ok(event: &Event, accepted: bool, words: &str) -> Value {
    json!(["OK", event.id.to_hex(), accepted, words])
}

#[test]
fn several_are_in_flight_and_each_has_its_answer() {
    let mut bench = own_relay(RelayProfile::default());
    let events = [note(1), note(2)];
    events.iter().for_each(|event| bench.publish(event.clone()));
    bench.publish(events[0].clone());
    assert_eq!(published(&bench.take_sent()), events.each_ref().map(|event| event.id.to_hex()), "each once");
    bench.relay_says(ok(&events[1], true, ""));
    bench.relay_says(ok(&events[1], true, ""));
    bench.relay_says(ok(&note(3), true, ""));
    assert_eq!(bench.verdicts, [OwnVerdict { id: events[1].id, answer: OwnAnswer::Has }], "nothing that wasn't asked");
    bench.relay_says(ok(&events[0], false, "blocked: no"));
    let never = OwnAnswer::Never { text: "blocked: no".to_owned() };
    assert_eq!(bench.verdicts[1], OwnVerdict { id: events[0].id, answer: never });
}

#[test]
fn what_is_sent_first_and_never_answered_does_not_come_first_again() {
    let mut bench = own_relay(RelayProfile::default());
    // Not in the order of their ids.
    let mut events = [note(1), note(2), note(3)];
    events.sort_by_key(|event| std::cmp::Reverse(event.id));
    events.iter().for_each(|event| bench.publish(event.clone()));
    bench.relay_says(ok(&events[0], true, ""));
    bench.lose();
    assert_eq!(bench.verdicts.len(), 2, "{:?}", bench.verdicts);
    assert_eq!(bench.verdicts[1].id, events[1].id);
    assert!(matches!(bench.verdicts[1].answer, OwnAnswer::Later { .. }));
}

#[test]
fn what_the_relay_says_that_it_does_not_read_is_not_sent() {
    let mut bench = own_relay(RelayProfile { max_message_length: Some(100), ..RelayProfile::default() });
    bench.publish(note(1));
    assert!(published(&bench.take_sent()).is_empty());
    assert!(matches!(&bench.verdicts[0].answer, OwnAnswer::Never { text } if text.contains("it reads 100")));
}

#[test]
fn room_comes_back_with_answers_alone() {
    let mut bench = own_relay(RelayProfile::default());
    let room = bench.link.publish_room();
    bench.publish(note(1));
    assert_eq!(bench.link.publish_room(), room - 1);
    bench.pass(60_000);
    assert!(matches!(bench.verdicts[0].answer, OwnAnswer::Later { .. }), "it was not answered in time");
    assert_eq!(bench.link.publish_room(), room);
}
