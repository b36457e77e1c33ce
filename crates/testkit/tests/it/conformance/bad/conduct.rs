//! Those that do what isn't done: send what isn't allowed, never end, look at clocks, share what isn't theirs.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use sync_core::Now;
use sync_core::nostr::filter::Filter;
use sync_core::strategy::{Input, KeyRange, Message, Output, SetView, SyncStrategy};

use super::{Bend, COUNTER, bad};

type Out = VecDeque<Output>;
type Deadline = Option<(u64, &'static str)>;

/// Asks for all of time.
#[derive(Default)]
struct Wide;
impl Bend for Wide {
    fn yields(&mut self, output: Output, out: &mut Out) {
        out.push_back(match output {
            Output::Send(Message::Req { sub, mut filter }) => {
                (filter.since, filter.until) = (None, None);
                Output::Send(Message::Req { sub, filter })
            }
            other => other,
        });
    }
}

/// Asks for all kinds, of everybody.
#[derive(Default)]
struct Wider;
impl Bend for Wider {
    fn yields(&mut self, output: Output, out: &mut Out) {
        out.push_back(match output {
            Output::Send(Message::Req { sub, filter }) => {
                let filter = Filter { since: filter.since, until: filter.until, limit: filter.limit, ..Filter::new() };
                Output::Send(Message::Req { sub, filter: Box::new(filter) })
            }
            other => other,
        });
    }
}

/// Has one number for all questions, and never closes them.
#[derive(Default)]
struct OneNumber;
impl Bend for OneNumber {
    fn yields(&mut self, output: Output, out: &mut Out) {
        match output {
            Output::Send(Message::Close { .. }) => {}
            Output::Send(Message::Req { filter, .. }) => out.push_back(Output::Send(Message::Req { sub: 0, filter })),
            other => out.push_back(other),
        }
    }
}

/// Closes whatever a page ends of.
#[derive(Default)]
struct ClosesAnything;
impl Bend for ClosesAnything {
    fn given(&mut self, input: &Input<'_>, _: &dyn SetView, _: Now, out: &mut Out) -> bool {
        if let Input::Closed { sub, .. } = input {
            out.push_back(Output::Send(Message::Close { sub: *sub }));
        }
        true
    }
}

/// Counts with all other sessions together.
#[derive(Default)]
struct Counts;
impl Bend for Counts {
    fn yields(&mut self, output: Output, out: &mut Out) {
        out.push_back(match output {
            Output::Progress { .. } => Output::Progress { items: COUNTER.fetch_add(1, Ordering::Relaxed) },
            other => other,
        });
    }
}

fn system_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Has deadlines by a clock of its own, not far off.
#[derive(Default)]
struct OwnClock;
impl Bend for OwnClock {
    fn deadline(&self, deadline: Deadline) -> Deadline {
        deadline.map(|(at, what)| (at + system_ms() % 7, what))
    }
}

/// Tells the seconds of a clock of its own.
#[derive(Default)]
struct OwnSeconds;
impl Bend for OwnSeconds {
    fn yields(&mut self, output: Output, out: &mut Out) {
        out.push_back(match output {
            Output::Progress { .. } => Output::Progress { items: system_ms() / 1_000 },
            other => other,
        });
    }
}

/// Takes the clock's origin for something.
#[derive(Default)]
struct Absolute;
impl Bend for Absolute {
    fn deadline(&self, deadline: Deadline) -> Deadline {
        deadline.map(|(at, what)| (at.div_ceil(60_000) * 60_000, what))
    }
}

/// Has no deadlines.
#[derive(Default)]
struct Trusting;
impl Bend for Trusting {
    fn deadline(&self, _: Deadline) -> Deadline {
        None
    }
}

/// Waits as long as it takes.
#[derive(Default)]
struct Patient {
    until: Option<u64>,
}
impl Bend for Patient {
    fn given(&mut self, input: &Input<'_>, _: &dyn SetView, now: Now, _: &mut Out) -> bool {
        let waits = matches!(input, Input::Timeout);
        self.until = waits.then(|| now.mono_ms + 30_000);
        !waits
    }

    fn deadline(&self, deadline: Deadline) -> Deadline {
        deadline.map(|(at, what)| (self.until.map_or(at, |until| until.max(at)), what))
    }
}

/// Does nothing about a deadline.
#[derive(Default)]
struct Deaf;
impl Bend for Deaf {
    fn given(&mut self, input: &Input<'_>, _: &dyn SetView, _: Now, _: &mut Out) -> bool {
        !matches!(input, Input::Timeout)
    }
}

/// Asks the same again after each page.
#[derive(Default)]
struct AsksForEver {
    asked: Option<Box<Filter>>,
    until: u64,
}
impl Bend for AsksForEver {
    fn given(&mut self, input: &Input<'_>, _: &dyn SetView, now: Now, out: &mut Out) -> bool {
        self.until = now.mono_ms + 30_000;
        if let (Input::Eose { sub, .. }, Some(filter)) = (input, &self.asked) {
            let filter = filter.clone();
            out.push_back(Output::Send(Message::Close { sub: *sub }));
            out.push_back(Output::Send(Message::Req { sub: *sub, filter }));
            return false;
        }
        true
    }

    fn deadline(&self, deadline: Deadline) -> Deadline {
        deadline.map(|(_, what)| (self.until, what))
    }

    fn yields(&mut self, output: Output, out: &mut Out) {
        if let Output::Send(Message::Req { filter, .. }) = &output {
            self.asked = Some(filter.clone());
        }
        out.push_back(output);
    }
}

/// Says much.
#[derive(Default)]
struct Floods;
impl Bend for Floods {
    fn given(&mut self, input: &Input<'_>, _: &dyn SetView, _: Now, out: &mut Out) -> bool {
        if matches!(input, Input::Event { .. }) {
            out.extend((0..5_000).map(|items| Output::Progress { items }));
        }
        true
    }
}

/// Remembers too much.
#[derive(Default)]
struct Hoards;
impl Bend for Hoards {
    fn given(&mut self, input: &Input<'_>, _: &dyn SetView, _: Now, out: &mut Out) -> bool {
        if matches!(input, Input::Start) {
            out.push_back(Output::Remember(vec![0; 100_000]));
        }
        true
    }
}

/// Takes for granted that it is asked about what it opened.
#[derive(Default)]
struct PanicsOnGarbage;
impl Bend for PanicsOnGarbage {
    fn given(&mut self, input: &Input<'_>, _: &dyn SetView, _: Now, _: &mut Out) -> bool {
        assert!(!matches!(input, Input::NegMsg { .. }), "no reconciliation is open");
        true
    }
}

/// Reads the whole set for every event, a hundred times.
#[derive(Default)]
struct ReadsAgain;
impl Bend for ReadsAgain {
    fn given(&mut self, input: &Input<'_>, local: &dyn SetView, _: Now, _: &mut Out) -> bool {
        if matches!(input, Input::Event { .. }) {
            for _ in 0..200 {
                local.items(KeyRange::ALL, &mut |_| ControlFlow::Continue(()));
            }
        }
        true
    }
}

/// Counts on the set to stay what it is.
#[derive(Default)]
struct TrustsTheSet {
    count: Option<u64>,
}
impl Bend for TrustsTheSet {
    fn given(&mut self, _: &Input<'_>, local: &dyn SetView, _: Now, _: &mut Out) -> bool {
        let count = local.count(KeyRange::ALL);
        assert_eq!(*self.count.get_or_insert(count), count, "the set is what it was");
        true
    }
}

pub(super) fn all() -> Vec<(Arc<dyn SyncStrategy>, &'static str)> {
    vec![
        (bad::<Wide>(), "messages"),
        (bad::<Wider>(), "messages"),
        (bad::<OneNumber>(), "messages"),
        (bad::<ClosesAnything>(), "messages"),
        (bad::<ClosesAnything>(), "garbage-messages"),
        (bad::<Counts>(), "same"),
        (bad::<OwnClock>(), "time"),
        (bad::<OwnSeconds>(), "time"),
        (bad::<Absolute>(), "time"),
        (bad::<Trusting>(), "measured"),
        (bad::<Patient>(), "refusals"),
        (bad::<Patient>(), "endless"),
        (bad::<Deaf>(), "endless"),
        (bad::<AsksForEver>(), "measured"),
        (bad::<AsksForEver>(), "endless"),
        (bad::<Floods>(), "measured"),
        (bad::<Hoards>(), "measured"),
        (bad::<PanicsOnGarbage>(), "garbage"),
        (bad::<ReadsAgain>(), "views"),
        (bad::<TrustsTheSet>(), "views"),
    ]
}
