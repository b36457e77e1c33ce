//! What is open on the wire, whose it is, and what concerns the whole connection.

use super::machine::{RelayLink, Sub, SubTarget};
use super::{AnswerEnd, LinkNotice, LinkOutput, wire};
use crate::model::BatchId;
use crate::response::{Meaning, Said};
use crate::time::{MonoMillis, Now};

impl RelayLink {
    /// What concerns the whole connection, whatever it answers.
    pub(super) fn heed(&mut self, said: &Said, now: Now) {
        if said.meaning == Meaning::RateLimited {
            self.limited_at = Some(now.mono_ms);
        }
        // What is said during a cool-down speaks of what was asked before it, and doesn't lengthen it.
        if said.meaning == Meaning::RateLimited && self.quiet_until <= now.mono_ms {
            self.quiet_until = now.mono_ms + self.config.rate_limit_cooldown_ms;
            self.out.push_back(LinkOutput::Notice(LinkNotice::RateLimited { text: said.text.clone() }));
        }
    }

    /// Whether what was asked then, and not answered, may have been turned away: a NOTICE of rate limits doesn't say what it
    /// answers.
    pub(super) fn turned_away(&self, asked_at: MonoMillis) -> bool {
        self.limited_at.is_some_and(|at| at >= asked_at)
    }

    /// Where a frame for `sub` goes; its bytes are counted for the batch.
    pub(super) fn counted(&mut self, wire: &str, bytes: u64) -> Option<SubTarget> {
        let sub = self.subs.get(wire)?;
        if let Some(carried) = sub.batch.and_then(|batch| self.batches.get_mut(&batch)) {
            carried.counts.bytes_down += bytes;
        }
        let target = sub.target;
        self.heard(wire);
        Some(target)
    }

    /// The same for a frame that ends what is asked by `sub`.
    pub(super) fn answer_counted(&mut self, wire: &str, bytes: u64, end: AnswerEnd) -> Option<SubTarget> {
        self.answered(wire, end);
        self.counted(wire, bytes)
    }

    pub(super) fn open_sub(&mut self, prefix: char, sub: Sub) -> String {
        self.next_wire += 1;
        let wire = format!("{prefix}{}", self.next_wire);
        self.subs.insert(wire.clone(), sub);
        wire
    }

    /// Ends a subscription of ours, with the message that its kind calls for.
    pub(super) fn close_sub(&mut self, wire: &str) {
        if let Some(sub) = self.subs.remove(wire) {
            if let (Some(open), Some(batch)) = (sub.question, sub.batch) {
                self.out.push_back(open.ended(batch, AnswerEnd::TakenBack));
            }
            let neg = matches!(sub.target, SubTarget::Session { neg: true, .. });
            self.send(if neg { wire::neg_close(wire) } else { wire::close(wire) }, sub.batch);
        }
    }

    pub(super) fn send(&mut self, frame: String, batch: Option<BatchId>) {
        if let Some(carried) = batch.and_then(|batch| self.batches.get_mut(&batch)) {
            carried.counts.bytes_up += frame.len() as u64;
        }
        self.out.push_back(LinkOutput::Send(frame));
    }

    /// Subscriptions that the budget still allows.
    pub(super) fn free_subs(&self) -> usize {
        self.max_subs.saturating_sub(self.subs.len() + usize::from(self.silence.sign.is_some()))
    }
}
