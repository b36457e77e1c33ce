//! Sets of seconds.

use std::collections::BTreeMap;

use sync_core::strategy::Window;

/// Seconds, as spans that don't touch.
#[derive(Debug, Default)]
pub(super) struct Spans(BTreeMap<u64, u64>);

impl Spans {
    /// Adds a span; whether anything of it was not there.
    pub(super) fn add(&mut self, Window { since, until }: Window) -> bool {
        if self.gap(Window { since, until }).is_none() {
            return false;
        }
        let (mut low, mut high) = (since, until);
        // What it touches becomes part of it.
        while let Some((&first, &last)) = self.0.range(..=high.saturating_add(1)).next_back() {
            if last.saturating_add(1) < low {
                break;
            }
            (low, high) = (low.min(first), high.max(last));
            self.0.remove(&first);
        }
        self.0.insert(low, high);
        true
    }

    /// Adds a span; what of it was not there.
    pub(super) fn add_fresh(&mut self, window: Window) -> Vec<Window> {
        let mut fresh = Vec::new();
        let mut rest = Some(window);
        while let Some(Window { since, until }) = rest.take() {
            let Some(since) = self.gap(Window { since, until }) else { break };
            let next = self.0.range(since..=until).next().map(|(first, last)| (*first, *last));
            match next {
                Some((first, last)) => {
                    fresh.push(Window { since, until: first - 1 });
                    rest = last.checked_add(1).filter(|after| *after <= until).map(|since| Window { since, until });
                }
                None => fresh.push(Window { since, until }),
            }
        }
        self.add(window);
        fresh
    }

    /// The first second of a window that isn't in it.
    pub(super) fn gap(&self, Window { since, until }: Window) -> Option<u64> {
        match self.0.range(..=since).next_back() {
            Some((_, last)) if *last >= until => None,
            Some((_, last)) if *last >= since => Some(last + 1),
            _ => Some(since),
        }
    }
}
