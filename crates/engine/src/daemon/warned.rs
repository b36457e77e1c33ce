//! Which relays were warned of, and for what: one warning for a relay and a cause (SPEC §12), however often it comes back.

use std::collections::HashMap;

use sync_core::MonoMillis;
use sync_core::model::{ConnectionStatus, RelayUrl};

use super::Daemon;

/// Relays that are remembered; past that the memory begins anew.
const MAX_RELAYS: usize = 10_000;

/// The last warning of each relay.
#[derive(Debug)]
pub(super) struct Warned {
    last: HashMap<RelayUrl, (String, MonoMillis)>,
    memory_ms: u64,
}

impl Warned {
    /// Warnings are news again after `memory_ms` milliseconds.
    pub(super) fn new(memory_ms: u64) -> Self {
        Self { last: HashMap::new(), memory_ms }
    }

    /// Whether `reason` is another cause than the last one that `relay` was warned of, or that was long ago. Causes are told
    /// apart by their words: counts, moments and ids in them change from time to time.
    pub(super) fn is_news(&mut self, relay: &RelayUrl, reason: &str, now: MonoMillis) -> bool {
        let cause: String =
            reason.split_whitespace().filter(|word| !word.contains(|c: char| c.is_ascii_digit())).collect();
        let known = self.last.get(relay);
        if known.is_some_and(|(last, at)| *last == cause && now.saturating_sub(*at) < self.memory_ms) {
            return false;
        }
        if self.last.len() >= MAX_RELAYS {
            self.last.clear();
        }
        self.last.insert(relay.clone(), (cause, now));
        true
    }
}

impl Daemon {
    /// A relay that can't be had whole; an own relay that is away, so that nothing is published. Once for each cause.
    pub(super) fn may_wake_somebody(&mut self, relay: &RelayUrl, to: ConnectionStatus, reason: &str) -> bool {
        let own_is_away =
            || self.config.manager.is_own(relay) && to == ConnectionStatus::Disconnected && !self.is_stopping;
        let is_bad = to == ConnectionStatus::ConnectedDegraded || own_is_away();
        let now = self.now().mono_ms;
        is_bad && self.warned.is_news(relay, reason, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_cause_of_a_relay_is_news_once() {
        let relay = |name: &str| RelayUrl::parse(&format!("wss://{name}.example")).expect("valid");
        let mut warned = Warned::new(1_000);
        let mut is_news = |name: &str, reason, now| warned.is_news(&relay(name), reason, now);
        assert!(is_news("a", "3 ids not served (filter, 0 to 1700000000)", 0));
        assert!(!is_news("a", "17 ids not served (filter, 0 to 1700000099)", 900));
        assert!(is_news("b", "3 ids not served (filter, 0 to 1700000000)", 900), "another relay");
        assert!(is_news("a", "neither a new event nor EOSE within 3s", 900), "another cause");
        assert!(is_news("a", "neither a new event nor EOSE within 3s", 1_900), "long ago");
    }
}
