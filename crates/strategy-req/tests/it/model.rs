//! Against a model of a relay, whatever it holds and however it answers: what wasn't delivered is named, what is
//! claimed was delivered, and lost connections only make it longer.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::json;
use sync_core::model::FailureReason;
use sync_core::nostr::event::EventId;
use sync_core::strategy::{BadEvent, Direction, ItemKey, SessionOutcome, VecSet, Window};
use sync_core::time::Jitter;

use crate::harness::{Asked, End, Order, Relay, Sent, Told, covers, drive, id_of, item, open, request};

/// How a relay's events lie in time.
#[derive(Debug, Clone, Copy)]
enum Lie {
    Nothing,
    Uniform,
    Bursts,
    OneDense,
    AllEqual,
}

fn events(lie: Lie, count: u64, seed: u64) -> Vec<ItemKey> {
    let mut random = Jitter::new(seed);
    let at = |random: &mut Jitter| match lie {
        Lie::OneDense if random.between(0, 3) > 0 => 700,
        Lie::AllEqual => 700,
        Lie::Bursts => random.between(0, 12) * 100 + random.between(0, 2),
        _ => random.between(0, 1_500),
    };
    let count = if matches!(lie, Lie::Nothing) { 0 } else { count };
    (0..count).map(|number| item(at(&mut random), number)).collect()
}

/// A model relay, and what a session is opened with.
#[derive(Debug, Clone)]
struct Case {
    relay: Relay,
    /// `limit` is no limit to it: it sends all that it may.
    ignores_limit: bool,
    /// What NIP-11 says beyond the truth.
    boasts: Option<usize>,
    page_size: usize,
    /// Invalid events before every page.
    junk: usize,
}

impl Case {
    fn answer(&self, asked: Asked) -> Vec<Sent> {
        let limit = if self.ignores_limit { usize::MAX } else { asked.limit };
        [vec![Sent::Bad(BadEvent::WrongId); self.junk], self.relay.answer(Asked { limit, ..asked })].concat()
    }

    fn request(&self, drained: Vec<Window>, remembered: Vec<u8>) -> sync_core::strategy::SessionRequest {
        let mut request = request(Direction::Down);
        request.profile.max_limit = self.boasts.map(|more| self.relay.cap.saturating_add(more));
        sync_core::strategy::SessionRequest { drained, remembered, ..request }
    }

    fn run(&self, drained: Vec<Window>, remembered: Vec<u8>, answer: impl FnMut(Asked) -> Vec<Sent>) -> Told {
        let mut session = open(json!({ "page_size": self.page_size }), self.request(drained, remembered));
        drive(&mut *session, &VecSet::default(), answer)
    }

    /// What must hold once everything is told that is going to be.
    fn check(&self, delivered: &BTreeSet<EventId>, drained: &[Window], dense: &BTreeMap<u64, u64>) {
        for event in &self.relay.events {
            let second = event.created_at;
            let shown = delivered.contains(&id_of(event));
            assert!(shown || dense.contains_key(&second), "second {second} lacks an event and isn't dense");
            assert!(shown || !drained.iter().any(|window| window.contains(second)), "second {second} is claimed");
        }
        let named = dense.keys().map(|second| Window { since: *second, until: *second });
        let told: Vec<_> = drained.iter().copied().chain(named).collect();
        assert!(covers(told, request(Direction::Down).window), "drained {drained:?}, dense {dense:?}");
    }
}

fn case() -> impl Strategy<Value = Case> {
    let lies = prop::sample::select(vec![Lie::Nothing, Lie::Uniform, Lie::Bursts, Lie::OneDense, Lie::AllEqual]);
    let orders = prop::sample::select(vec![Order::NewestFirst, Order::Shuffled, Order::OldestFirst]);
    let ends = prop::sample::select(vec![End::Eose, End::EoseTwice, End::Closed, End::Hint]);
    let caps = prop_oneof![4 => 2..40usize, 1 => Just(usize::MAX)];
    let shape = (lies, 0..120u64, any::<u64>(), caps, orders, ends);
    let rest = (prop::bool::weighted(0.1), prop::option::of(0..30usize), 1..60usize, 0..3usize);
    (shape, rest).prop_map(|((lie, count, seed, cap, order, end), (ignores_limit, boasts, page_size, junk))| {
        let mut events = events(lie, count, seed);
        // A cap is told by what is beyond a page. One that is neither told nor reached is no cap at all.
        events.extend((0..2 * cap.min(40) as u64 + 2).map(|number| item(5_000 + number, 1_000_000 + number)));
        let relay = Relay { events, cap, order, end };
        // A page of nothing but invalid events is a failure of its own.
        let asked = boasts.map_or(page_size, |more| page_size.min(cap.saturating_add(more)));
        let junk = junk.min(asked - 1);
        Case { relay, ignores_limit, boasts, page_size, junk }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_not_delivered_is_named_and_not_claimed(case in case()) {
        let told = case.run(Vec::new(), Vec::new(), |asked| case.answer(asked));
        prop_assert_eq!(&told.outcome, &Some(SessionOutcome::Complete));
        case.check(&told.delivered, &told.drained, &told.dense);
    }

    #[test]
    fn lost_connections_make_it_longer_and_no_worse(
        case in case(),
        every in 3..60u64,
        seed in any::<u64>(),
    ) {
        let mut case = Case { ignores_limit: false, junk: 0, ..case };
        if case.relay.cap < case.page_size && case.relay.end != End::Hint {
            // What is left to the last session may lie in one second: nothing tells a cap then but the relay's word.
            case.boasts = Some(0);
        }
        lost(&case, every, seed);
    }
}

/// Reads what `case` holds over connections that break after 3 to `every` frames.
fn lost(case: &Case, every: u64, seed: u64) {
    let mut random = Jitter::new(seed);
    let (mut delivered, mut drained, mut dense, mut remembered) =
        (BTreeSet::new(), Vec::new(), BTreeMap::new(), Vec::new());
    for connection in 0.. {
        assert!(connection < 2_000, "doesn't end");
        let mut left = random.between(3, every);
        // What is dense is the engine's to ask for by narrower filters.
        let named = dense.keys().map(|second| Window { since: *second, until: *second });
        let done: Vec<_> = drained.iter().copied().chain(named).collect();
        let told = case.run(done, remembered.clone(), |asked| {
            let mut sent = case.answer(asked);
            if sent.len() as u64 > left {
                sent.truncate(left as usize);
                sent.push(Sent::Break);
            }
            left = left.saturating_sub(sent.len() as u64);
            sent
        });
        delivered.extend(told.delivered);
        drained.extend(told.drained);
        for (second, shown) in told.dense {
            assert_eq!(dense.insert(second, shown), None, "second {} is read again", second);
        }
        remembered = told.remembered.unwrap_or(remembered);
        match told.outcome {
            Some(SessionOutcome::Complete) => break,
            Some(SessionOutcome::Failed { reason: FailureReason::ConnectionLost, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    case.check(&delivered, &drained, &dense);
}
