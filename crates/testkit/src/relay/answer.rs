//! What a relay answers to each message of a client, faults included.

use std::collections::BTreeMap;
use std::sync::Arc;

use nostr::event::Event;
use nostr::filter::Filter;
use sync_core::Now;

use super::connection::{Body, Queued, RelayConnection, Subscription};
use super::core::{RelayOptions, State};
use super::faults::{Faults, NoNegentropy, RateLimitAnswer, TooBigWording};
use super::index::{Inserted, StoredEvent, key};
use super::message::{self, ClientMessage};
use super::negentropy::Reconciliation;
use super::stats::{SeenRequest, remember};

const AUTH_REQUIRED: &str = "auth-required: this relay serves authenticated clients only";
const SESSION_GONE: &str = "closed: unknown subscription handle";
/// How far the time of an AUTH event may be off, seconds (NIP-42).
const AUTH_WINDOW: u64 = 600;
const AUTH_KIND: u16 = 22242;

impl RelayConnection {
    /// Answers a message; `refused` is why its event failed the check, where it did.
    pub(super) fn answer(
        &mut self,
        state: &mut State,
        message: ClientMessage,
        refused: Option<nostr::error::Error>,
        now: Now,
    ) {
        match message {
            ClientMessage::Event(event) => self.published(state, *event, refused),
            ClientMessage::Auth(event) => self.authenticate(state, &event, now),
            ClientMessage::Req { id, filters } => self.requested(state, id, filters, now),
            ClientMessage::Close { id } => self.unsubscribed(state, &id),
            ClientMessage::NegOpen { id, filter, message } => self.neg_opened(state, id, *filter, &message, now),
            ClientMessage::NegMsg { id, message } => self.neg_continued(state, &id, &message),
            ClientMessage::NegClose { id } => self.neg_forget(state, &id),
        }
    }

    fn published(&mut self, state: &mut State, event: Event, refused: Option<nostr::error::Error>) {
        let id = event.id.to_hex();
        *state.stats.events_offered.entry(event.id).or_default() += 1;
        let (accepted, message) = if self.challenge.is_some() {
            (false, AUTH_REQUIRED.to_owned())
        } else if let Some(answer) = &state.faults.ok {
            (answer.accepted, answer.message.clone())
        } else if let Some(error) = refused {
            (false, format!("invalid: {error}"))
        } else {
            let (accepted, message) = match state.take(event, &self.core.options) {
                Inserted::Stored => {
                    state.stats.events_stored += 1;
                    (true, "")
                }
                Inserted::Ephemeral => (true, ""),
                Inserted::Duplicate => (true, "duplicate: have this event"),
                Inserted::Superseded => (false, "replaced: have newer event"),
                Inserted::Deleted => (false, "deleted: user requested deletion"),
            };
            (accepted, message.to_owned())
        };
        self.say("OK", message::ok(&id, accepted, &message));
    }

    fn authenticate(&mut self, state: &mut State, event: &Event, now: Now) {
        let names = |name: &str| event.tags.iter().find(|tag| tag.kind() == name).and_then(|tag| tag.content());
        let fault = if event.kind.as_u16() != AUTH_KIND {
            Some("invalid: not an event of kind 22242")
        } else if event.created_at.as_secs().abs_diff(now.unix_s) > AUTH_WINDOW {
            Some("invalid: created_at is too far from now")
        } else if self.challenge.as_deref().is_some_and(|challenge| names("challenge") != Some(challenge)) {
            Some("invalid: not the challenge of this connection")
        } else if names("relay").is_none() {
            Some("invalid: no relay tag")
        } else {
            event.verify().is_err().then_some("invalid: id or signature")
        };
        if fault.is_none() && self.challenge.take().is_some() {
            state.stats.authenticated += 1;
        }
        self.say("OK", message::ok(&event.id.to_hex(), fault.is_none(), fault.unwrap_or_default()));
    }

    fn requested(&mut self, state: &mut State, id: String, mut filters: Vec<Filter>, now: Now) {
        let request = SeenRequest { connection: self.number, id: id.clone(), filters: filters.clone() };
        remember(&mut state.stats.reqs, request);
        self.forget(state, &id);
        if filters.is_empty() {
            return self.say("CLOSED", message::closed(&id, "invalid: no filter"));
        }
        if self.challenge.is_some() {
            return self.say("CLOSED", message::closed(&id, AUTH_REQUIRED));
        }
        if self.is_limited(state, now, |reason| ("CLOSED", message::closed(&id, reason))) {
            return;
        }
        if let Some(reason) = &state.faults.refuse_req {
            return self.say("CLOSED", message::closed(&id, reason));
        }
        if state.faults.max_subscriptions.is_some_and(|max| self.subscriptions.len() >= max) {
            return self.say("CLOSED", message::closed(&id, "error: too many concurrent REQs"));
        }
        if state.faults.ignore_until {
            filters.iter_mut().for_each(|filter| filter.until = None);
        }
        let stored = Stored::for_filters(state, &self.core.options, &filters);
        let quoted: Arc<str> = message::quoted(&id).into();
        self.queue_stored(&state.faults, &self.core.options.clone(), &id, &quoted, &filters, stored);
        if !(state.faults.closed_after_ids && are_by_ids(&filters)) {
            self.subscriptions.insert(id, Subscription { filters, quoted, live_from: state.arrivals.len() });
            state.stats.subscriptions += 1;
            state.stats.max_subscriptions = state.stats.max_subscriptions.max(self.subscriptions.len() as u64);
        }
    }

