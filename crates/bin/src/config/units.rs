//! Durations and sizes as people write them: `65s`, `15m`, `64KiB` (CONTRACT.md). Durations are read as strategies read
//! those of their own sections.

use std::ops::RangeInclusive;
use std::time::Duration;

use sync_core::strategy::{duration_text, parse_duration_ms};

/// Units of size with their bytes, largest first.
const SIZE_UNITS: [(&str, u64); 5] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// A number with one of the units `ms`, `s`, `m`, `h`, `d`, `w`. `None` where `text` isn't that, or beyond 2⁶⁴ ms.
pub fn parse_duration(text: &str) -> Option<Duration> {
    parse_duration_ms(text).map(Duration::from_millis)
}

/// A number of bytes, plain or with one of the units `B`, `KiB`, `MiB`, `GiB`, `TiB`. `None` where `text` isn't that.
pub fn parse_size(text: &str) -> Option<u64> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// The shortest text that [`parse_duration`] reads as `duration`, to the millisecond.
pub fn format_duration(duration: Duration) -> String {
    duration_text(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// The shortest text that [`parse_size`] reads as `bytes`.
pub fn format_size(bytes: u64) -> String {
    let whole = SIZE_UNITS.iter().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    let (unit, factor) = whole.unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / factor)
}

/// Reads a duration within `allowed`; the error says what is allowed.
pub(super) fn duration_in(text: &str, allowed: RangeInclusive<Duration>) -> Result<Duration, String> {
    parse_duration(text).filter(|duration| allowed.contains(duration)).ok_or_else(|| {
        let (min, max) = (format_duration(*allowed.start()), format_duration(*allowed.end()));
        format!("a duration from {min} to {max}, as a number with ms, s, m, h, d or w, such as \"65s\" or \"15m\"")
    })
}

/// Reads a size within `allowed`; the error says what is allowed.
pub(super) fn size_in(text: &str, allowed: RangeInclusive<u64>) -> Result<u64, String> {
    parse_size(text).filter(|size| allowed.contains(size)).ok_or_else(|| {
        let (min, max) = (format_size(*allowed.start()), format_size(*allowed.end()));
        format!("a size from {min} to {max}, in bytes or with KiB, MiB, GiB or TiB, such as \"64KiB\"")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_and_written() {
        for (text, seconds) in [("65s", 65), ("15m", 900), ("24h", 86_400), ("7d", 604_800), ("2w", 1_209_600)] {
            assert_eq!(parse_duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_size("64KiB"), Some(65_536));
        assert_eq!(parse_size("1GiB"), Some(1 << 30));
        assert_eq!(parse_size("4096"), Some(4096));
        for text in ["65s", "15m", "1d", "1w", "500ms", "0s"] {
            assert_eq!(parse_duration(text).map(format_duration).as_deref(), Some(text));
        }
        assert_eq!(format_size(65_537), "65537B");
        assert_eq!(format_size(0), "0B");
    }

    #[test]
    fn nonsense_and_overflow_are_refused() {
        for text in ["", "s", "5", "5 parsecs", "-5s", "1.5h", "99999999999999999999s", "18446744073709551615w"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        for text in ["", "KiB", "64KB", "-1", "1.5GiB", "18446744073709551616", "18446744073709551615TiB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }
}
