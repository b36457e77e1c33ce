//! What is told to whoever observes: each question of a session, from its going out to its end, whose turn it is, and how
//! far a batch has come.

use std::sync::Arc;

use super::machine::RelayLink;
use super::{AnswerEnd, Asked, LinkNotice, LinkOutput};
use crate::model::{BatchId, Counts, SyncMethod};

/// Stands around what a strategy does, so that what it logs is known to belong to its session.
pub trait Surround: Send + Sync {
    /// Must call `work`, once. The session is a number of [`LinkNotice::SessionStarted`], which may not have been told yet.
    fn around(&self, batch: BatchId, session: u64, work: &mut dyn FnMut());
}

/// Who observes, and how far the questions are numbered.
#[derive(Default)]
pub(super) struct Questions {
    last: u64,
    around: Option<Arc<dyn Surround>>,
}

impl Questions {
    /// Does `work`, with whoever observes around it.
    pub(super) fn around<T>(&self, batch: BatchId, session: u64, work: impl FnOnce() -> T) -> T {
        let Some(around) = &self.around else { return work() };
        let (mut work, mut done) = (Some(work), None);
        around.around(batch, session, &mut || {
            if let Some(work) = work.take() {
                done = Some(work());
            }
        });
        match (done, work) {
            (Some(done), _) => done,
            // Who stands around it must not keep it from happening.
            (None, Some(work)) => work(),
            (None, None) => unreachable!("work that was taken is done"),
        }
    }
}

/// A question that is open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    pub(super) number: u64,
    /// Events that came by it.
    received: u64,
}

impl RelayLink {
    /// Has this stand around whatever strategies do from here on.
    pub fn surround(&mut self, around: Arc<dyn Surround>) {
        self.questions.around = Some(around);
    }

    /// What a batch that is under way has moved so far, and the strategies that carried it.
    pub fn progress(&self, batch: BatchId) -> Option<(&Counts, &[SyncMethod])> {
        self.batches.get(&batch).map(|carried| (&carried.counts, carried.methods.as_slice()))
    }

    /// A question has gone out on `wire`; on a reconciliation, the next one follows on the same.
    pub(super) fn asked(&mut self, wire: &str, batch: BatchId, session: u64, kind: Asked) {
        self.answered(wire, AnswerEnd::Whole);
        let Some(sub) = self.subs.get_mut(wire) else { return };
        self.questions.last += 1;
        let number = self.questions.last;
        sub.question = Some(Open { number, received: 0 });
        self.out.push_back(LinkOutput::Notice(LinkNotice::Asked { batch, session, question: number, kind }));
    }

    /// The question on `wire` has its end, where one is open.
    pub(super) fn answered(&mut self, wire: &str, end: AnswerEnd) {
        let Some(sub) = self.subs.get_mut(wire) else { return };
        if let (Some(open), Some(batch)) = (sub.question.take(), sub.batch) {
            self.out.push_back(open.ended(batch, end));
        }
    }
}

impl Open {
    /// An event came by it.
    pub(super) fn received(&mut self) {
        self.received += 1;
    }

    pub(super) fn ended(self, batch: BatchId, end: AnswerEnd) -> LinkOutput {
        let Self { number, received } = self;
        LinkOutput::Notice(LinkNotice::Answered { batch, question: number, received, end })
    }
}
