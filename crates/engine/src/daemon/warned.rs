//! What was warned of: one warning for a relay and a cause, however often that comes back (SPEC §12). The next times it is
//! said at INFO.

use std::collections::HashMap;

use sync_core::MonoMillis;
use sync_core::manager::Cause;
use sync_core::model::{ConnectionStatus, RelayUrl};

use tracing::Level;
/// Relays that are remembered; past that the memory begins anew.
const MAX_RELAYS: usize = 10_000;
/// Causes that are remembered of a relay, the latest.
const MAX_CAUSES: usize = 16;

/// The warnings of each relay.
#[derive(Debug)]
pub(super) struct Warned {
    relays: HashMap<RelayUrl, Told>,
    /// Warnings are news again after this time, milliseconds.
    memory_ms: u64,
    /// And when the relay was well for this time, milliseconds.
    stable_ms: u64,
}

#[derive(Debug, Default)]
struct Told {
    causes: Vec<(Cause, MonoMillis)>,
    well_since: Option<MonoMillis>,
}

impl Warned {
    pub(super) fn new(memory_ms: u64, stable_ms: u64) -> Self {
        Self { relays: HashMap::new(), memory_ms, stable_ms }
    }

    /// The relay is as it should be.
    pub(super) fn is_well(&mut self, relay: &RelayUrl, now: MonoMillis) {
        if let Some(told) = self.relays.get_mut(relay) {
            told.well_since.get_or_insert(now);
        }
    }

    /// Whether somebody is to be told: the relay wasn't warned of for this `cause`, that was long ago, or it was well for long
    /// since. Constant in the number of relays.
    pub(super) fn is_news(&mut self, relay: &RelayUrl, cause: &Cause, now: MonoMillis) -> bool {
        if self.relays.len() >= MAX_RELAYS && !self.relays.contains_key(relay) {
            self.relays.clear();
        }
        let told = self.relays.entry(relay.clone()).or_default();
        if told.well_since.take().is_some_and(|since| now.saturating_sub(since) >= self.stable_ms) {
            told.causes.clear();
        }
        told.causes.retain(|(_, at)| now.saturating_sub(*at) < self.memory_ms);
        if told.causes.iter().any(|(known, _)| known == cause) {
            return false;
        }
        if told.causes.len() >= MAX_CAUSES {
            told.causes.remove(0);
        }
        told.causes.push((cause.clone(), now));
        true
    }

    /// How loud a relay's new status is said. It may wake somebody where the relay can't be had whole; or where it is away and
    /// `is_needed`: the own one, without which nothing is published. Attempts that fail again and again are for whoever looks
    /// for a fault: strangers decide which relays there are.
    pub(super) fn level(
        &mut self,
        relay: &RelayUrl,
        (from, to): (ConnectionStatus, ConnectionStatus),
        cause: Option<&Cause>,
        is_needed: bool,
        now: MonoMillis,
    ) -> Level {
        use ConnectionStatus::{Connected, ConnectedDegraded, Connecting, Disconnected};
        let mut is_news = || cause.is_some_and(|cause| self.is_news(relay, cause, now));
        match to {
            Connecting => Level::DEBUG,
            Connected => {
                self.is_well(relay, now);
                Level::INFO
            }
            ConnectedDegraded if is_news() => Level::WARN,
            Disconnected if is_needed && is_news() => Level::WARN,
            Disconnected if from == Connecting && !is_news() => Level::DEBUG,
            _ => Level::INFO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay(name: &str) -> RelayUrl {
        RelayUrl::parse(&format!("wss://{name}.example")).expect("valid")
    }

    #[test]
    fn a_cause_of_a_relay_is_news_once() {
        let mut warned = Warned::new(1_000, 300);
        let mut is_news = |name: &str, cause: &Cause, now| warned.is_news(&relay(name), cause, now);
        assert!(is_news("a", &Cause::LiveRefused, 0));
        assert!(is_news("a", &Cause::RateLimited, 10), "another cause");
        assert!(!is_news("a", &Cause::LiveRefused, 20) && !is_news("a", &Cause::RateLimited, 900), "in turns");
        assert!(is_news("b", &Cause::LiveRefused, 900), "another relay");
        assert!(is_news("a", &Cause::LiveRefused, 1_000), "long ago");
    }

    #[test]
    fn what_befalls_a_relay_that_was_well_for_long_is_news() {
        let mut warned = Warned::new(10_000, 300);
        let own = relay("own");
        assert!(warned.is_news(&own, &Cause::Away, 0));
        warned.is_well(&own, 100);
        assert!(!warned.is_news(&own, &Cause::Away, 399), "it comes and goes");
        warned.is_well(&own, 400);
        warned.is_well(&own, 600);
        assert!(warned.is_news(&own, &Cause::Away, 700));
    }

    #[test]
    fn a_status_is_as_loud_as_it_is_news() {
        use ConnectionStatus::{Connected, ConnectedDegraded, Connecting, Disconnected, Syncing};
        let mut warned = Warned::new(10_000, 300);
        let (away, missing) = (Some(&Cause::Away), Some(&Cause::Missing(None)));
        for (at, name, from, to, cause, is_needed, level) in [
            (0, "a", Disconnected, Connecting, None, false, Level::DEBUG),
            (1, "a", Connecting, Disconnected, away, false, Level::INFO),
            (2, "a", Connecting, Disconnected, away, false, Level::DEBUG),
            (3, "a", Syncing, ConnectedDegraded, missing, false, Level::WARN),
            (4, "a", Syncing, ConnectedDegraded, missing, false, Level::INFO),
            (5, "a", ConnectedDegraded, Connected, None, false, Level::INFO),
            (6, "a", Connected, Disconnected, away, false, Level::INFO),
            (310, "a", Syncing, ConnectedDegraded, missing, false, Level::WARN),
            (0, "own", Connecting, Disconnected, away, true, Level::WARN),
            (1, "own", Connecting, Disconnected, away, true, Level::DEBUG),
            (2, "own", Syncing, Connected, None, true, Level::INFO),
            (3, "own", Connected, Disconnected, away, true, Level::INFO),
            (4, "own", Syncing, Connected, None, true, Level::INFO),
            (304, "own", Connected, Disconnected, away, true, Level::WARN),
            (305, "stopping", Connected, Disconnected, away, false, Level::INFO),
        ] {
            let found = warned.level(&relay(name), (from, to), cause, is_needed, at);
            assert_eq!(found, level, "{name} at {at}: {from} to {to}");
        }
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut warned = Warned::new(10_000, 300);
        for number in 0..MAX_RELAYS + 5 {
            assert!(warned.is_news(&relay(&format!("r{number}")), &Cause::Away, 0));
        }
        assert!(warned.relays.len() <= MAX_RELAYS);
        for number in 0..100 {
            let cause = Cause::Unsupported { strategy: format!("s{number}") };
            assert!(warned.is_news(&relay("a"), &cause, 0));
        }
        assert_eq!(warned.relays[&relay("a")].causes.len(), MAX_CAUSES);
    }
}
