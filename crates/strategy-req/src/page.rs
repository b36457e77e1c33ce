//! What one page has shown so far.

use std::collections::BTreeSet;

use sync_core::nostr::event::EventId;
use sync_core::strategy::{BadEvent, CheckVerdict, Window};

/// Ids kept of one second, to know repeats at the seam. More than the largest page.
const MAX_SEAM: usize = 8_192;

/// The events of one second that are known from a page.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seam {
    pub(crate) second: u64,
    ids: BTreeSet<EventId>,
}

impl Seam {
    fn new(second: u64) -> Self {
        Self { second, ids: BTreeSet::new() }
    }

    pub(crate) fn len(&self) -> u64 {
        self.ids.len() as u64
    }

    fn holds(&self, second: u64, id: &EventId) -> bool {
        self.second == second && self.ids.contains(id)
    }

    fn add(&mut self, id: EventId) {
        if self.ids.len() < MAX_SEAM {
            self.ids.insert(id);
        }
    }
}

/// A page, from its REQ to its end.
#[derive(Debug)]
pub(crate) struct Page {
    /// What was asked for.
    pub(crate) asked: Window,
    /// How many events were asked for.
    pub(crate) limit: u64,
    /// The second at which the page before ended.
    before: Option<Seam>,
    /// Everything that came, whatever the checks said: what a relay counts against its cap.
    pub(crate) raw: u64,
    /// What came that was neither asked for nor can be told apart from it.
    pub(crate) stray: u64,
    /// Checked events within `asked` that the page before and this one hadn't shown.
    pub(crate) fresh: u64,
    /// The checked events within `asked`; `None` where there are none.
    pub(crate) shown: Option<Shown>,
}

/// The checked events of a page.
#[derive(Debug)]
pub(crate) struct Shown {
    /// The newest second, and what is known of it.
    pub(crate) newest: Seam,
    /// The oldest second, and what is known of it.
    pub(crate) oldest: Seam,
    /// The second of the latest arrival.
    latest: u64,
    /// Whether an event was newer than the one before it.
    pub(crate) unordered: bool,
}

impl Shown {
    /// Whether all of the page lies in one second.
    pub(crate) fn is_one_second(&self) -> bool {
        self.newest.second == self.oldest.second
    }
}

impl Page {
    pub(crate) fn new(asked: Window, limit: u64, before: Option<Seam>) -> Self {
        Self { asked, limit, before, raw: 0, stray: 0, fresh: 0, shown: None }
    }

    /// Takes an event. Whether it is one that was asked for and not shown before.
    pub(crate) fn take(&mut self, id: EventId, created_at: u64, verdict: CheckVerdict) -> bool {
        self.raw += 1;
        match verdict {
            CheckVerdict::Bad(BadEvent::NotAsked) => {
                self.stray += 1;
                return false;
            }
            CheckVerdict::Bad(_) => return false,
            _ if !self.asked.contains(created_at) => {
                self.stray += 1;
                return false;
            }
            _ => {}
        }
        let repeated = self.before.as_ref().is_some_and(|seam| seam.holds(created_at, &id))
            || self.shown.as_ref().is_some_and(|shown| shown.oldest.holds(created_at, &id));
        let shown = self.shown.get_or_insert_with(|| Shown {
            newest: Seam::new(created_at),
            oldest: Seam::new(created_at),
            latest: created_at,
            unordered: false,
        });
        shown.unordered |= created_at > shown.latest;
        shown.latest = created_at;
        if created_at > shown.newest.second {
            shown.newest = Seam::new(created_at);
        }
        if created_at == shown.newest.second {
            shown.newest.add(id);
        }
        if created_at < shown.oldest.second {
            shown.oldest = Seam::new(created_at);
        }
        if created_at == shown.oldest.second {
            shown.oldest.add(id);
        }
        self.fresh += u64::from(!repeated);
        !repeated
    }
}
