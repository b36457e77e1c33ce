//! A relay that is a list of events, and what a session made of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Local;
use crate::ffi::{Id, Item, Window};
use crate::plugin::{Direction, Filter, Input, Outcome, Output, Profile, Request, Session, Verdict};

/// When sessions in tests begin, unix time.
pub const NOW: u64 = 2_000_000_000;
/// Questions that a session may ask.
const MAX_QUESTIONS: u32 = 200_000;

/// What a session is opened with: any event of `window`, from the relay to us.
pub fn request(window: Window) -> Request {
    Request {
        filter: Filter { json: "{}".to_owned(), ..Filter::default() },
        window,
        drained: Vec::new(),
        remembered: Vec::new(),
        profile: Profile::default(),
        direction: Direction::Down,
        proven: false,
        seed: 1,
    }
}

/// A relay that answers any REQ with the newest events of its window, `cap` at most, and doesn't say so.
#[derive(Debug, Clone)]
pub struct Relay {
    /// All that it has.
    pub events: Vec<Item>,
    /// How many of them it shows at once.
    pub cap: usize,
}

/// What a session said, and was shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// What it was shown.
    pub shown: BTreeSet<Item>,
    /// What it claims to have been shown whole.
    pub drained: Vec<Window>,
    /// Seconds that it named as dense, and whether it was certain.
    pub dense: BTreeMap<u64, bool>,
    /// What it has and the relay, as it says, has not.
    pub have: BTreeSet<Id>,
    /// How often it asked.
    pub questions: u32,
    /// How it ended.
    pub outcome: Option<Outcome>,
}

impl Relay {
    /// Runs a session against it, to its end.
    ///
    /// # Panics
    /// The session fails, asks for what this relay doesn't know, waits without a deadline, or doesn't end.
    pub fn read(&self, session: &mut impl Session, local: &Local) -> Told {
        let mut told = Told::default();
        let mut inputs = VecDeque::from([Input::Start]);
        let mut mono_ms = 0;
        while told.outcome.is_none() {
            let input =
                inputs.pop_front().unwrap_or_else(|| panic!("it waits, and the relay has nothing to say: {told:?}"));
            if let Input::Event { id, created_at, .. } = input {
                told.shown.insert(Item { created_at, id });
            }
            mono_ms += 1;
            let handled = local.with(|set| session.handle(input, set, mono_ms, NOW));
            handled.unwrap_or_else(|reason| panic!("it fails: {reason}"));
            while let Some(output) = session.poll() {
                self.take(output, &mut told, &mut inputs);
            }
            assert!(inputs.is_empty() || session.next_timeout().is_some(), "it waits without a deadline");
        }
        told
    }

    fn take(&self, output: Output, told: &mut Told, inputs: &mut VecDeque<Input<'static>>) {
        assert_eq!(told.outcome, None, "it goes on after its end: {output:?}");
        match output {
            Output::Req { sub, narrow, limit } => {
                told.questions += 1;
                assert!(told.questions <= MAX_QUESTIONS, "it doesn't end");
                let mut page: Vec<_> =
                    self.events.iter().filter(|event| narrow.window.contains(event.created_at)).collect();
                page.sort_unstable_by_key(|event| (std::cmp::Reverse(event.created_at), event.id));
                page.truncate(
                    self.cap.min(usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX)),
                );
                inputs.extend(page.into_iter().map(|&Item { created_at, id }| Input::Event {
                    sub,
                    id,
                    created_at,
                    verdict: Verdict::New,
                }));
                inputs.push_back(Input::Eose { sub, finished: None });
            }
            Output::Drained(window) => told.drained.push(window),
            Output::Dense { second, certain, .. } => {
                told.dense.insert(second, certain);
            }
            Output::Have(ids) => told.have.extend(ids),
            Output::Done(outcome) => told.outcome = Some(outcome),
            Output::Close { .. } | Output::Progress(_) | Output::Remember(_) => {}
            other => panic!("this relay knows REQ alone: {other:?}"),
        }
    }
}

impl Told {
    /// Whether the session is at odds with what `relay` has: what it claims must have been shown, and where it is complete,
    /// what wasn't shown must be named as dense.
    pub fn lie(&self, relay: &Relay) -> Option<String> {
        let hidden = relay.events.iter().filter(|event| !self.shown.contains(event)).map(|event| event.created_at);
        hidden.into_iter().find_map(|second| {
            let claimed = self.drained.iter().any(|window| window.contains(second));
            let silent = self.outcome == Some(Outcome::Complete) && !self.dense.contains_key(&second);
            (claimed || silent).then(|| format!("second {second} was not shown whole (claimed: {claimed})"))
        })
    }
}
