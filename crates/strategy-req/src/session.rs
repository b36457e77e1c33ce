//! One filter over one window, page by page: when to ask, what an answer means, when to give up.
//!
//! A relay may send [`MAX_PAGE_EVENTS`] events in a page and take [`MAX_PAGE_TIMEOUTS`] timeouts over it; of what it
//! sends a session keeps the ids of one second at most.

use std::collections::{BTreeSet, VecDeque};

use sync_core::model::FailureReason;
use sync_core::nostr::event::EventId;
use sync_core::response::{Meaning, Said};
use sync_core::strategy::{
    CheckVerdict, Input, Message, Output, ProtocolError, SessionOutcome, SessionRequest, SetView, SubId, SyncSession,
    Window, duration_text,
};
use sync_core::{MonoMillis, Now};

use crate::config::Settings;
use crate::offer::Offer;
use crate::page::Page;
use crate::pager::Pager;
use crate::remembered::{Remembered, tag};
use crate::sizes::Sizes;

/// Events of one page. A relay that ignores `limit` sends all that it has.
const MAX_PAGE_EVENTS: u64 = 1_000_000;
/// Timeouts that a page may take in all, however often new events put off the end.
const MAX_PAGE_TIMEOUTS: u64 = 20;

pub(crate) struct ReqSession {
    settings: Settings,
    request: SessionRequest,
    /// The number of the next REQ.
    next_sub: SubId,
    phase: Phase,
    out: VecDeque<Output>,
}

enum Phase {
    New,
    Paging(Box<Paging>),
    Over,
}

struct Paging {
    reading: Reading,
    sub: SubId,
    page: Page,
    /// When the page is given up for silence.
    silent_at: MonoMillis,
    /// When it is given up in any case.
    late_at: MonoMillis,
}

/// What outlives a page.
struct Reading {
    pager: Pager,
    /// What the relay hasn't shown, where that is asked for.
    offer: Option<Offer>,
    /// What was asked for by its id, and hasn't come.
    open: Option<BTreeSet<EventId>>,
}

impl ReqSession {
    pub(crate) fn new(settings: Settings, request: SessionRequest) -> Self {
        Self { settings, request, next_sub: 0, phase: Phase::New, out: VecDeque::new() }
    }

    fn start(&mut self, local: &dyn SetView, now: Now) {
        let SessionRequest { filter, window, drained, profile, direction, remembered, .. } = &self.request;
        let matching = Window {
            since: filter.since.map_or(0, |since| since.as_secs()),
            until: filter.until.map_or(u64::MAX, |until| until.as_secs()),
        };
        // What the relay lacks is known only where all that it has was seen in this session.
        let drained = if direction.up() { &[] } else { drained.as_slice() };
        let remembered = Remembered::read(remembered, now.unix_s);
        let sizes = Sizes::new(self.settings.limit(profile), remembered, tag(filter), *window);
        let pager = Pager::new(*window, drained, matching, now.unix_s, sizes, profile.max_limit.is_some());
        let offer = direction.up().then(|| Offer::new(local));
        let open = filter.ids.clone();
        self.ask(Reading { pager, offer, open }, now);
    }

    /// Asks for the next page, or ends.
    fn ask(&mut self, mut reading: Reading, now: Now) {
        if reading.open.as_ref().is_some_and(BTreeSet::is_empty) {
            reading.pager.all_shown();
        }
        let next = reading.pager.next();
        self.out.extend(reading.pager.take_outputs());
        let page = match next {
            Ok(Some(page)) => page,
            Ok(None) => return self.conclude(reading),
            Err(text) => return self.fail(FailureReason::Protocol, text),
        };
        let sub = self.next_sub;
        self.next_sub = self.next_sub.wrapping_add(1);
        let filter = page.asked.narrow(&self.request.filter).limit(usize::try_from(page.limit).unwrap_or(usize::MAX));
        self.out.push_back(Output::Send(Message::Req { sub, filter: Box::new(filter) }));
        let timeout = self.settings.timeout_ms;
        self.phase = Phase::Paging(Box::new(Paging {
            reading,
            sub,
            page,
            silent_at: now.mono_ms.saturating_add(timeout),
            late_at: now.mono_ms.saturating_add(timeout.saturating_mul(MAX_PAGE_TIMEOUTS)),
        }));
    }

    fn conclude(&mut self, reading: Reading) {
        let Reading { pager, offer, .. } = reading;
        let lacks = |offer: Offer| offer.chunks(|second| !pager.is_dense(second)).map(Output::Have).collect::<Vec<_>>();
        self.out.extend(offer.into_iter().flat_map(lacks));
        self.done(SessionOutcome::Complete);
    }

    fn done(&mut self, outcome: SessionOutcome) {
        self.out.push_back(Output::Done(outcome));
        self.phase = Phase::Over;
    }

    fn fail(&mut self, reason: FailureReason, text: String) {
        self.done(SessionOutcome::Failed { reason, text });
    }

