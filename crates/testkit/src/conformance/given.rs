//! What a session is given and what it yields, kept: inputs that own what they hold, steps, and whether two runs are
//! the same.

use std::sync::Arc;

use nostr::event::EventId;
use sync_core::Now;
use sync_core::response::Said;
use sync_core::strategy::{CheckVerdict, Input, Output, SubId, VecSet};

/// An [`Input`] that owns what it holds.
#[derive(Debug, Clone)]
pub(super) enum Given {
    Start,
    Eose { sub: SubId, finished: Option<bool> },
    Closed { sub: SubId, said: Said },
    NegMsg { sub: SubId, payload: Vec<u8> },
    NegErr { sub: SubId, said: Said },
    Notice { said: Said },
    Event { sub: SubId, id: EventId, created_at: u64, verdict: CheckVerdict },
    Timeout,
    ConnectionLost,
}

impl Given {
    pub(super) fn input(&self) -> Input<'_> {
        match self {
            Self::Start => Input::Start,
            Self::Eose { sub, finished } => Input::Eose { sub: *sub, finished: *finished },
            Self::Closed { sub, said } => Input::Closed { sub: *sub, said },
            Self::NegMsg { sub, payload } => Input::NegMsg { sub: *sub, payload },
            Self::NegErr { sub, said } => Input::NegErr { sub: *sub, said },
            Self::Notice { said } => Input::Notice { said },
            Self::Event { sub, id, created_at, verdict } => {
                Input::Event { sub: *sub, id: *id, created_at: *created_at, verdict: *verdict }
            }
            Self::Timeout => Input::Timeout,
            Self::ConnectionLost => Input::ConnectionLost,
        }
    }

    /// Bytes of a payload, 0 where there is none.
    pub(super) fn payload_len(&self) -> usize {
        match self {
            Self::NegMsg { payload, .. } => payload.len(),
            _ => 0,
        }
    }
}

/// An input and all that followed from it.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) given: Given,
    pub(super) now: Now,
    /// The local set, as it was.
    pub(super) set: Arc<VecSet>,
    pub(super) outputs: Vec<Output>,
    /// The session's deadline after it.
    pub(super) deadline: Option<(u64, &'static str)>,
    /// What the session returned, where that was an error.
    pub(super) error: Option<String>,
}

/// The first thing in which `again` differs from `once`, where its clock shows `shift_ms` more.
pub(super) fn difference(once: &[Step], again: &[Step], shift_ms: u64) -> Option<String> {
    for (place, (a, b)) in once.iter().zip(again).enumerate() {
        let shifted = a.deadline.map(|(at, what)| (at.saturating_add(shift_ms), what));
        let told = if a.outputs != b.outputs {
            Some(format!("yielded {} and then {}", shown(&a.outputs), shown(&b.outputs)))
        } else if shifted != b.deadline {
            Some(format!("had the deadline {shifted:?} and then {:?}", b.deadline))
        } else if a.error != b.error {
            Some(format!("returned {:?} and then {:?}", a.error, b.error))
        } else {
            None
        };
        if let Some(told) = told {
            return Some(format!("input {place}, {}: it {told}", shown(&a.given)));
        }
    }
    (once.len() != again.len()).then(|| format!("{} inputs and then {}", once.len(), again.len()))
}

/// As text, cut where it gets long.
pub(super) fn shown(what: &impl std::fmt::Debug) -> String {
    const MAX: usize = 400;
    let text = format!("{what:?}");
    match text.char_indices().nth(MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
