//! Live subscriptions: what should be open, is; new ones open before old ones close.

use std::sync::Arc;

use nostr::filter::Filter;
use nostr::types::Timestamp;

use super::fetch::DEFAULT_ANSWER_TIMEOUT_MS;
use super::machine::{RelayLink, Sub, SubTarget};
use super::{LinkNotice, LinkOutput, LiveKey, LiveSubscription, wire};
use crate::response::{Meaning, Said};
use crate::store::StoreError;
use crate::time::{MonoMillis, Now};

/// How long a refused subscription waits before it is tried again.
const RETRY_MS: u64 = 300_000;
/// How far back a subscription reaches that is opened by `since`, seconds: clocks differ, and what is new may be dated
/// earlier. What lies that far back comes once more, and is known.
const SINCE_MARGIN_S: u64 = 900;

#[derive(Debug)]
pub(super) struct Live {
    filters: Vec<Filter>,
    /// Its wire id while open.
    wire: Option<String>,
    /// Told as refused, and not yet restored.
    refused: bool,
    /// The relay mishandles `limit: 0`: ask by `since` instead.
    by_since: bool,
    /// What it was opened by, and when our clock is compared with that again.
    since: Option<(u64, MonoMillis)>,
    retry_at: Option<MonoMillis>,
    /// To be opened as soon as another subscription makes room.
    waits: bool,
    /// Asked for, and not answered: counts as open from this moment on, since some relays never answer `limit: 0`.
    unanswered_until: Option<MonoMillis>,
}

impl RelayLink {
    /// How many subscriptions live sync may hold; the rest of the budget is kept for history.
    fn live_budget(&self) -> usize {
        self.max_subs - self.max_subs.div_ceil(2).min(3)
    }

    pub(super) fn set_live(&mut self, wanted: Vec<LiveSubscription>, now: Now) {
        let keys: std::collections::BTreeSet<LiveKey> = wanted.iter().map(|live| live.key).collect();
        for LiveSubscription { key, filters } in wanted {
            let live = self.live.entry(key).or_insert_with(|| Live {
                filters: Vec::new(),
                wire: None,
                refused: false,
                by_since: false,
                since: None,
                retry_at: None,
                waits: false,
                unanswered_until: None,
            });
            if live.filters != filters {
                live.filters = filters;
                live.retry_at = Some(now.mono_ms);
            }
        }
        // Opened first, so that nothing falls between the old and the new.
        self.open_live(now);
        let gone: Vec<LiveKey> = self.live.keys().filter(|key| !keys.contains(key)).copied().collect();
        for key in gone {
            self.outlived.extend(self.live.remove(&key).and_then(|live| live.wire));
        }
        self.close_outlived();
        // What didn't fit beside the old may fit in their place.
        self.open_live(now);
    }

    /// Opens whatever is due.
    pub(super) fn open_live(&mut self, now: Now) {
        if self.quiet_until > now.mono_ms || self.auth_pending() {
            return;
        }
        let due: Vec<LiveKey> = self
            .live
            .iter()
            .filter(|(_, live)| live.waits || live.retry_at.is_some_and(|at| at <= now.mono_ms))
            .map(|(key, _)| *key)
            .collect();
        for key in due {
            let open = self.live.values().filter(|live| live.wire.is_some()).count();
            let (budget, full) = (self.live_budget(), self.free_subs() == 0);
            let Some(live) = self.live.get_mut(&key) else { continue };
            if live.wire.is_none() && open >= budget {
                let text = format!("no room: {open} of at most {budget} live subscriptions are open");
                self.refuse(key, text, RETRY_MS, now);
                continue;
            }
            live.retry_at = None;
            // The new one opens beside the old, so it needs a place even where it only replaces.
            live.waits = full;
            if full {
                continue;
            }
            let since = now.unix_s.saturating_sub(SINCE_MARGIN_S);
            live.since = live.by_since.then_some((since, now.mono_ms + RETRY_MS));
            let filters: Vec<Filter> = live
                .filters
                .iter()
                .map(|filter| {
                    let filter = filter.clone();
                    if live.by_since { filter.since(Timestamp::from_secs(since)) } else { filter.limit(0) }
                })
                .collect();
            let old = live.wire.take();
            // An answer is matched by what was asked for, without the limit.
            let asked: Arc<[Filter]> = live.filters.as_slice().into();
            let wire =
                self.open_sub('l', Sub { target: SubTarget::Live(key), filters: asked, batch: None, question: None });
            if let Some(live) = self.live.get_mut(&key) {
                live.wire = Some(wire.clone());
                live.unanswered_until = Some(now.mono_ms + DEFAULT_ANSWER_TIMEOUT_MS);
            }
            self.send(wire::req(&wire, &filters), None);
            self.outlived.extend(old);
        }
    }