    fn event(&mut self, sub: SubId, id: EventId, created_at: u64, verdict: CheckVerdict, now: Now) {
        let Phase::Paging(paging) = &mut self.phase else { return };
        if !matches!(verdict, CheckVerdict::Bad(_)) {
            // Of an ended page too: late is not lacking.
            if let Some(offer) = &mut paging.reading.offer {
                offer.shown(created_at, &id);
            }
            if let Some(open) = &mut paging.reading.open {
                open.remove(&id);
            }
        }
        if sub != paging.sub {
            return;
        }
        if paging.page.take(id, created_at, verdict) {
            paging.silent_at = now.mono_ms.saturating_add(self.settings.timeout_ms);
        }
        if paging.page.raw > MAX_PAGE_EVENTS {
            self.out.push_back(Output::Send(Message::Close { sub }));
            self.fail(FailureReason::Protocol, format!("more than {MAX_PAGE_EVENTS} events in one page"));
        }
    }

    fn page_ended(&mut self, finished: Option<bool>, now: Now) {
        let Phase::Paging(paging) = std::mem::replace(&mut self.phase, Phase::Over) else { return };
        let Paging { mut reading, page, .. } = *paging;
        self.out.push_back(Output::Progress { items: page.fresh });
        match reading.pager.ended(page, finished) {
            Ok(()) => self.ask(reading, now),
            Err(text) => {
                self.out.extend(reading.pager.take_outputs());
                self.fail(FailureReason::Protocol, text);
            }
        }
    }

    fn closed(&mut self, said: &Said, now: Now) {
        let Phase::Paging(paging) = &self.phase else { return };
        // chorus ends a page so, in place of EOSE (WIRE.md).
        if said.meaning == Meaning::Unknown && (said.text.is_empty() || paging.page.raw > 0) {
            return self.page_ended(None, now);
        }
        self.refused(said);
    }

    fn refused(&mut self, said: &Said) {
        let text = said.text.clone();
        if said.meaning == Meaning::TooBig {
            return self.done(SessionOutcome::TooBig { cap: said.cap, text });
        }
        self.fail(FailureReason::Refused { prefix: said.meaning.as_str().to_owned() }, text);
    }

    fn timed_out(&mut self, now: Now) {
        let Phase::Paging(paging) = &self.phase else { return };
        let sub = paging.sub;
        let timeout = self.settings.timeout_ms;
        let text = if now.mono_ms >= paging.silent_at {
            format!("neither a new event nor EOSE within {}", duration_text(timeout))
        } else if now.mono_ms >= paging.late_at {
            format!("a page took longer than {}", duration_text(timeout.saturating_mul(MAX_PAGE_TIMEOUTS)))
        } else {
            return;
        };
        self.out.push_back(Output::Send(Message::Close { sub }));
        self.fail(FailureReason::Timeout, text);
    }

    fn connection_lost(&mut self, now: Now) {
        if let Phase::Paging(paging) = &mut self.phase {
            paging.reading.pager.lost(&paging.page, now.unix_s);
            self.out.extend(paging.reading.pager.take_outputs());
        }
        self.fail(FailureReason::ConnectionLost, "the connection was lost".to_owned());
    }

    fn current_sub(&self) -> Option<SubId> {
        match &self.phase {
            Phase::Paging(paging) => Some(paging.sub),
            Phase::New | Phase::Over => None,
        }
    }
}

impl SyncSession for ReqSession {
    fn handle(&mut self, input: Input<'_>, local: &dyn SetView, now: Now) -> Result<(), ProtocolError> {
        let current = self.current_sub();
        match input {
            Input::Start if matches!(self.phase, Phase::New) => self.start(local, now),
            Input::Start => return Err(ProtocolError("a session is started once".to_owned())),
            Input::ConnectionLost if !matches!(self.phase, Phase::Over) => {
                self.connection_lost(now);
            }
            Input::Event { sub, id, created_at, verdict } => self.event(sub, id, created_at, verdict, now),
            Input::Eose { sub, finished } if current == Some(sub) => {
                self.out.push_back(Output::Send(Message::Close { sub }));
                self.page_ended(finished, now);
            }
            Input::Closed { sub, said } if current == Some(sub) => self.closed(said, now),
            Input::Notice { said } if said.meaning != Meaning::Unknown && !said.names_negentropy => {
                if let Some(sub) = current {
                    self.out.push_back(Output::Send(Message::Close { sub }));
                    self.refused(said);
                }
            }
            Input::Timeout => self.timed_out(now),
            _ => {}
        }
        Ok(())
    }

    fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    fn next_timeout(&self) -> Option<(MonoMillis, &'static str)> {
        let Phase::Paging(paging) = &self.phase else { return None };
        Some(if paging.silent_at <= paging.late_at {
            (paging.silent_at, "an event or EOSE")
        } else {
            (paging.late_at, "the end of a page")
        })
    }
}
