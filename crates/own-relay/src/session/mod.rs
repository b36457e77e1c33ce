//! What one connection has asked for, and what is to be said to it: a machine without I/O. Its owner gives it messages,
//! finished work and live events, and takes from it frames to send and work to do.
//!
//! Work is done one piece at a time and in turns, so that a large answer doesn't keep small ones waiting. What a
//! connection may have open is bounded, and so is the queue of its work.

mod reconciliations;
mod subscriptions;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use sync_core::store::{FeedSeq, Query};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::budget::Budgets;
use crate::clock::unix_seconds;
use crate::config::RelayLimits;
use crate::live::LiveEvent;
use crate::message::{self, ClientMessage};
use crate::publish::Verdict;
use crate::work::{Counting, Done, Work};

use reconciliations::Reconciliations;
use subscriptions::Subscriptions;

/// One connection's side of the protocol.
pub(crate) struct Session {
    limits: RelayLimits,
    subscriptions: Subscriptions,
    reconciliations: Reconciliations,
    counts: usize,
    catching_up: CatchingUp,
    work: VecDeque<Work>,
    out: Out,
    next_number: u64,
    bad_messages: u32,
}

/// Whether the feed is read for subscriptions that fell out of the ring.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CatchingUp {
    No,
    Reading,
    /// It couldn't be; it is tried again with the next tick.
    Failed,
}

/// What is to be told, to the client and to whoever counts.
#[derive(Default)]
pub(crate) struct Out {
    pub(crate) frames: VecDeque<Utf8Bytes>,
    /// Events among them.
    pub(crate) events: u64,
    /// Bounds that were hit.
    pub(crate) limits: Vec<&'static str>,
}

impl Out {
    fn say(&mut self, text: String) {
        self.frames.push_back(text.into());
    }

    fn limit(&mut self, limit: &'static str) {
        self.limits.push(limit);
    }
}

/// What the owner has to do about a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// Nothing: whatever came of it is work or a frame.
    Done,
    /// Check and store this event.
    Publish(String),
    /// End the connection: there were too many messages that make no sense.
    Enough,
}

impl Session {
    /// A connection's part of what all may hold.
    pub(crate) fn new(limits: RelayLimits, all: &Budgets) -> Self {
        let budgets = all.of_connection(&limits);
        Self {
            subscriptions: Subscriptions::new(budgets.filter_bytes),
            reconciliations: Reconciliations::new(budgets.ids),
            counts: 0,
            catching_up: CatchingUp::No,
            work: VecDeque::new(),
            out: Out::default(),
            next_number: 0,
            bad_messages: 0,
            limits,
        }
    }

    /// Takes what is to be told.
    pub(crate) fn take_out(&mut self) -> Out {
        std::mem::take(&mut self.out)
    }

    /// The next piece of work; the one before it must have been handed back.
    pub(crate) fn next_work(&mut self) -> Option<Work> {
        self.work.pop_front()
    }

    /// Takes a message. `head` is the newest place in the feed that live events are known of.
    pub(crate) fn receive(&mut self, text: &str, head: FeedSeq, now: Instant) -> Received {
        let message = match ClientMessage::parse(text, &self.limits) {
            Ok(message) => message,
            Err(unreadable) => {
                self.out.say(unreadable.answer);
                unreadable.limit.into_iter().for_each(|limit| self.out.limit(limit));
                return self.complain();
            }
        };
        if let ClientMessage::Event(json) = message {
            // Whether it makes sense is seen later.
            return Received::Publish(json.to_owned());
        }
        self.bad_messages = 0;
        match message {
            ClientMessage::Event(_) => {}
            ClientMessage::Req { id, filters } => self.subscribe(id, filters, text.len(), head),
            ClientMessage::Count { id, filters } => self.count(id, filters),
            ClientMessage::Close { id } => self.unsubscribe(&id),
            ClientMessage::NegOpen { id, filter, message } => self.open_reconciliation(id, *filter, message, now),
            ClientMessage::NegMsg { id, message } => self.continue_reconciliation(&id, message, now),
            ClientMessage::NegClose { id } => self.close_reconciliation(&id),
        }
        Received::Done
    }