    /// What the relay refused may be open to us now.
    pub(super) fn live_again(&mut self, now: Now) {
        for live in self.live.values_mut().filter(|live| live.retry_at.is_some()) {
            live.retry_at = Some(now.mono_ms);
        }
    }

    /// A subscription by a `since` that our clock has gone back behind hears nothing new: it is opened again.
    pub(super) fn live_in_time(&mut self, now: Now) {
        let mut stale = false;
        for live in self.live.values_mut().filter(|live| live.wire.is_some()) {
            if let Some((since, at)) = &mut live.since
                && *at <= now.mono_ms
            {
                *at = now.mono_ms + RETRY_MS;
                if *since > now.unix_s.saturating_sub(SINCE_MARGIN_S / 2) {
                    live.retry_at = Some(now.mono_ms);
                    stale = true;
                }
            }
        }
        if stale {
            self.touch();
        }
    }

    fn refuse(&mut self, key: LiveKey, text: String, retry_ms: u64, now: Now) {
        let Some(live) = self.live.get_mut(&key) else { return };
        live.retry_at = Some(now.mono_ms + retry_ms);
        live.waits = false;
        if !live.refused {
            live.refused = true;
            self.out.push_back(LinkOutput::Notice(LinkNotice::LiveRefused { key, text }));
        }
    }

    pub(super) fn live_closed(&mut self, wire: &str, key: LiveKey, said: &Said, now: Now) {
        self.outlived.retain(|outlived| outlived != wire);
        let Some(live) = self.live.get_mut(&key).filter(|live| live.wire.as_deref() == Some(wire)) else { return };
        live.wire = None;
        live.unanswered_until = None;
        let may_be_the_limit =
            matches!(said.meaning, Meaning::Invalid | Meaning::Error | Meaning::Unsupported | Meaning::Unknown);
        if may_be_the_limit && !live.by_since {
            live.by_since = true;
            live.retry_at = Some(now.mono_ms);
            self.open_live(now);
            return;
        }
        let text =
            if said.text.is_empty() { "closed by the relay without a word".to_owned() } else { said.text.clone() };
        let retry = if said.meaning == Meaning::RateLimited { self.config.rate_limit_cooldown_ms } else { RETRY_MS };
        self.refuse(key, text, retry, now);
        self.close_outlived();
    }

    /// An event of a live subscription could not be stored: live sync is incomplete, and opens again later.
    pub(super) fn live_unstored(&mut self, key: LiveKey, error: &StoreError, now: Now) {
        let Some(live) = self.live.get_mut(&key) else {
            let text = error.to_string();
            self.out.push_back(LinkOutput::Notice(LinkNotice::LiveRefused { key, text }));
            return;
        };
        live.unanswered_until = None;
        if let Some(wire) = live.wire.take() {
            self.close_sub(&wire);
        }
        self.refuse(key, error.to_string(), RETRY_MS, now);
        self.close_outlived();
    }

    /// The relay answers by this wire: the subscription is open, unless it is one that was replaced.
    pub(super) fn live_heard(&mut self, wire: &str, key: LiveKey) {
        if self.live.get(&key).is_some_and(|live| live.wire.as_deref() == Some(wire)) {
            self.live_answered(key);
        }
    }

