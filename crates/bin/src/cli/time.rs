//! `--since T` and `--until T`: unix seconds, RFC 3339, or an age like `2w` (CONTRACT.md).

use std::time::Duration;

use crate::config::parse_duration;

/// A point in time as a person gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Unix seconds.
    At(u64),
    /// So long before now.
    Ago(Duration),
}

impl Moment {
    /// Reads one.
    ///
    /// # Errors
    /// Says what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(second) = text.parse() {
            return Ok(Self::At(second));
        }
        if let Some(age) = parse_duration(text) {
            return Ok(Self::Ago(age));
        }
        let time: Option<jiff::Timestamp> = text.parse().ok();
        time.and_then(|time| u64::try_from(time.as_second()).ok()).map(Self::At).ok_or_else(|| {
            "must be unix seconds, a time such as 2025-01-31T12:00:00Z, or an age such as 90m, 3d or 2w".to_owned()
        })
    }

    /// As unix seconds; an age beyond 1970 is 0.
    pub fn resolve(self, now: u64) -> u64 {
        match self {
            Self::At(second) => second,
            Self::Ago(age) => now.saturating_sub(age.as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_forms_are_read() {
        assert_eq!(Moment::parse("1700000000"), Ok(Moment::At(1_700_000_000)));
        assert_eq!(Moment::parse("2023-11-14T22:13:20Z"), Ok(Moment::At(1_700_000_000)));
        assert_eq!(Moment::parse("2023-11-14T23:13:20+01:00"), Ok(Moment::At(1_700_000_000)));
        assert_eq!(Moment::parse("2w").map(|age| age.resolve(2_000_000)), Ok(2_000_000 - 1_209_600));
        assert_eq!(Moment::parse("2w").map(|age| age.resolve(5)), Ok(0));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "yesterday", "-5", "1969-12-31T00:00:00Z", "2023-13-01T00:00:00Z", "2 fortnights"] {
            assert!(Moment::parse(text).is_err(), "{text}");
        }
    }
}
