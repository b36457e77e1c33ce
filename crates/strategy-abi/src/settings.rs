//! A strategy's section of the configuration, as it is handed over: every error names key, value and what is allowed.

use std::marker::PhantomData;
use std::ops::RangeInclusive;

use crate::export::{bytes, slice};
use crate::ffi;
use crate::ffi::setting;

/// What is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The key.
    pub key: String,
    /// The value found, as JSON.
    pub value: String,
    /// What is allowed.
    pub allowed: String,
}

/// A section.
pub struct Settings<'a> {
    json: &'a str,
    settings: &'a [ffi::Setting],
    host: PhantomData<&'a ffi::Config>,
}

impl<'a> Settings<'a> {
    /// # Safety
    /// `config` and what it shows are as [`ffi::Config`] says, for `'a`.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn read(config: &'a ffi::Config) -> Self {
        // SAFETY: the caller's promise.
        let (json, settings) = unsafe { (bytes(config.json), slice(config.settings, config.settings_len)) };
        Self { json: std::str::from_utf8(json).unwrap_or("{}"), settings, host: PhantomData }
    }

    /// All of it as JSON, an object.
    pub fn json(&self) -> &'a str {
        self.json
    }

    /// Its keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.settings.iter().map(|setting| text(setting.key))
    }

    /// Refuses every key but these.
    ///
    /// # Errors
    /// An unknown key.
    pub fn only(&self, keys: &[&str]) -> Result<(), ConfigError> {
        match self.settings.iter().find(|setting| !keys.contains(&text(setting.key))) {
            None => Ok(()),
            Some(setting) if keys.is_empty() => Err(error(setting, "is unknown; there are no keys".to_owned())),
            Some(setting) => Err(error(setting, format!("is unknown; the keys are {}", keys.join(", ")))),
        }
    }

    /// A whole number.
    ///
    /// # Errors
    /// It isn't one, or lies outside `range`.
    pub fn integer(&self, key: &str, default: u64, range: RangeInclusive<u64>) -> Result<u64, ConfigError> {
        let Some(setting) = self.find(key) else { return Ok(default) };
        let number = u64::try_from(setting.integer).ok().filter(|_| setting.kind == setting::INTEGER);
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| error(setting, format!("must be a whole number from {} to {}", range.start(), range.end())))
    }

    /// A duration such as `"30s"`, in milliseconds.
    ///
    /// # Errors
    /// It is no text of that form, or lies outside `range`.
    pub fn duration_ms(&self, key: &str, default: u64, range: RangeInclusive<u64>) -> Result<u64, ConfigError> {
        let Some(setting) = self.find(key) else { return Ok(default) };
        let told = setting.kind == setting::TEXT && setting.duration_ms != ffi::NONE;
        Some(setting.duration_ms).filter(|ms| told && range.contains(ms)).ok_or_else(|| {
            let (low, high) = (range.start(), range.end());
            error(setting, format!("must be a duration in quotes from {low}ms to {high}ms, such as \"30s\""))
        })
    }

    /// A text.
    ///
    /// # Errors
    /// It is none.
    pub fn text(&self, key: &str) -> Result<Option<&'a str>, ConfigError> {
        match self.find(key) {
            None => Ok(None),
            Some(setting) if setting.kind == setting::TEXT => Ok(Some(text(setting.text))),
            Some(setting) => Err(error(setting, "must be a text".to_owned())),
        }
    }

    fn find(&self, key: &str) -> Option<&'a ffi::Setting> {
        self.settings.iter().find(|setting| text(setting.key) == key)
    }
}

fn error(setting: &ffi::Setting, allowed: String) -> ConfigError {
    let value = text(setting.text);
    let value = if setting.kind == setting::TEXT { format!("{value:?}") } else { value.to_owned() };
    ConfigError { key: text(setting.key).to_owned(), value, allowed }
}

#[allow(unsafe_code)]
fn text<'a>(of: ffi::Bytes) -> &'a str {
    // SAFETY: only what a `Settings` shows comes here, and it promised that for its own life; nothing keeps it longer.
    std::str::from_utf8(unsafe { bytes(of) }).unwrap_or("")
}