    /// Counts a message that made no sense.
    fn complain(&mut self) -> Received {
        self.bad_messages += 1;
        if self.bad_messages > self.limits.max_bad_messages {
            self.out.limit("max_bad_messages");
            return Received::Enough;
        }
        Received::Done
    }

    /// Takes the answer to a published event.
    pub(crate) fn published(&mut self, verdict: &Verdict) -> Received {
        self.out.say(verdict.to_frame());
        if verdict.is_nonsense() {
            return self.complain();
        }
        self.bad_messages = 0;
        Received::Done
    }

    /// Answers a message that isn't text.
    pub(crate) fn receive_bytes(&mut self) -> Received {
        self.out.say(message::notice("invalid: a message is text"));
        self.complain()
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn count(&mut self, id: String, filters: Vec<nostr::filter::Filter>) {
        if self.counts >= self.limits.max_counts {
            self.out.limit("max_counts");
            let reason = format!("error: too many concurrent COUNTs, at most {} are taken", self.limits.max_counts);
            return self.out.say(message::closed(&id, &reason));
        }
        self.counts += 1;
        // How many there are is asked, not how many one would read.
        let filters = filters.into_iter().map(|filter| nostr::filter::Filter { limit: None, ..filter });
        self.work.push_back(Work::Count(Box::new(Counting { id, query: Query::new(filters), count: 0, rows: 0 })));
    }

    /// Takes back a piece of work that was done.
    pub(crate) fn done(&mut self, done: Done, now: Instant) {
        match done {
            Done::Stored(stored, page) => self.stored(stored, page),
            Done::Count(counting, result) => {
                let enough = counting.rows >= self.limits.max_count;
                match result {
                    Ok(()) if !counting.query.is_finished() && !enough => {
                        return self.work.push_back(Work::Count(counting));
                    }
                    Ok(()) => {
                        let approximate = !counting.query.is_finished();
                        self.out.say(message::count(&counting.id, counting.count, approximate));
                    }
                    Err(error) => self.out.say(message::closed(&counting.id, &unreadable_store(&error))),
                }
                self.counts -= 1;
            }
            Done::Reconcile(work, answer) => self.reconciled(work, answer, now),
            Done::CatchUp(from, page) => match page {
                Ok((events, upto)) => {
                    self.catching_up = CatchingUp::No;
                    self.tell(from, &events, upto, unix_seconds());
                }
                Err(error) => {
                    self.catching_up = CatchingUp::Failed;
                    tracing::error!(%error, "can't read the feed for a subscriber");
                }
            },
        }
    }

    /// Lets go of what nobody has asked about for too long.
    pub(crate) fn tick(&mut self, now: Instant) {
        if self.catching_up == CatchingUp::Failed {
            self.catching_up = CatchingUp::No;
        }
        for id in self.reconciliations.forget_idle(now, self.limits.reconciliation_idle) {
            self.out.say(message::neg_err(&id, "closed: idle for too long", None));
        }
    }

    /// The place after which live events are due; `None` where none are.
    pub(crate) fn live_place(&self) -> Option<FeedSeq> {
        self.subscriptions.place().filter(|_| self.catching_up == CatchingUp::No)
    }

    /// Asks for the feed after `place`, which the ring no longer holds.
    pub(crate) fn catch_up(&mut self, place: FeedSeq) {
        self.catching_up = CatchingUp::Reading;
        self.work.push_back(Work::CatchUp(place));
    }

    /// Takes the events after `from`, up to and including the place `upto`, and tells whoever wants them.
    pub(crate) fn tell(&mut self, from: FeedSeq, events: &[Arc<LiveEvent>], upto: FeedSeq, now: u64) {
        self.subscriptions.tell(from, events, upto, now, &mut self.out);
    }
}

fn unreadable_store(error: &sync_core::store::StoreError) -> String {
    tracing::error!(%error, "can't answer a client");
    "error: the store can't be read".to_owned()
}
