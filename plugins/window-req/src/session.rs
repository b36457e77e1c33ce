//! One filter over one window: when to ask, what an answer means, when to give up.
//!
//! A relay may send [`MAX_ANSWER`] events in an answer and take [`MAX_TIMEOUTS`] timeouts over it.

use std::collections::{BTreeSet, VecDeque};

use strategy_abi::req::{Answer, End, Offer};
use strategy_abi::{Id, Input, Narrow, Outcome, Output, Reason, Request, Session, Set, Verdict};

use crate::WindowReq;
use crate::reader::Reader;

/// Events of one answer. A relay that ignores `limit` sends all that it has.
const MAX_ANSWER: u64 = 1_000_000;
/// Timeouts that an answer may take in all, however often events put off the end.
const MAX_TIMEOUTS: u64 = 20;

/// A session that reads by windows.
pub struct WindowSession {
    settings: WindowReq,
    request: Request,
    /// The number of the next REQ.
    next_sub: u32,
    phase: Phase,
    out: VecDeque<Output>,
}

enum Phase {
    New,
    Reading(Box<Reading>),
    Over,
}

struct Reading {
    reader: Reader,
    /// What the relay hasn't shown, where that is asked for.
    offer: Option<Offer>,
    /// What was asked for by its id, and hasn't come.
    open: Option<BTreeSet<Id>>,
    answer: Answer,
    /// When the answer is given up for silence.
    silent_at: u64,
    /// When it is given up in any case.
    late_at: u64,
}

impl WindowSession {
    pub(crate) fn new(settings: WindowReq, request: Request) -> Self {
        Self { settings, request, next_sub: 0, phase: Phase::New, out: VecDeque::new() }
    }

    fn start(&mut self, set: &Set<'_>, mono_ms: u64, unix_s: u64) {
        let Request { filter, window, profile, direction, .. } = &self.request;
        let limit = profile.max_limit.map_or(self.settings.page_size, |most| self.settings.page_size.min(most.max(1)));
        let open: Option<BTreeSet<Id>> = filter.ids.as_ref().map(|ids| ids.iter().copied().collect());
        // What is asked for by ids is as large as they are many.
        let width = if open.is_some() { u64::MAX } else { self.settings.first_window_s };
        let reader = Reader::new(*window, self.request.to_read(), unix_s, width, limit);
        let offer = direction.up().then(|| Offer::new(set));
        let answer = Answer::new(0, *window);
        let reading = Reading { reader, offer, open, answer, silent_at: 0, late_at: 0 };
        self.ask(Box::new(reading), mono_ms);
    }

    /// Asks for the next window, or ends.
    fn ask(&mut self, mut reading: Box<Reading>, mono_ms: u64) {
        if reading.open.as_ref().is_some_and(BTreeSet::is_empty) {
            reading.reader.all_shown();
        }
        let next = reading.reader.next();
        self.out.extend(reading.reader.take_outputs());
        let asked = match next {
            Ok(Some(asked)) => asked,
            Ok(None) => return self.conclude(&reading),
            Err(text) => return self.fail(*reading, Reason::Protocol, text),
        };
        let (sub, limit) = (self.next_sub, reading.reader.limit());
        self.next_sub = self.next_sub.wrapping_add(1);
        self.out.push_back(Output::Req { sub, narrow: Narrow::to(asked), limit });
        let timeout = self.settings.timeout_ms;
        reading.answer = Answer::new(sub, asked);
        reading.silent_at = mono_ms.saturating_add(timeout);
        reading.late_at = mono_ms.saturating_add(timeout.saturating_mul(MAX_TIMEOUTS));
        self.phase = Phase::Reading(reading);
    }

    fn conclude(&mut self, reading: &Reading) {
        if let Some(offer) = &reading.offer {
            let lacking = offer.lacking(|second| reading.reader.may_lack(second));
            self.out.extend(lacking.into_iter().map(Output::Have));
        }
        self.done(Outcome::Complete);
    }