    fn queue_stored(
        &mut self,
        faults: &Faults,
        options: &RelayOptions,
        id: &str,
        quoted: &Arc<str>,
        filters: &[Filter],
        stored: Stored,
    ) {
        let Stored { mut events, complete } = stored;
        let late = events.split_off(events.len() - faults.events_after_eose.min(events.len()));
        let frame = |name, body| Queued { name, of: Some(Arc::clone(quoted)), body };
        events.into_iter().for_each(|event| self.push(frame("EVENT", Body::Event(event))));
        if faults.closed_after_ids && are_by_ids(filters) {
            self.say("CLOSED", message::closed(id, ""));
        } else if !(faults.limit_zero_never_eose && filters.iter().all(|filter| filter.limit == Some(0))) {
            let eose = message::eose(id, options.eose_hint.then_some(complete));
            for _ in 0..if faults.repeat_eose { 2 } else { 1 } {
                self.push(frame("EOSE", Body::Text(eose.clone())));
            }
        }
        late.into_iter().for_each(|event| self.push(frame("EVENT", Body::Event(event))));
    }

    fn unsubscribed(&mut self, state: &mut State, id: &str) {
        let Some(gone) = self.forget(state, id) else { return };
        if state.faults.event_after_close
            && let Some(event) = gone.filters.iter().find_map(|filter| state.index.query(filter).next())
        {
            self.push(Queued { name: "EVENT", of: Some(gone.quoted), body: Body::Event(Arc::clone(event)) });
        }
    }

    fn neg_opened(&mut self, state: &mut State, id: String, filter: Filter, message: &str, now: Now) {
        let request = SeenRequest { connection: self.number, id: id.clone(), filters: vec![filter.clone()] };
        remember(&mut state.stats.neg_opens, request);
        if let Some(way) = state.faults.no_negentropy {
            return self.neg_unsupported(way, &id);
        }
        self.neg_forget(state, &id);
        let refuse = |reason: &str| ("NEG-ERR", message::neg_err(&id, reason, None));
        if self.challenge.is_some() {
            let (name, text) = refuse(AUTH_REQUIRED);
            return self.say(name, text);
        }
        if self.is_limited(state, now, refuse) {
            return;
        }
        if state.faults.max_negentropy.is_some_and(|max| self.reconciliations.len() >= max) {
            return self.say("NOTICE", message::notice("ERROR: too many concurrent NEG requests"));
        }
        let limit = filter.limit.unwrap_or(usize::MAX);
        if let Some(too_big) = state.faults.too_big {
            let count = state.index.query(&filter).take(limit).count() as u64;
            if count > too_big.cap {
                let prose = format!("blocked: query matches too many records ({count} > {})", too_big.cap);
                let text = match too_big.wording {
                    TooBigWording::FourthElement => {
                        message::neg_err(&id, "blocked: too many query results", Some(too_big.cap))
                    }
                    TooBigWording::Bare => message::neg_err(&id, "blocked: too many query results", None),
                    TooBigWording::Prose => message::neg_err(&id, &prose, None),
                };
                return self.say("NEG-ERR", text);
            }
        }
        let limit = limit.min(state.faults.truncate_negentropy.unwrap_or(usize::MAX));
        let events = state.index.query(&filter).take(limit).map(|stored| &stored.event);
        match Reconciliation::new(events, self.core.options.frame_limit, state.faults.old_negentropy) {
            Err(error) => self.say("NEG-ERR", message::neg_err(&id, &format!("error: {error}"), None)),
            Ok(reconciliation) => {
                self.reconciliations.insert(id.clone(), reconciliation);
                let open = self.reconciliations.len() as u64;
                state.stats.reconciliations += 1;
                state.stats.max_reconciliations = state.stats.max_reconciliations.max(open);
                self.neg_continued(state, &id, message);
            }
        }
    }

