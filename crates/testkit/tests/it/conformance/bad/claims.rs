//! Those that say what isn't so.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use sync_core::Now;
use sync_core::model::FailureReason;
use sync_core::nostr::event::EventId;
use sync_core::strategy::{
    CheckVerdict, Input, KeyRange, Message, Output, SessionOutcome, SessionRequest, SetView, SyncStrategy, Window,
};

use super::{Bend, bad};

type Out = VecDeque<Output>;

/// Complete, and nothing was asked.
#[derive(Default)]
struct Lazy;
impl Bend for Lazy {
    fn given(&mut self, input: &Input<'_>, _: &dyn SetView, _: Now, out: &mut Out) -> bool {
        if matches!(input, Input::Start) {
            out.push_back(Output::Done(SessionOutcome::Complete));
        }
        false
    }
}

/// Takes the first page for all.
#[derive(Default)]
pub(super) struct OnePage {
    over: bool,
}
impl Bend for OnePage {
    fn given(&mut self, input: &Input<'_>, _: &dyn SetView, _: Now, out: &mut Out) -> bool {
        if let Input::Eose { sub, .. } = input
            && !self.over
        {
            self.over = true;
            out.extend([Output::Send(Message::Close { sub: *sub }), Output::Done(SessionOutcome::Complete)]);
        }
        !self.over
    }

    fn deadline(&self, deadline: Option<(u64, &'static str)>) -> Option<(u64, &'static str)> {
        deadline.filter(|_| !self.over)
    }
}

/// Takes the first page for all, and leaves the rest to nobody.
#[derive(Default)]
struct OnePageThroughLink(OnePage);
impl Bend for OnePageThroughLink {
    fn given(&mut self, input: &Input<'_>, local: &dyn SetView, now: Now, out: &mut Out) -> bool {
        self.0.given(input, local, now, out)
    }

    fn deadline(&self, deadline: Option<(u64, &'static str)>) -> Option<(u64, &'static str)> {
        self.0.deadline(deadline)
    }
}

/// Says nothing of seconds that are too dense.
#[derive(Default)]
struct HidesDense;
impl Bend for HidesDense {
    fn yields(&mut self, output: Output, out: &mut Out) {
        if !matches!(output, Output::Dense { .. }) {
            out.push_back(output);
        }
    }
}

/// Claims all that it asks for when it asks.
#[derive(Default)]
struct ClaimsEarly {
    window: Option<Window>,
}
impl Bend for ClaimsEarly {
    fn opened(&mut self, request: &mut SessionRequest) {
        self.window = Some(request.window);
    }

    fn after(&mut self, input: &Input<'_>, now: Now, out: &mut Out) {
        if let (Input::Start, Some(window)) = (input, self.window)
            && !matches!(out.back(), Some(Output::Done(_)))
        {
            let until = if window.until == u64::MAX { now.unix_s } else { window.until };
            out.push_back(Output::Drained(Window { until, ..window }));
        }
    }
}

/// Claims when the connection is lost, all at once.
#[derive(Default)]
struct ClaimsWhenLost(ClaimsEarly);
impl Bend for ClaimsWhenLost {
    fn opened(&mut self, request: &mut SessionRequest) {
        self.0.opened(request);
    }

