//! Keeps the order of the wire while checks run elsewhere: what came after an event waits for that event's check.

use std::collections::VecDeque;

use super::{Checked, Token};

/// Something that arrived.
#[derive(Debug)]
pub(super) enum Arrived {
    /// An event under check, by its wire id.
    Event { wire: String, checked: Option<Checked> },
    /// Any other frame.
    Frame(String),
}

impl Arrived {
    fn bytes(&self) -> usize {
        match self {
            Self::Event { .. } => 0,
            Self::Frame(text) => text.len(),
        }
    }
}

/// What arrived and couldn't be acted on yet, oldest first. Tokens number everything that enters.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    waiting: VecDeque<Arrived>,
    /// Token of the front of `waiting`.
    front: Token,
    /// Bytes of the frames that wait.
    bytes: usize,
}

impl Inbox {
    /// Whether a frame that arrives may be acted on at once.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Bytes of frames that wait; events are held by whoever checks them.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The token of whatever arrives next.
    pub(super) fn next_token(&self) -> Token {
        self.front + self.waiting.len() as u64
    }

    pub(super) fn push(&mut self, arrived: Arrived) -> Token {
        self.bytes += arrived.bytes();
        self.waiting.push_back(arrived);
        self.next_token() - 1
    }

    /// Records a check's answer; an answer for nothing that waits is dropped.
    pub(super) fn answer(&mut self, answer: Checked) {
        let Some(at) = answer.token.checked_sub(self.front).and_then(|at| usize::try_from(at).ok()) else { return };
        if let Some(Arrived::Event { checked, .. }) = self.waiting.get_mut(at) {
            *checked = Some(answer);
        }
    }

    /// The next thing that may be acted on.
    pub(super) fn pop(&mut self) -> Option<Arrived> {
        if let Arrived::Event { checked: None, .. } = self.waiting.front()? {
            return None;
        }
        self.front += 1;
        let arrived = self.waiting.pop_front()?;
        self.bytes = self.bytes.saturating_sub(arrived.bytes());
        Some(arrived)
    }
}

#[cfg(test)]
mod tests {
    use nostr::event::EventId;

    use super::*;
    use crate::strategy::CheckVerdict;

    #[test]
    fn a_frame_waits_for_the_events_before_it() {
        let mut inbox = Inbox::default();
        let event = || Arrived::Event { wire: "a".into(), checked: None };
        let (first, second) = (inbox.push(event()), inbox.push(event()));
        inbox.push(Arrived::Frame("eose".into()));
        let answer =
            |token| Checked { token, id: EventId::from_byte_array([0; 32]), created_at: 0, verdict: CheckVerdict::New };
        inbox.answer(answer(second));
        assert!(inbox.pop().is_none());
        inbox.answer(answer(first));
        assert!(matches!(inbox.pop(), Some(Arrived::Event { .. })));
        assert!(matches!(inbox.pop(), Some(Arrived::Event { .. })));
        assert!(matches!(inbox.pop(), Some(Arrived::Frame(_))));
        assert!(inbox.is_empty() && inbox.bytes() == 0);
        inbox.answer(answer(first));
    }
}
