//! What one answer has shown so far.

use std::collections::BTreeSet;

use strategy_abi::{Id, Verdict, Window};

/// Ids that are told apart. More than any answer holds that a cap is learnt from.
const MAX_IDS: usize = 8_192;

/// An answer, from its REQ to its end.
#[derive(Debug)]
pub(crate) struct Page {
    /// What was asked for.
    pub(crate) asked: Window,
    /// Everything that came, whatever the checks said: what a relay may count against its cap.
    pub(crate) raw: u64,
    /// The valid events within `asked`, each once.
    ids: BTreeSet<Id>,
    /// The span from the oldest of them to the newest.
    pub(crate) shown: Option<Window>,
}

impl Page {
    pub(crate) fn new(asked: Window) -> Self {
        Self { asked, raw: 0, ids: BTreeSet::new(), shown: None }
    }

    /// Takes an event; whether it is one that was asked for.
    pub(crate) fn take(&mut self, id: Id, created_at: u64, verdict: Verdict) -> bool {
        self.raw += 1;
        let asked = self.asked.since <= created_at && created_at <= self.asked.until;
        if matches!(verdict, Verdict::Bad(_)) || !asked {
            return false;
        }
        if self.ids.len() < MAX_IDS {
            self.ids.insert(id);
        }
        let Window { since, until } = self.shown.unwrap_or(Window { since: created_at, until: created_at });
        self.shown = Some(Window { since: since.min(created_at), until: until.max(created_at) });
        true
    }

    /// How many different events it surely has shown.
    pub(crate) fn valid(&self) -> u64 {
        self.ids.len() as u64
    }
}
