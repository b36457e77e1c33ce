//! Time as the machines see it: handed in with every input, never read.

/// Milliseconds on a clock that never goes back. Its origin is arbitrary; deadlines are given in it.
pub type MonoMillis = u64;

/// The moment of an input, on both clocks.
///
/// Deadlines are monotonic, so that a clock that is set back delays nothing; what is persisted or sent to
/// a relay is unix time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Milliseconds on the monotonic clock.
    pub mono_ms: MonoMillis,
    /// Seconds since 1970-01-01T00:00:00Z.
    pub unix_s: u64,
}

impl Now {
    /// The moment `ms` milliseconds later, on both clocks.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self { mono_ms: self.mono_ms.saturating_add(ms), unix_s: self.unix_s.saturating_add(ms / 1000) }
    }
}

/// Numbers that look random, from a seed that is passed in (SplitMix64). Not for secrets.
#[derive(Debug, Clone)]
pub struct Jitter(u64);

impl Jitter {
    /// A sequence that depends on `seed` alone.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `low..=high`; `low` where the range is empty.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        match high.checked_sub(low) {
            None | Some(0) => low,
            Some(u64::MAX) => self.next_u64(),
            Some(span) => low + self.next_u64() % (span + 1),
        }
    }
}
