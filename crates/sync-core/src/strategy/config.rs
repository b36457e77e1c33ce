//! How a strategy reads its section of the configuration: every key known, every value in its range, every error
//! naming key, value and what is allowed (CONTRACT.md).

use std::ops::RangeInclusive;

use super::{ConfigError, StrategyConfig};

/// A strategy's section, checked for unknown keys. Keys that it lacks have their defaults.
#[derive(Debug)]
pub struct Section<'a> {
    strategy: &'static str,
    config: &'a StrategyConfig,
}

impl<'a> Section<'a> {
    /// The section of `strategy`, which may hold `keys` and no others. `null` counts as empty.
    ///
    /// # Errors
    /// It is no table, or it holds an unknown key.
    pub fn new(strategy: &'static str, config: &'a StrategyConfig, keys: &[&str]) -> Result<Self, ConfigError> {
        let section = Self { strategy, config };
        if config.is_null() {
            return Ok(section);
        }
        let Some(table) = config.as_object() else {
            return Err(section.error("*", config, format!("must be a table of {}", keys.join(", "))));
        };
        match table.iter().find(|(key, _)| !keys.contains(&key.as_str())) {
            Some((key, value)) => {
                Err(section.error(key, value, format!("is unknown; the keys are {}", keys.join(", "))))
            }
            None => Ok(section),
        }
    }

    /// A whole number.
    ///
    /// # Errors
    /// It isn't one, or lies outside `range`.
    pub fn integer(&self, key: &str, default: u64, range: RangeInclusive<u64>) -> Result<u64, ConfigError> {
        let Some(value) = self.config.get(key) else { return Ok(default) };
        value.as_u64().filter(|number| range.contains(number)).ok_or_else(|| {
            self.error(key, value, format!("must be a whole number from {} to {}", range.start(), range.end()))
        })
    }

    /// A duration such as `"30s"`, in milliseconds.
    ///
    /// # Errors
    /// It is no text of that form, or lies outside `range`.
    pub fn duration_ms(&self, key: &str, default: u64, range: RangeInclusive<u64>) -> Result<u64, ConfigError> {
        let Some(value) = self.config.get(key) else { return Ok(default) };
        value.as_str().and_then(parse_duration_ms).filter(|ms| range.contains(ms)).ok_or_else(|| {
            let (low, high) = (duration_text(*range.start()), duration_text(*range.end()));
            self.error(key, value, format!("must be a duration in quotes from {low} to {high}, such as \"30s\""))
        })
    }

    fn error(&self, key: &str, value: &StrategyConfig, allowed: String) -> ConfigError {
        ConfigError { strategy: self.strategy.to_owned(), key: key.to_owned(), value: value.to_string(), allowed }
    }
}

/// Units of time with their milliseconds, longest first.
const UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A whole number and a unit: `500ms`, `30s`, `15m`, `24h`, `7d`, `2w`; space around them doesn't count. `None` for
/// anything else, and beyond 2⁶⁴ ms.
pub fn parse_duration_ms(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// The shortest text that [`parse_duration_ms`] reads back as `ms`.
pub fn duration_text(ms: u64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let (unit, factor) = UNITS.iter().find(|(_, factor)| ms.is_multiple_of(*factor)).unwrap_or(&("ms", 1));
    format!("{}{unit}", ms / factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_are_read_and_written() {
        for (text, ms) in [("500ms", 500), ("30s", 30_000), ("2m", 120_000), ("24h", 86_400_000), ("2w", 1_209_600_000)]
        {
            assert_eq!(parse_duration_ms(text), Some(ms), "{text}");
            assert_eq!(parse_duration_ms(&duration_text(ms)), Some(ms), "{text}");
        }
        for text in ["", "30", "s", "3 0s", "-1s", "1.5s", "30sec", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(parse_duration_ms(text), None, "{text}");
        }
    }

    #[test]
    fn errors_name_key_value_and_what_is_allowed() {
        let read = |config: StrategyConfig| {
            let section = Section::new("req", &config, &["page_size", "timeout"])?;
            Ok((section.integer("page_size", 500, 1..=5000)?, section.duration_ms("timeout", 30_000, 1..=60_000)?))
        };
        assert_eq!(read(json!({})), Ok((500, 30_000)));
        assert_eq!(read(json!(null)), Ok((500, 30_000)));
        assert_eq!(read(json!({"page_size": 1, "timeout": "1m"})), Ok((1, 60_000)));
        for (config, message) in [
            (json!({"page": 1}), "strategy.req.page = 1: is unknown; the keys are page_size, timeout"),
            (json!({"page_size": 0}), "strategy.req.page_size = 0: must be a whole number from 1 to 5000"),
            (json!({"page_size": "9"}), "strategy.req.page_size = \"9\": must be a whole number from 1 to 5000"),
            (
                json!({"timeout": 30}),
                "strategy.req.timeout = 30: must be a duration in quotes from 1ms to 1m, such as \"30s\"",
            ),
            (json!([1]), "strategy.req.* = [1]: must be a table of page_size, timeout"),
        ] {
            assert_eq!(read(config).map_err(|error: ConfigError| error.to_string()), Err(message.to_owned()));
        }
    }
}