    fn done(&mut self, outcome: Outcome) {
        self.out.push_back(Output::Done(outcome));
        self.phase = Phase::Over;
    }

    /// Ends with what is known by then.
    fn end(&mut self, mut reading: Reading, outcome: Outcome) {
        reading.reader.give_up();
        self.out.extend(reading.reader.take_outputs());
        self.done(outcome);
    }

    fn fail(&mut self, reading: Reading, reason: Reason, text: String) {
        self.end(reading, Outcome::Failed(reason, text));
    }

    fn answered(&mut self, mut reading: Box<Reading>, finished: Option<bool>, mono_ms: u64) {
        self.out.push_back(Output::Progress(reading.answer.valid()));
        let ended = reading.reader.ended(&reading.answer, finished);
        match ended {
            Ok(()) => self.ask(reading, mono_ms),
            Err(text) => self.fail(*reading, Reason::Protocol, text),
        }
    }

    fn timed_out(&mut self, reading: Box<Reading>, mono_ms: u64) {
        let text = if mono_ms >= reading.silent_at {
            format!("neither an event nor EOSE within {} ms", self.settings.timeout_ms)
        } else if mono_ms >= reading.late_at {
            format!("an answer took longer than {} ms", self.settings.timeout_ms.saturating_mul(MAX_TIMEOUTS))
        } else {
            self.phase = Phase::Reading(reading);
            return;
        };
        self.out.push_back(Output::Close { sub: reading.answer.sub });
        self.fail(*reading, Reason::Timeout, text);
    }
}

impl Reading {
    /// Takes an event, if it is one; whether that are too many.
    fn event(&mut self, input: &Input<'_>, mono_ms: u64, timeout_ms: u64) -> bool {
        if let Some(offer) = &mut self.offer {
            offer.take(input);
        }
        if let (Input::Event { id, verdict: Verdict::New | Verdict::Known, .. }, Some(open)) = (input, &mut self.open) {
            open.remove(id);
        }
        if self.answer.take(input) {
            self.silent_at = mono_ms.saturating_add(timeout_ms);
        }
        self.answer.raw > MAX_ANSWER
    }
}

impl Session for WindowSession {
    fn handle(&mut self, input: Input<'_>, set: &Set<'_>, mono_ms: u64, unix_s: u64) -> Result<(), String> {
        let mut reading = match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::New if input == Input::Start => {
                self.start(set, mono_ms, unix_s);
                return Ok(());
            }
            Phase::New if input == Input::ConnectionLost => {
                self.done(Outcome::Failed(Reason::ConnectionLost, "the connection was lost".to_owned()));
                return Ok(());
            }
            Phase::Reading(reading) => reading,
            phase => {
                self.phase = phase;
                return Ok(());
            }
        };
        let sub = reading.answer.sub;
        let is_open = !matches!(input, Input::Closed { .. } | Input::ConnectionLost);
        if input == Input::Start {
            return Err("a session is started once".to_owned());
        }
        if input == Input::Timeout {
            self.timed_out(reading, mono_ms);
        } else if let Some(end) = reading.answer.ended(&input) {
            self.out.extend(is_open.then_some(Output::Close { sub }));
            match end {
                End::Answered(finished) => self.answered(reading, finished, mono_ms),
                End::Over(outcome) => self.end(*reading, outcome),
            }
        } else if reading.event(&input, mono_ms, self.settings.timeout_ms) {
            self.out.push_back(Output::Close { sub });
            self.fail(*reading, Reason::Protocol, format!("more than {MAX_ANSWER} events in one answer"));
        } else {
            self.phase = Phase::Reading(reading);
        }
        Ok(())
    }

    fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    fn next_timeout(&self) -> Option<(u64, &'static str)> {
        let Phase::Reading(reading) = &self.phase else { return None };
        Some(if reading.silent_at <= reading.late_at {
            (reading.silent_at, "an event or EOSE")
        } else {
            (reading.late_at, "the end of an answer")
        })
    }
}
