//! How large pages are on a relay whose connections break: what came before the break says how much fits before the next.

use sync_core::strategy::Window;

use crate::page::Page;
use crate::remembered::{Broke, Remembered};

/// Connections that may break over a second that is asked for by itself: other pages may have gone before it on the first.
const MAX_BREAKS: u8 = 2;

/// Page sizes of one session. What is to be remembered comes back from the calls that change it.
pub(crate) struct Sizes {
    /// The usual one.
    pub(crate) full: u64,
    /// That of the next page.
    pub(crate) limit: u64,
    /// Events in the largest page that was seen.
    pub(crate) most: u64,
    /// That of the first page.
    started: u64,
    remembered: Remembered,
    /// Tells the filter from others.
    tag: u64,
    /// All that is to be read.
    window: Window,
    /// Whether anything was claimed, or named as dense.
    progressed: bool,
    /// The second that a larger page was last asked for, until anything is claimed or named.
    raised: Option<u64>,
    /// Events that came in whole pages.
    total: u64,
}

/// How old a cap that is seen again may be before that is noted, seconds.
const REFRESH_S: u64 = 3_600;

impl Sizes {
    /// `full`: the usual size. `tag` tells the filter from others, `window` is all that is to be read by it.
    pub(crate) fn new(full: u64, remembered: Remembered, tag: u64, window: Window) -> Self {
        let started = remembered.limit.map_or(full, |limit| full.min(limit.into()));
        Self {
            full,
            limit: started,
            most: remembered.most.0.into(),
            started,
            remembered,
            tag,
            window,
            progressed: false,
            raised: None,
            total: 0,
        }
    }

    /// The size of a page that ends at `until`.
    pub(crate) fn of_page_at(&self, until: u64) -> u64 {
        // Larger ones than the first would break there again.
        if self.gave_up_on(until) { self.started.min(self.limit) } else { self.limit }
    }

    /// Whether connections broke over a second whenever all of it was asked for.
    pub(crate) fn gave_up_on(&self, second: u64) -> bool {
        self.broke_at(second).is_some_and(|broke| broke.times >= MAX_BREAKS)
    }

    /// Whether all of a second is to be asked for by a page of the usual size.
    pub(crate) fn may_raise(&self, second: u64) -> bool {
        self.limit < self.full && !self.gave_up_on(second)
    }

    /// All of a second is asked for.
    pub(crate) fn raise(&mut self, second: u64) {
        self.raised = Some(second);
    }

    /// Something was claimed, or named as dense.
    pub(crate) fn made_progress(&mut self) {
        self.progressed = true;
        self.raised = None;
    }

    /// The events of a page that the relay was seen to cut in an earlier session.
    pub(crate) fn heard_cap(&self) -> Option<u64> {
        Some(self.remembered.cap.0.into()).filter(|cap| *cap > 0)
    }

    /// The relay cuts pages at `cap`, or doesn't where it was seen to before; what is to be remembered, where that is news.
    /// `now`: unix seconds.
    pub(crate) fn cuts_at(&mut self, cap: Option<u64>, now: u64) -> Option<Vec<u8>> {
        let cap = cap.map_or((0, 0), |cap| (bounded(cap), now));
        let known = self.remembered.cap;
        if cap.0 == known.0 && now.saturating_sub(known.1) < REFRESH_S {
            return None;
        }
        self.remembered.cap = cap;
        // Pages that have grown to the usual size since are no news of this session's any more.
        let recovered = self.limit >= self.full && self.remembered.limit.is_some();
        let Remembered { limit, broke, .. } = self.remembered;
        let (limit, broke) = if recovered { (None, None) } else { (limit, broke) };
        Some(Remembered { limit, broke, ..self.remembered }.bytes())
    }

    fn broke_at(&self, second: u64) -> Option<Broke> {
        self.remembered.broke.filter(|broke| (broke.second, broke.filter) == (second, self.tag))
    }

    /// A page of `raw` events came whole: the next may be larger, where that says anything of large ones.
    pub(crate) fn came_whole(&mut self, raw: u64) -> Option<Vec<u8>> {
        self.total += raw;
        self.most = self.most.max(raw);
        if raw.saturating_mul(2) < self.limit {
            return None;
        }
        let grown = self.limit.saturating_mul(2).min(self.full);
        let recovered = grown == self.full && self.limit < grown;
        self.limit = grown;
        recovered.then(|| Remembered { limit: None, broke: None, ..self.remembered }.bytes())
    }

    /// Everything was read on one connection: the relay is better than it was. Where it broke over a second of that, this is
    /// tried again next time.
    pub(crate) fn settle(&mut self) -> Option<Vec<u8>> {
        self.remembered.limit.take().filter(|_| self.limit < self.full)?;
        let elsewhere = |broke: &Broke| broke.filter != self.tag || !self.window.contains(broke.second);
        let broke = self.remembered.broke.filter(elsewhere);
        Some(Remembered { limit: Some(bounded(self.limit)), broke, ..self.remembered }.bytes())
    }

    /// The connection broke within `page`, at `now` (unix seconds). Sessions without progress don't go on for ever: their
    /// pages get smaller, and at the last a second is flagged.
    pub(crate) fn lost(&mut self, page: &Page, is_first: bool, now: u64) -> Option<Vec<u8>> {
        if page.raw == 0 && (is_first || self.progressed) && self.raised.is_none() {
            return None;
        }
        let mut limit = match page.raw {
            // Smaller pages were of use before.
            _ if self.raised.is_some() => self.started,
            0 => self.started,
            came => (self.total + came).div_ceil(2).min(page.limit),
        };
        if !is_first && !self.progressed && self.raised.is_none() {
            limit = limit.min((self.started / 2).max(1));
        }
        if limit >= self.full && self.raised.is_none() {
            return None;
        }
        let broke = self.raised.map(|second| {
            let times = self.broke_at(second).map_or(0, |broke| broke.times).saturating_add(1);
            Broke { second, filter: self.tag, times }
        });
        let most = bounded(self.most.max(page.raw));
        let most = if most > self.remembered.most.0 { (most, now) } else { self.remembered.most };
        let limit = Some(bounded(limit.min(self.full)));
        Some(Remembered { limit, most, broke: broke.or(self.remembered.broke), ..self.remembered }.bytes())
    }
}

fn bounded(size: u64) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
