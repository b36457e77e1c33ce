//! Those whose last word is wrong, or isn't the last; and those that say strange things of themselves.

use std::collections::VecDeque;
use std::sync::Arc;

use sync_core::Now;
use sync_core::model::FailureReason;
use sync_core::nostr::filter::Filter;
use sync_core::response::Meaning;
use sync_core::strategy::{
    Input, Output, RelayProfile, SessionHints, SessionOutcome, SetView, Suitability, SyncStrategy,
};

use super::{Bend, bad};

type Out = VecDeque<Output>;

fn failed(reason: FailureReason) -> Output {
    Output::Done(SessionOutcome::Failed { reason, text: "so".to_owned() })
}

/// Ends twice.
#[derive(Default)]
struct EndsTwice;
impl Bend for EndsTwice {
    fn yields(&mut self, output: Output, out: &mut Out) {
        let end = matches!(output, Output::Done(_)).then(|| output.clone());
        out.push_back(output);
        out.extend(end);
    }
}

/// Has more to say after the end.
#[derive(Default)]
struct Talks;
impl Bend for Talks {
    fn after(&mut self, input: &Input<'_>, _: Now, out: &mut Out) {
        if matches!(input, Input::Timeout | Input::Eose { .. }) {
            out.push_back(Output::Progress { items: 0 });
        }
    }
}

/// Has a deadline for ever.
#[derive(Default)]
struct Ticks;
impl Bend for Ticks {
    fn deadline(&self, deadline: Option<(u64, &'static str)>) -> Option<(u64, &'static str)> {
        deadline.or(Some((u64::MAX / 2, "for ever")))
    }
}

/// Goes on when the connection is lost.
#[derive(Default)]
struct GoesOn;
impl Bend for GoesOn {
    fn given(&mut self, input: &Input<'_>, _: &dyn SetView, _: Now, _: &mut Out) -> bool {
        !matches!(input, Input::ConnectionLost)
    }
}

/// Is content with what came before the connection was lost.
#[derive(Default)]
struct Content;
impl Bend for Content {
    fn yields(&mut self, output: Output, out: &mut Out) {
        out.push_back(match output {
            Output::Done(SessionOutcome::Failed { reason: FailureReason::ConnectionLost, .. }) => {
                Output::Done(SessionOutcome::Complete)
            }
            other => other,
        });
    }
}

/// Takes a refusal for the end of what there is.
#[derive(Default)]
struct Humble;
impl Bend for Humble {
    fn yields(&mut self, output: Output, out: &mut Out) {
        out.push_back(match output {
            Output::Done(SessionOutcome::Failed { reason: FailureReason::Refused { .. }, .. }) => {
                Output::Done(SessionOutcome::Complete)
            }
            other => other,
        });
    }
}

/// Gives up a relay that wants it slower.
#[derive(Default)]
struct Touchy;
impl Bend for Touchy {
    fn yields(&mut self, output: Output, out: &mut Out) {
        let slower = Meaning::RateLimited.as_str();
        out.push_back(match output {
            Output::Done(SessionOutcome::Failed { reason: FailureReason::Refused { prefix }, text })
                if prefix == slower =>
            {
                Output::Done(SessionOutcome::Unsupported { text })
            }
            other => other,
        });
    }
}

/// Doesn't hand on the cap.
#[derive(Default)]
struct DropsCap;
impl Bend for DropsCap {
    fn yields(&mut self, output: Output, out: &mut Out) {
        out.push_back(match output {
            Output::Done(SessionOutcome::TooBig { text, .. }) => {
                Output::Done(SessionOutcome::TooBig { cap: None, text })
            }
            other => other,
        });
    }
}

/// Takes silence for something else.
#[derive(Default)]
struct Offended;
impl Bend for Offended {
    fn yields(&mut self, output: Output, out: &mut Out) {
        out.push_back(match output {
            Output::Done(SessionOutcome::Failed { reason: FailureReason::Timeout, .. }) => {
                failed(FailureReason::Protocol)
            }
            other => other,
        });
    }
}

/// No session at a time.
#[derive(Default)]
struct NoSessions;
impl Bend for NoSessions {
    fn hints(hints: SessionHints) -> SessionHints {
        SessionHints { concurrency: 0, ..hints }
    }
}

/// Believes what a relay says of itself.
#[derive(Default)]
struct BelievesNips;
impl Bend for BelievesNips {
    fn suits(profile: &RelayProfile, _: &Filter) -> Suitability {
        match profile.supported_nips.as_slice() {
            [] | [.., 77] => Suitability::Suits,
            _ => Suitability::No("it doesn't claim NIP-77".to_owned()),
        }
    }
}

/// Finds that no relay knows its way. Through the link that does no harm.
#[derive(Default)]
pub(super) struct GivesUp {
    over: bool,
}
impl Bend for GivesUp {
    fn given(&mut self, input: &Input<'_>, _: &dyn SetView, _: Now, out: &mut Out) -> bool {
        if matches!(input, Input::Start | Input::ConnectionLost) && !std::mem::replace(&mut self.over, true) {
            out.push_back(Output::Done(SessionOutcome::Unsupported { text: "not here".to_owned() }));
        }
        false
    }
}

/// Suits nobody.
#[derive(Default)]
struct SuitsNobody;
impl Bend for SuitsNobody {
    fn suits(_: &RelayProfile, _: &Filter) -> Suitability {
        Suitability::No("not in the mood".to_owned())
    }
}

pub(super) fn all() -> Vec<(Arc<dyn SyncStrategy>, &'static str)> {
    vec![
        (bad::<EndsTwice>(), "once"),
        (bad::<Talks>(), "once"),
        (bad::<Ticks>(), "once"),
        (bad::<GoesOn>(), "cut"),
        (bad::<Content>(), "cut"),
        (bad::<Content>(), "outcomes"),
        (bad::<Humble>(), "refusals"),
        (bad::<Touchy>(), "refusals"),
        (bad::<DropsCap>(), "refusals"),
        (bad::<Offended>(), "refusals"),
        (bad::<NoSessions>(), "sane"),
        (bad::<BelievesNips>(), "sane"),
        (bad::<SuitsNobody>(), "sane"),
    ]
}