    fn live_answered(&mut self, key: LiveKey) {
        let Some(live) = self.live.get_mut(&key) else { return };
        live.unanswered_until = None;
        if std::mem::take(&mut live.refused) {
            self.out.push_back(LinkOutput::Notice(LinkNotice::LiveRestored { key }));
        }
        self.close_outlived();
    }

    /// Closes what was replaced, once what replaced it is open: an event that was on its way by then came before the
    /// answer that said so.
    fn close_outlived(&mut self) {
        if self.live.values().any(|live| live.unanswered_until.is_some()) {
            return;
        }
        // A relay that is silent altogether may not have read what replaces them; without room nothing could be asked.
        let mut newest = self.live.values().filter_map(|live| live.wire.as_deref()).map(wire_number);
        if newest.any(|number| number > self.heard_upto) && self.free_subs() > 0 {
            return;
        }
        for wire in std::mem::take(&mut self.outlived) {
            self.close_sub(&wire);
            self.touch();
        }
    }

    /// The relay answers by this wire: it has read what was asked until then.
    pub(super) fn heard(&mut self, wire: &str) {
        let number = wire_number(wire);
        if number > self.heard_upto {
            self.heard_upto = number;
            self.close_outlived();
        }
    }

    /// The relay holds no more than `most` subscriptions at once: live ones beyond their share make room for history.
    pub(super) fn shrink(&mut self, most: usize, now: Now) {
        self.max_subs = most.max(1);
        let budget = self.live_budget();
        let open = self.live.iter().filter(|(_, live)| live.wire.is_some()).map(|(key, _)| *key);
        let beyond: Vec<LiveKey> = open.skip(budget).collect();
        for key in beyond {
            let Some(wire) = self.live.get_mut(&key).and_then(|live| live.wire.take()) else { continue };
            self.close_sub(&wire);
            if let Some(live) = self.live.get_mut(&key) {
                live.unanswered_until = None;
            }
            let text = format!("no room: the relay holds {most} subscriptions, {budget} of them live");
            self.refuse(key, text, RETRY_MS, now);
        }
        self.close_outlived();
    }

    /// Nothing was said against these for so long that they count as open.
    pub(super) fn live_settled(&mut self, now: Now) {
        let open = |live: &Live| live.unanswered_until.is_some_and(|until| until <= now.mono_ms);
        let keys: Vec<LiveKey> = self.live.iter().filter(|(_, live)| open(live)).map(|(key, _)| *key).collect();
        keys.into_iter().for_each(|key| self.live_answered(key));
    }

    /// A NOTICE of rate limits: it may be the answer to any subscription that isn't answered, so none of them is open.
    pub(super) fn live_unsure(&mut self, said: &Said, now: Now) {
        let unanswered = |live: &Live| live.unanswered_until.is_some();
        let keys: Vec<LiveKey> = self.live.iter().filter(|(_, live)| unanswered(live)).map(|(key, _)| *key).collect();
        for key in keys {
            let wire = self.live.get_mut(&key).and_then(|live| {
                live.unanswered_until = None;
                live.wire.take()
            });
            wire.into_iter().for_each(|wire| self.close_sub(&wire));
            self.refuse(key, said.text.clone(), self.config.rate_limit_cooldown_ms, now);
        }
        self.close_outlived();
    }

    pub(super) fn live_deadline(&self) -> Option<MonoMillis> {
        // Until the relay has said whether it knows us, nothing is opened again.
        let may_open = !self.auth_pending();
        let due = self.live.values().flat_map(|live| {
            let check = live.since.filter(|_| live.wire.is_some()).map(|(_, at)| at);
            [live.retry_at.filter(|_| may_open), live.unanswered_until, check]
        });
        due.flatten().min()
    }
}

/// When a subscription was asked for, among all.
fn wire_number(wire: &str) -> u64 {
    wire.get(1..).and_then(|number| number.parse().ok()).unwrap_or_default()
}
