//! How many events came in each of the last seconds, from a counter that is looked at about once a second.

use std::collections::VecDeque;

use sync_core::MonoMillis;
use sync_core::manager::StatusReport;

/// The last seconds, and where the counter stood at their end.
#[derive(Debug)]
pub(super) struct Rates {
    /// Oldest first.
    seconds: VecDeque<u64>,
    counted: u64,
    upto: MonoMillis,
}

impl Rates {
    /// Counting from here.
    pub(super) fn new(counted: u64, now: MonoMillis) -> Self {
        Self { seconds: VecDeque::new(), counted, upto: now }
    }

    /// The counter stands at `total` now. Where it wasn't looked at for several seconds, what came is spread over them.
    pub(super) fn take(&mut self, total: u64, now: MonoMillis) -> Vec<u64> {
        // Half a second early is the timer's jitter; what came in less than that belongs to the next second.
        let passed = now.saturating_sub(self.upto).saturating_add(500) / 1_000;
        if passed > 0 {
            let mut left = total.saturating_sub(self.counted);
            for seconds in (1..=passed).rev().take(StatusReport::MAX_SECONDS) {
                let share = left.div_ceil(seconds);
                self.seconds.push_back(share);
                left -= share;
            }
            self.counted = total;
            self.upto = self.upto.saturating_add(passed * 1_000);
        }
        let excess = self.seconds.len().saturating_sub(StatusReport::MAX_SECONDS);
        self.seconds.drain(..excess);
        self.seconds.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_has_what_came_in_it() {
        let mut rates = Rates::new(100, 10_000);
        assert_eq!(rates.take(100, 10_010), Vec::<u64>::new());
        assert_eq!(rates.take(107, 11_010), [7]);
        assert_eq!(rates.take(107, 12_020), [7, 0]);
        // Twice within a second: the rest waits for its end.
        assert_eq!(rates.take(108, 12_300), [7, 0]);
        assert_eq!(rates.take(109, 13_001), [7, 0, 2]);
    }

    #[test]
    fn seconds_that_were_slept_through_share_what_came() {
        let mut rates = Rates::new(0, 0);
        assert_eq!(rates.take(8, 3_000), [3, 3, 2]);
    }

    #[test]
    fn timers_that_are_a_little_early_or_late_lose_no_second() {
        let mut rates = Rates::new(0, 0);
        for (total, now) in [(1, 999), (2, 2_001), (3, 2_998), (4, 4_003)] {
            rates.take(total, now);
        }
        assert_eq!(rates.take(4, 4_010), [1, 1, 1, 1]);
    }

    #[test]
    fn only_the_last_seconds_are_kept() {
        let mut rates = Rates::new(0, 0);
        for second in 1..=500 {
            rates.take(second * second, second * 1_000);
        }
        let kept = rates.take(250_000, 500_000);
        assert_eq!((kept.len(), kept.last()), (StatusReport::MAX_SECONDS, Some(&999)));
        // A night: nothing is spread over more seconds than are kept.
        assert_eq!(rates.take(250_000, 40_000_000).len(), StatusReport::MAX_SECONDS);
    }
}