    fn neg_continued(&mut self, state: &mut State, id: &str, message: &str) {
        let forgets = state.faults.forget_negentropy_after;
        let Some(open) = self.reconciliations.get_mut(id).filter(|open| forgets.is_none_or(|max| open.rounds < max))
        else {
            self.neg_forget(state, id);
            return self.say("NEG-ERR", message::neg_err(id, SESSION_GONE, None));
        };
        match open.answer(message) {
            Ok(answer) => self.say("NEG-MSG", message::neg_msg(id, &answer)),
            Err(error) => {
                self.neg_forget(state, id);
                self.say("NEG-ERR", message::neg_err(id, &format!("PROTOCOL-ERROR: {error}"), None));
            }
        }
    }

    fn neg_forget(&mut self, state: &mut State, id: &str) {
        if self.reconciliations.remove(id).is_some() {
            state.stats.reconciliations -= 1;
        }
    }

    fn neg_unsupported(&mut self, way: NoNegentropy, id: &str) {
        let notice = |text| ("NOTICE", message::notice(text));
        let (name, text) = match way {
            NoNegentropy::NoticeDisabled => notice("ERROR: bad msg: negentropy disabled"),
            NoNegentropy::NoticeUnknownCommand => notice("ERROR: bad msg: unknown cmd"),
            NoNegentropy::NoticeUnknownLabel => notice("failed to parse envelope: unknown envelope label"),
            NoNegentropy::NoticeCouldNotParse => notice("could not parse command"),
            NoNegentropy::NoticeInvalid => notice("invalid: \"[0]\" must be one of [EVENT, REQ, CLOSE, AUTH]"),
            NoNegentropy::NegErrDisabled => {
                ("NEG-ERR", message::neg_err(id, "blocked: Negentropy sync is disabled", None))
            }
            NoNegentropy::ClosedAndNotice => {
                let closed = message::closed(id, "blocked: filters must specify at least one kind");
                self.say("CLOSED", closed);
                notice("failed to parse envelope: unknown envelope label")
            }
            NoNegentropy::Silence => return,
            NoNegentropy::Garbage => ("NEG-MSG", message::neg_msg(id, "not hex")),
            NoNegentropy::OtherVersion => ("NEG-MSG", message::neg_msg(id, "60")),
        };
        self.say(name, text);
    }

    /// Counts a request, and turns it away where there were too many.
    fn is_limited(&mut self, state: &mut State, now: Now, refuse: impl FnOnce(&str) -> (&'static str, String)) -> bool {
        let Some(limit) = state.count_request(now) else { return false };
        match limit.answer {
            RateLimitAnswer::Closed => {
                let (name, text) = refuse("rate-limited: too many REQs");
                self.say(name, text);
            }
            RateLimitAnswer::Notice => self.say("NOTICE", message::notice("rate-limited: slow down")),
            RateLimitAnswer::NoticeAndDrop => {
                self.say("NOTICE", message::notice("Rate limit exceeded."));
                self.push(Queued { name: "", of: None, body: Body::Drop });
            }
        }
        true
    }
}

/// The stored events of an answer.
struct Stored {
    events: Vec<Arc<StoredEvent>>,
    /// Whether nothing was left out for a limit.
    complete: bool,
}

impl Stored {
    fn for_filters(state: &State, options: &RelayOptions, filters: &[Filter]) -> Self {
        let faults = &state.faults;
        let mut complete = true;
        let mut found = BTreeMap::new();
        for filter in filters {
            let asked = filter.limit.filter(|limit| !(faults.ignore_limit_zero && *limit == 0));
            let limit = asked
                .unwrap_or(options.default_limit)
                .min(options.max_limit)
                .min(faults.max_limit.unwrap_or(usize::MAX));
            let mut matching = state.index.query(filter);
            if faults.oldest_first {
                let all: Vec<_> = matching.collect();
                matching = Box::new(all.into_iter().rev());
            }
            let mut matching = matching.filter(|stored| !faults.withheld.contains(&stored.event.id));
            found.extend(matching.by_ref().take(limit).map(|stored| (key(&stored.event), Arc::clone(stored))));
            complete &= matching.next().is_none();
        }
        let mut events: Vec<_> = found.into_values().collect();
        if faults.oldest_first {
            events.reverse();
        }
        events.truncate(faults.max_ids.filter(|_| are_by_ids(filters)).unwrap_or(usize::MAX));
        if let Some(cap) = faults.page_cap.filter(|cap| *cap < events.len()) {
            events.truncate(cap);
            complete = false;
        }
        if faults.unordered {
            events.sort_unstable_by_key(|stored| stored.event.id);
        }
        Self { events, complete }
    }
}

fn are_by_ids(filters: &[Filter]) -> bool {
    filters.iter().all(|filter| filter.ids.is_some())
}
