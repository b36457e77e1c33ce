//! When the relay was last heard, and when its silence means that the connection is of no use.
//!
//! A relay may stall behind a connection that stays open: a proxy answers for it, or it reads and says nothing. What it
//! would have told of by live subscriptions since it was last heard is lost, so the manager is told when that was. One that
//! owes us answers for long and says nothing at all is asked for a sign of life, which costs it nothing; where even that
//! isn't answered, it is left. On a new connection it may speak again.

use nostr::event::EventId;
use nostr::filter::Filter;

use super::machine::RelayLink;
use super::{LinkNotice, LinkOutput, wire};
use crate::strategy::duration_text;
use crate::time::{MonoMillis, Now};
use crate::transport::{Fault, FaultKind};

/// Answers that are waited for one after the other before a sign of life is asked for: as long as it takes until two tries
/// of two strategies have failed, and a little more.
const ANSWERS: u64 = 5;
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
    /// The request for a sign of life.
    pub(super) sign: Option<String>,
}

impl RelayLink {
    /// The relay has said something, whatever it is.
    pub(super) fn hears(&mut self, now: Now) {
        self.silence.heard_at = Some(now.unix_s);
        self.silence.owes_since = None;
        if let Some(sign) = self.silence.sign.take() {
            self.send(wire::close(&sign), None);
        }
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

    /// When the silence is too long. That of a relay which asks who we are, and isn't told, has another reason.
    pub(super) fn silent_until(&self) -> Option<MonoMillis> {
        let since = self.silence.owes_since.filter(|_| !self.closing && !self.is_unknown())?;
        let answers = ANSWERS + u64::from(self.silence.sign.is_some());
        Some(since.saturating_add(self.longest_answer().saturating_mul(answers)))
    }

    fn longest_answer(&self) -> MonoMillis {
        let waits = self.config.strategies.iter().map(|strategy| strategy.hints().answer_timeout_ms);
        waits.max().unwrap_or(super::fetch::DEFAULT_ANSWER_TIMEOUT_MS)
    }

    /// Asks for a sign of life where the relay has been silent for too long, or gives the connection up.
    pub(super) fn silence_ends(&mut self, now: Now) {
        if self.silent_until().is_none_or(|until| until > now.mono_ms) {
            return;
        }
        if self.silence.sign.is_none() && self.free_subs() > 0 && self.quiet_until <= now.mono_ms {
            self.next_wire += 1;
            let wire = format!("s{}", self.next_wire);
            // No event has this id.
            let nothing = Filter::new().id(EventId::from_byte_array([0; 32])).limit(1);
            self.send(wire::req(&wire, &[nothing]), None);
            self.silence.sign = Some(wire);
            return;
        }
        self.closing = true;
        let silent = now.mono_ms.saturating_sub(self.silence.owes_since.unwrap_or(now.mono_ms));
        let text = format!("it owes answers and has said nothing for {}", duration_text(silent / 1_000 * 1_000));
        self.out.push_back(LinkOutput::Close(Fault { kind: FaultKind::Mute, text }));
    }
}
