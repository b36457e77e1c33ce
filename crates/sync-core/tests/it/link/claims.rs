//! What a strategy may claim, however wild: nothing of it breaks the link or keeps it busy.

use std::sync::atomic::{AtomicU64, Ordering};

use nostr::event::Kind;
use serde_json::json;
use sync_core::model::BatchOutcome;

use super::*;

/// What is asked for here: all of time, up to what the store would take.
const ALL: Window = Window { since: 0, until: 1_700_000_900 };

#[test]
fn as_many_shared_items_as_there_are_numbers_are_no_overflow() {
    let claims = vec![Output::Shared { count: u64::MAX, oldest: None }, need(vec![id(1)]), done()];
    let mut bench = Bench::new(vec![Scripted::new("s", vec![vec![claims]])]);
    bench.batch(1, vec![Filter::new()]);
    let (wire, _) = Bench::fetches(&bench.take_sent()).remove(0);
    bench.relay_says(event_frame(&wire, id(1)));
    bench.relay_says(json!(["EOSE", wire]));
    assert_eq!(bench.reports.len(), 1);
}

/// Counts how often it is asked.
#[derive(Default)]
struct Asked(AtomicU64);

impl LocalSets for Asked {
    fn view<'a>(&'a self, _: &Filter, _: Window, _: &RelayUrl) -> Box<dyn SetView + 'a> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::new(VecSet::default())
    }

    fn known(&self, ids: &[EventId]) -> Result<Vec<Option<KnownEvent>>, StoreError> {
        Ok(vec![None; ids.len()])
    }

    fn event(&self, _: &EventId) -> Result<Option<Event>, StoreError> {
        Ok(None)
    }
}

/// What becomes of one batch whose only session yields these, and how often the store was asked for it.
fn alone(filter: Filter, outputs: Vec<Output>) -> (BatchReport, u64) {
    let mut bench = Bench::new(vec![Scripted::new("s", vec![vec![outputs]])]);
    let asked = Asked::default();
    let command = LinkCommand::Batch(BatchRequest {
        id: 1,
        reason: BatchReason::NewItems,
        layer: Layer::Repositories,
        filters: vec![filter],
        items: PendingItems::default(),
        caused_by: None,
        reads: false,
        run_since: None,
    });
    bench.link.command(command, &asked, bench.now);
    bench.drain();
    assert_eq!(bench.reports.len(), 1, "it ends at once");
    (bench.reports.remove(0), asked.0.into_inner())
}

fn dense(second: u64, certain: bool) -> Output {
    Output::Dense { second, shown: 5, certain }
}

#[test]
fn a_hundred_thousand_dense_seconds_are_looked_up_as_far_as_they_may_be_asked_for() {
    let named = (0..100_000).map(|second| dense(second, false)).chain([done()]).collect();
    let (report, asked) = alone(Filter::new(), named);
    assert!(asked <= 1_100, "the store was asked {asked} times");
    let BatchOutcome::Failed(failures) = &report.outcome else { panic!("they were not all looked at") };
    assert!(failures.iter().any(|failure| failure.text.contains("99000 more seconds")), "{failures:?}");
}

#[test]
fn dense_seconds_of_which_nothing_narrower_can_be_asked_are_not_looked_up() {
    let named = (0..3_000).map(|second| dense(second, false)).chain([Output::Drained(ALL), done()]).collect();
    let filter = Filter::new().kind(Kind::from_u16(1)).author(PublicKey::from_byte_array([1; 32]));
    let (report, asked) = alone(filter, named);
    assert_eq!((report.outcome, asked), (BatchOutcome::Confirmed, 0));
}

#[test]
fn what_is_drained_is_not_dense() {
    let mut named: Vec<Output> = (0..100_000).map(|second| dense(second, true)).collect();
    named.extend((1..100_000).map(|second| Output::Drained(Window { since: second, until: second })));
    // Named again, as what it is.
    named.extend([dense(0, false), Output::Drained(ALL), dense(7, false), done()]);
    let (report, asked) = alone(Filter::new(), named);
    assert_eq!((report.outcome, asked), (BatchOutcome::Confirmed, 1));
}

#[test]
fn of_a_second_outside_its_window_a_session_knows_nothing() {
    let named = vec![dense(ALL.until + 1, true), Output::Drained(ALL), done()];
    let (report, asked) = alone(Filter::new(), named);
    assert_eq!((report.outcome, asked), (BatchOutcome::Confirmed, 0));
}

/// Says at the end of the connection what it has drained, and that it can't go on.
struct LastWords(StrategyDescriptor);

impl SyncStrategy for LastWords {
    fn descriptor(&self) -> &StrategyDescriptor {
        &self.0
    }

    fn hints(&self) -> SessionHints {
        SessionHints { concurrency: 1, fetch_chunk: 3, answer_timeout_ms: 30_000 }
    }

    fn suits(&self, _: &RelayProfile, _: &Filter) -> Suitability {
        Suitability::Suits
    }

    fn open(&self, _: SessionRequest) -> Box<dyn SyncSession> {
        Box::new(Last(VecDeque::new()))
    }
}

struct Last(VecDeque<Output>);

impl SyncSession for Last {
    fn handle(&mut self, input: Input<'_>, _: &dyn SetView, _: Now) -> Result<(), ProtocolError> {
        match input {
            Input::ConnectionLost => {
                self.0.push_back(Output::Drained(Window { since: 500, until: ALL.until }));
                Err(ProtocolError("half an answer".to_owned()))
            }
            _ => {
                self.0.push_back(req(1));
                Ok(())
            }
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.0.pop_front()
    }

    fn next_timeout(&self) -> Option<(MonoMillis, &'static str)> {
        None
    }
}

#[test]
fn what_a_session_has_drained_stands_though_it_fails_as_the_connection_ends() {
    let (name, version) = (SyncMethod::new("last"), "1".to_owned());
    let descriptor = StrategyDescriptor { name, version, compares_sets: false, probes_alone: false };
    let mut bench = Bench::new(vec![Arc::new(LastWords(descriptor))]);
    bench.batch(1, vec![Filter::new()]);
    bench.link.lost("reset by peer", &bench.local, bench.now);
    bench.drain();
    assert_eq!(bench.reports[0].coverage[0].drained, [Window { since: 500, until: ALL.until }]);
    let told = |notice: &LinkNotice| matches!(notice, LinkNotice::SessionEnded { outcome, .. } if outcome == "failed: half an answer");
    assert!(bench.notices.iter().any(told), "{:?}", bench.notices);
}