    fn given(&mut self, input: &Input<'_>, _: &dyn SetView, now: Now, out: &mut Out) -> bool {
        if matches!(input, Input::ConnectionLost) {
            self.0.after(&Input::Start, now, out);
        }
        true
    }
}

/// Claims what is to come.
#[derive(Default)]
struct ClaimsTheFuture;
impl Bend for ClaimsTheFuture {
    fn yields(&mut self, output: Output, out: &mut Out) {
        out.push_back(match output {
            Output::Drained(Window { since, .. }) => Output::Drained(Window { since, until: u64::MAX }),
            other => other,
        });
    }
}

/// Needs what nobody has.
#[derive(Default)]
struct NeedsNothingKnown;
impl Bend for NeedsNothingKnown {
    fn given(&mut self, input: &Input<'_>, _: &dyn SetView, _: Now, out: &mut Out) -> bool {
        if let Input::Event { created_at, verdict: CheckVerdict::New, .. } = input {
            let within = Window { since: *created_at, until: *created_at };
            out.push_back(Output::Need { ids: vec![EventId::from_byte_array([9; 32])], within });
        }
        true
    }
}

/// Needs what it was sent, in another second.
#[derive(Default)]
struct NeedsElsewhere;
impl Bend for NeedsElsewhere {
    fn given(&mut self, input: &Input<'_>, _: &dyn SetView, _: Now, out: &mut Out) -> bool {
        if let Input::Event { id, created_at, verdict: CheckVerdict::New, .. } = input {
            let second = created_at.saturating_sub(1);
            out.push_back(Output::Need { ids: vec![*id], within: Window { since: second, until: second } });
        }
        true
    }
}

/// Says that the relay lacks whatever is here.
#[derive(Default)]
struct OffersAll;
impl Bend for OffersAll {
    fn given(&mut self, input: &Input<'_>, local: &dyn SetView, _: Now, out: &mut Out) -> bool {
        if matches!(input, Input::Start) {
            let mut ids = Vec::new();
            local.items(KeyRange::ALL, &mut |item| {
                ids.push(EventId::from_byte_array(item.id));
                ControlFlow::Continue(())
            });
            out.push_back(Output::Have(ids));
        }
        true
    }
}

/// Never says what the relay lacks.
#[derive(Default)]
struct OffersNothing;
impl Bend for OffersNothing {
    fn yields(&mut self, output: Output, out: &mut Out) {
        if !matches!(output, Output::Have(_)) {
            out.push_back(output);
        }
    }
}

/// Takes any bytes for a word that all is drained.
#[derive(Default)]
struct BelievesMemory;
impl Bend for BelievesMemory {
    fn opened(&mut self, request: &mut SessionRequest) {
        if !request.remembered.is_empty() {
            request.drained = vec![Window::ALL];
        }
    }
}

/// Reads what it remembers without looking.
#[derive(Default)]
struct PanicsOnMemory;
impl Bend for PanicsOnMemory {
    fn opened(&mut self, request: &mut SessionRequest) {
        if let [first, rest @ ..] = request.remembered.as_slice() {
            assert!(rest.len() >= usize::from(*first), "shorter than it says");
        }
    }
}

/// Takes more for drained than it was told.
#[derive(Default)]
struct StretchesDrained;
impl Bend for StretchesDrained {
    fn opened(&mut self, request: &mut SessionRequest) {
        for window in &mut request.drained {
            window.since = window.since.saturating_sub(5_000);
        }
    }
}

/// Remembers that it was here, and then won't work.
#[derive(Default)]
struct NeverAgain {
    was_here: bool,
}
impl Bend for NeverAgain {
    fn opened(&mut self, request: &mut SessionRequest) {
        self.was_here = request.remembered == b"here";
    }

    fn given(&mut self, input: &Input<'_>, _: &dyn SetView, _: Now, out: &mut Out) -> bool {
        if matches!(input, Input::Start) {
            out.push_back(Output::Remember(b"here".to_vec()));
            if self.was_here {
                let text = "was here".to_owned();
                out.push_back(Output::Done(SessionOutcome::Failed { reason: FailureReason::Local, text }));
            }
        }
        !self.was_here
    }
}

pub(super) fn all() -> Vec<(Arc<dyn SyncStrategy>, &'static str)> {
    vec![
        (bad::<Lazy>(), "outcomes"),
        (bad::<Lazy>(), "correct"),
        (bad::<OnePage>(), "correct"),
        (bad::<OnePageThroughLink>(), "alone"),
        (bad::<OnePageThroughLink>(), "fallback"),
        (bad::<HidesDense>(), "correct"),
        (bad::<ClaimsEarly>(), "correct"),
        (bad::<ClaimsWhenLost>(), "cut"),
        (bad::<ClaimsTheFuture>(), "correct"),
        (bad::<NeedsNothingKnown>(), "correct"),
        (bad::<NeedsElsewhere>(), "correct"),
        (bad::<OffersAll>(), "correct"),
        (bad::<OffersNothing>(), "correct"),
        (bad::<BelievesMemory>(), "forged"),
        (bad::<PanicsOnMemory>(), "forged"),
        (bad::<StretchesDrained>(), "resumed"),
        (bad::<NeverAgain>(), "resumed"),
    ]
}
