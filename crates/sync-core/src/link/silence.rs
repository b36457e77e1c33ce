//! When the relay was last heard, and when its silence means that the connection is of no use.
//!
//! A relay may stall behind a connection that stays open: a proxy answers for it, or it reads and says nothing. What it
//! would have told of by live subscriptions since it was last heard is lost, so the manager is told when that was. One that
//! owes us answers for long and says nothing at all is left: on a new connection it may speak again.

use super::machine::RelayLink;
use super::{LinkNotice, LinkOutput};
use crate::strategy::duration_text;
use crate::time::{MonoMillis, Now};
use crate::transport::{Fault, FaultKind};

/// Answers that are waited for one after the other before a connection is given up: as long as it takes until two tries of
/// two strategies have failed, and a little more.
const ANSWERS: u64 = 6;
/// How often the manager is told that the relay is heard, milliseconds.
const TELL_MS: MonoMillis = 60_000;

/// What was heard, and what is owed.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// When the relay was last heard, unix seconds.
    heard_at: Option<u64>,
    /// When that is to be told again.
    tell_at: MonoMillis,
    /// Since when it owes an answer and has said nothing.
    owes_since: Option<MonoMillis>,
}

impl RelayLink {
    /// The relay has said something, whatever it is.
    pub(super) fn hears(&mut self, now: Now) {
        self.silence.heard_at = Some(now.unix_s);
        self.silence.owes_since = None;
        if self.silence.tell_at <= now.mono_ms {
            self.tell_heard();
            self.silence.tell_at = now.mono_ms.saturating_add(TELL_MS);
        }
    }

    /// Tells when the relay was last heard.
    pub(super) fn tell_heard(&mut self) {
        if let Some(at) = self.silence.heard_at {
            self.out.push_back(LinkOutput::Notice(LinkNotice::Heard { at }));
        }
    }

    /// Something was asked that a relay answers.
    pub(super) fn owes(&mut self, now: Now) {
        self.silence.owes_since.get_or_insert(now.mono_ms);
    }

    /// When the silence is too long.
    pub(super) fn silent_until(&self) -> Option<MonoMillis> {
        let since = self.silence.owes_since.filter(|_| !self.closing)?;
        Some(since.saturating_add(self.longest_silence()))
    }

    fn longest_silence(&self) -> MonoMillis {
        let waits = self.config.strategies.iter().map(|strategy| strategy.hints().answer_timeout_ms);
        waits.max().unwrap_or(super::fetch::DEFAULT_ANSWER_TIMEOUT_MS).saturating_mul(ANSWERS)
    }

    /// Gives the connection up where the relay has been silent for too long.
    pub(super) fn silence_ends(&mut self, now: Now) {
        if self.silent_until().is_some_and(|until| until <= now.mono_ms) {
            self.closing = true;
            let text = format!("it owes answers and has said nothing for {}", duration_text(self.longest_silence()));
            self.out.push_back(LinkOutput::Close(Fault { kind: FaultKind::Silent, text }));
        }
    }
}
