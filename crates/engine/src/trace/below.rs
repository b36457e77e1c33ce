//! What lies below the sessions of a connection: their questions, and what became of the events that these brought.
//!
//! What an event costs here is a look-up by its token; there is no span for one.

use std::collections::HashMap;

use sync_core::link::{AnswerEnd, Asked, CheckJob, Checked, Token};
use sync_core::model::BatchId;
use sync_core::store::{IntakeOutcome, StoreError};
use sync_core::strategy::CheckVerdict;
use telemetry::spans::{Answer, IngestSpan, Ingested, Question, QuestionSpan, SpanLink, Tracer};

struct Open {
    batch: BatchId,
    session: SpanLink,
    /// `None` once it is answered.
    span: Option<QuestionSpan>,
    /// From the first event on.
    ingest: Option<IngestSpan>,
    ingested: Ingested,
    /// Events whose fate is open.
    pending: u64,
}

/// The open spans below the sessions of a connection.
pub(crate) struct Below {
    tracer: Tracer,
    /// The sessions of the batches under way, also those that have ended: what they named is fetched later.
    sessions: HashMap<(BatchId, u64), SpanLink>,
    questions: HashMap<u64, Open>,
    /// Which question brought an event that is under way, and whether the store decides its fate.
    events: HashMap<Token, (u64, bool)>,
}

impl Below {
    pub(super) fn new(tracer: Tracer) -> Self {
        Self { tracer, sessions: HashMap::new(), questions: HashMap::new(), events: HashMap::new() }
    }

    pub(super) fn session(&mut self, batch: BatchId, session: u64, link: SpanLink) {
        self.sessions.insert((batch, session), link);
    }

    pub(super) fn asked(&mut self, batch: BatchId, session: u64, question: u64, kind: Asked) {
        let Some(session) = self.sessions.get(&(batch, session)) else { return };
        let kind = match kind {
            Asked::Page | Asked::Probe => Question::Page,
            Asked::Ids(ids) => Question::Fetch { ids },
            _ => Question::Round,
        };
        let span = Some(QuestionSpan::start(&self.tracer, session, kind));
        let session = session.clone();
        let open = Open { batch, session, span, ingest: None, ingested: Ingested::default(), pending: 0 };
        self.questions.insert(question, open);
    }

    pub(super) fn answered(&mut self, batch: BatchId, question: u64, received: u64, end: &AnswerEnd) {
        let Some(open) = self.questions.get_mut(&question).filter(|open| open.batch == batch) else { return };
        if let Some(span) = open.span.take() {
            span.end(
                received,
                match end {
                    AnswerEnd::Whole => Answer::Whole,
                    AnswerEnd::Broken(text) => Answer::Broken(text),
                    _ => Answer::TakenBack,
                },
            );
        }
        self.end_if_settled(question);
    }

    /// An event is on its way to the checks.
    pub(crate) fn checking(&mut self, job: &CheckJob) {
        let Some(question) = job.question else { return };
        let Some(open) = self.questions.get_mut(&question) else { return };
        open.ingest.get_or_insert_with(|| IngestSpan::start(&self.tracer, &open.session));
        open.ingested.received += 1;
        open.ingested.bytes += job.json.len() as u64;
        open.pending += 1;
        self.events.insert(job.token, (question, job.store));
    }

    /// The checks have spoken.
    pub(crate) fn checked(&mut self, checked: &Checked) {
        let Some((question, stores)) = self.events.get(&checked.token).copied() else { return };
        if checked.verdict == CheckVerdict::New && stores {
            return;
        }
        self.decided(checked.token, question, |ingested| match checked.verdict {
            CheckVerdict::New => {}
            CheckVerdict::Known => ingested.duplicate += 1,
            CheckVerdict::Bad(_) => ingested.rejected += 1,
        });
    }

    /// The store has spoken.
    pub(crate) fn settled(&mut self, token: Token, outcome: &Result<IntakeOutcome, StoreError>) {
        let Some((question, _)) = self.events.get(&token).copied() else { return };
        self.decided(token, question, |ingested| match outcome {
            Ok(IntakeOutcome::Stored | IntakeOutcome::Held) => ingested.stored += 1,
            Ok(IntakeOutcome::Duplicate) => ingested.duplicate += 1,
            Ok(IntakeOutcome::Deferred(_) | IntakeOutcome::Rejected(_)) | Err(_) => ingested.rejected += 1,
        });
    }

    fn decided(&mut self, token: Token, question: u64, count: impl FnOnce(&mut Ingested)) {
        self.events.remove(&token);
        let Some(open) = self.questions.get_mut(&question) else { return };
        count(&mut open.ingested);
        open.pending = open.pending.saturating_sub(1);
        self.end_if_settled(question);
    }

    fn end_if_settled(&mut self, question: u64) {
        if self.questions.get(&question).is_some_and(|open| open.span.is_none() && open.pending == 0)
            && let Some(open) = self.questions.remove(&question)
        {
            open.end();
        }
    }

    /// A batch is over: what is open of it was taken back, and what is under way counts no more.
    pub(super) fn end(&mut self, batch: BatchId) {
        self.sessions.retain(|(of, _), _| *of != batch);
        let questions: Vec<u64> =
            self.questions.iter().filter(|(_, open)| open.batch == batch).map(|(number, _)| *number).collect();
        for open in questions.iter().filter_map(|question| self.questions.remove(question)) {
            open.end();
        }
        if !questions.is_empty() {
            self.events.retain(|_, (question, _)| self.questions.contains_key(question));
        }
    }
}

impl Open {
    fn end(self) {
        if let Some(span) = self.span {
            span.end(self.ingested.received, Answer::TakenBack);
        }
        if let Some(ingest) = self.ingest {
            ingest.end(self.ingested);
        }
    }
}
