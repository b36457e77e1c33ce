//! Reconciliations as the answering side (NIP-77): the messages of each are answered in order, one at a time.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use nostr::filter::Filter;
use sync_core::store::Query;
use tokio::time::Instant;

use super::Session;
use crate::budget::Budget;
use crate::message;
use crate::work::{NegError, Reconciling, Responder, Work};

/// Messages that may wait while one is being answered; a client that awaits its answers has none waiting.
const MAX_WAITING: usize = 4;

/// The open reconciliations of a connection.
pub(super) struct Reconciliations {
    open: HashMap<String, Open>,
    /// The ids that all of them may hold.
    ids: Arc<Budget>,
}

struct Open {
    number: u64,
    /// When the client last heard or said anything of it.
    touched: Instant,
    /// `None` while it answers.
    responder: Option<Responder>,
    waiting: VecDeque<Vec<u8>>,
}

impl Reconciliations {
    pub(super) fn new(ids: Arc<Budget>) -> Self {
        Self { open: HashMap::new(), ids }
    }

    /// Drops what nobody has touched for `idle`; returns the ids.
    pub(super) fn forget_idle(&mut self, now: Instant, idle: Duration) -> Vec<String> {
        let is_idle = |open: &Open| open.responder.is_some() && now.duration_since(open.touched) >= idle;
        self.open.extract_if(|_, open| is_idle(open)).map(|(id, _)| id).collect()
    }
}

impl Session {
    pub(super) fn open_reconciliation(&mut self, id: String, filter: Filter, message: Vec<u8>, now: Instant) {
        self.close_reconciliation(&id);
        if self.reconciliations.open.len() >= self.limits.max_reconciliations {
            let error = NegError::TooMany("max_reconciliations");
            self.out.limit("max_reconciliations");
            return self.out.say(message::neg_err(&id, &error.to_string(), None));
        }
        let number = self.number();
        let responder = Responder::new(Query::new([filter]), &self.reconciliations.ids);
        let open = Open { number, touched: now, responder: None, waiting: VecDeque::new() };
        self.reconciliations.open.insert(id.clone(), open);
        self.work.push_back(Work::Reconcile(Box::new(Reconciling { id, number, message, responder })));
    }

    pub(super) fn continue_reconciliation(&mut self, id: &str, message: Vec<u8>, now: Instant) {
        let Some(open) = self.reconciliations.open.get_mut(id) else {
            return self.out.say(message::neg_err(id, "closed: unknown subscription handle", None));
        };
        open.touched = now;
        match open.responder.take() {
            Some(responder) => {
                let work = Reconciling { id: id.to_owned(), number: open.number, message, responder };
                self.work.push_back(Work::Reconcile(Box::new(work)));
            }
            None if open.waiting.len() < MAX_WAITING => open.waiting.push_back(message),
            None => {
                self.close_reconciliation(id);
                let reason = "PROTOCOL-ERROR: too many messages that did not await their answer";
                self.out.say(message::neg_err(id, reason, None));
            }
        }
    }

    pub(super) fn close_reconciliation(&mut self, id: &str) {
        let Some(gone) = self.reconciliations.open.remove(id) else { return };
        self.work.retain(|work| !matches!(work, Work::Reconcile(work) if work.number == gone.number));
    }

    pub(super) fn reconciled(
        &mut self,
        work: Box<Reconciling>,
        answer: Result<Option<Vec<u8>>, NegError>,
        now: Instant,
    ) {
        let open = self.reconciliations.open.get_mut(&work.id).filter(|open| open.number == work.number);
        let Some(open) = open else { return };
        match answer {
            // The set is still being gathered.
            Ok(None) => self.work.push_back(Work::Reconcile(work)),
            Ok(Some(answer)) => {
                open.touched = now;
                self.out.say(message::neg_msg(&work.id, &answer));
                match open.waiting.pop_front() {
                    Some(message) => self.work.push_back(Work::Reconcile(Box::new(Reconciling { message, ..*work }))),
                    None => open.responder = Some(work.responder),
                }
            }
            Err(error) => {
                self.reconciliations.open.remove(&work.id);
                let mut cap = None;
                match &error {
                    NegError::TooBig => {
                        self.out.limit("max_reconciliation_items");
                        cap = Some(self.limits.max_reconciliation_items);
                    }
                    NegError::TooMany(limit) => self.out.limit(limit),
                    NegError::Store(error) => tracing::error!(%error, "can't reconcile with a client"),
                    NegError::Protocol(_) => {}
                }
                self.out.say(message::neg_err(&work.id, &error.to_string(), cap));
            }
        }
    }
}
