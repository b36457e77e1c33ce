//! What a strategy reckons with windows.

use crate::ffi::Window;

impl Window {
    /// Whether `second` lies in it.
    pub fn contains(self, second: u64) -> bool {
        self.since <= second && second <= self.until
    }

    /// What of it isn't in `others`, in ascending order. `others` may overlap, and lie in any order.
    pub fn without(self, others: &[Self]) -> Vec<Self> {
        let mut others: Vec<_> = others.iter().filter(|other| other.since <= other.until).collect();
        others.sort_unstable_by_key(|other| other.since);
        let mut gaps = Vec::new();
        // The first second that isn't known to be in any of them.
        let mut next = Some(self.since);
        for Self { since, until } in others {
            let Some(from) = next.filter(|from| *from <= self.until) else { break };
            if from < *since {
                gaps.push(Self { since: from, until: self.until.min(since - 1) });
            }
            next = until.checked_add(1).map(|after| after.max(from));
        }
        gaps.extend(next.filter(|from| *from <= self.until).map(|since| Self { since, ..self }));
        gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_window_is_what_is_in_no_other() {
        let window = |since, until| Window { since, until };
        let mut number = 7_u64;
        let mut random = |end: u64| {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (number >> 33) % end
        };
        for _ in 0..2_000 {
            let others: Vec<_> = (0..random(6)).map(|_| window(random(40), random(40))).collect();
            let whole = window(random(20), 19 + random(20));
            let left = whole.without(&others);
            for second in 0..50 {
                let expected = whole.contains(second) && !others.iter().any(|other| other.contains(second));
                assert_eq!(left.iter().filter(|gap| gap.contains(second)).count(), usize::from(expected), "{left:?}");
            }
            assert!(left.is_sorted_by_key(|gap| gap.since));
        }
        assert_eq!(window(0, u64::MAX).without(&[window(5, u64::MAX)]), [window(0, 4)]);
        assert_eq!(window(3, u64::MAX).without(&[]), [window(3, u64::MAX)]);
    }
}
