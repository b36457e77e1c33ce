//! Where words go: data to stdout, everything else to stderr, progress to a terminal only (CONTRACT.md).

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;

use crate::exit::CliError;

/// Writes `text` to stdout, whole.
///
/// # Errors
/// Stdout can't be written; a reader that has gone is [`CliError::OutputClosed`].
pub fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| CliError::output(&error))
}

/// Writes one line to stderr. There is nobody to tell if that fails.
pub fn say(line: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// `text` from outside in a form that can't move a terminal's cursor: control characters become `\u{…}`.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_direction_mark(c) {
            let _ = write!(plain, "{}", c.escape_unicode());
        } else {
            plain.push(c);
        }
    }
    plain
}

/// Marks that reorder the text around them.
fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

/// `text` cut to `width` characters, with an ellipsis where something was cut.
pub fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// `2026-01-31 12:00:00`, in UTC; a second that no calendar has is shown as its number.
pub fn moment(second: u64) -> String {
    let time = i64::try_from(second).ok().and_then(|second| Timestamp::from_second(second).ok());
    time.map_or_else(|| second.to_string(), |time| time.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// Whether stdout is a terminal that is to show colours: `NO_COLOR` forbids them, and a dumb terminal has none.
pub fn stdout_takes_colours() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// A JSON document from outside in a form that can't move a terminal's cursor: what [`plain`] escapes, as JSON does it.
pub fn plain_json(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        // Others than these three stand within strings alone, or it is no JSON.
        if !matches!(c, '\n' | '\r' | '\t') && (c.is_control() || is_direction_mark(c)) {
            let _ = write!(plain, "\\u{:04x}", u32::from(c));
        } else {
            plain.push(c);
        }
    }
    plain
}

/// A bar of `bytes` (or a spinner where the length isn't known) on stderr, hidden where that is no terminal or `quiet`.
pub fn progress(bytes: Option<u64>, quiet: bool) -> ProgressBar {
    let target = if quiet || !io::stderr().is_terminal() {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr_with_hz(5)
    };
    let bar = ProgressBar::with_draw_target(bytes, target);
    let template = if bytes.is_some() {
        "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {msg}"
    } else {
        "{spinner} {bytes} {bytes_per_sec} {msg}"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    if !bar.is_hidden() {
        bar.enable_steady_tick(Duration::from_millis(200));
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_shown_not_obeyed() {
        assert_eq!(plain("a\u{1b}[2Jb\nc\u{202e}"), "a\\u{1b}[2Jb\\u{a}c\\u{202e}");
        assert_eq!(plain("grün …"), "grün …");
    }

    #[test]
    fn what_is_cut_is_marked() {
        assert_eq!(fit("relay", 5), "relay");
        assert_eq!(fit("relays", 5), "rela…");
    }

    #[test]
    fn moments_are_in_utc_and_never_fail() {
        assert_eq!(moment(1_700_000_000), "2023-11-14 22:13:20");
        assert_eq!(moment(u64::MAX), u64::MAX.to_string());
    }

    #[test]
    fn a_document_is_the_same_but_for_what_a_terminal_would_obey() {
        let text = "{\n\t\"a\": \"\u{9b}2J\u{7f}\u{202e}grün\"}";
        let plain = plain_json(text);
        assert_eq!(plain, "{\n\t\"a\": \"\\u009b2J\\u007f\\u202egrün\"}");
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        assert_eq!(read(&plain), read(text));
    }
}
