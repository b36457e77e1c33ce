//! Text in the columns of a terminal: cut, and broken into lines, so that nothing is wider than it may be.
//!
//! Widths are upper bounds: a mark that a terminal draws over the letter before it counts as one column, so that a text
//! of nothing else is bounded, too.

use unicode_width::UnicodeWidthChar;

use crate::output::plain;

/// How wide everything is at most.
pub(super) const WIDTH: usize = 80;
/// How far lines that follow the first may be indented.
const LATER_INDENT: usize = 4;
/// Lines that one text takes at most; the rest is in `--json`.
const MAX_LINES: usize = 4;

fn width_of(c: char) -> usize {
    c.width().unwrap_or(1).max(1)
}

pub(super) fn width(text: &str) -> usize {
    text.chars().map(width_of).sum()
}

/// `text` cut to `columns`, with an ellipsis where something was cut.
pub(super) fn fit(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut left = columns.saturating_sub(1);
    let kept = text.chars().take_while(|c| {
        let fits = width_of(*c) <= left;
        left = left.saturating_sub(width_of(*c));
        fits
    });
    kept.chain(['…']).collect()
}

/// `text` cut to `columns`, and filled up with spaces.
pub(super) fn padded(text: &str, columns: usize) -> String {
    let fitting = fit(text, columns);
    let filling = columns.saturating_sub(width(&fitting));
    fitting + &" ".repeat(filling)
}

/// A number in so many columns: `123456`, or `123k` where that is too wide. The last resort is an ellipsis.
pub(super) fn number(number: u64, columns: usize) -> String {
    let mut text = number.to_string();
    let mut rest = number;
    for unit in ["k", "M", "G", "T"] {
        if text.len() <= columns {
            break;
        }
        rest /= 1_000;
        text = format!("{rest}{unit}");
    }
    fit(&text, columns)
}

/// Writes a text from anywhere, without its control characters, in lines of [`WIDTH`] columns: `indent` spaces before the first,
/// two more before those that follow.
pub(super) fn put(out: &mut String, indent: usize, text: &str) {
    let text = plain(text);
    let mut rest = text.as_str();
    for line in 0..MAX_LINES {
        let indent = if line == 0 { indent } else { indent + 2 };
        let room = WIDTH.saturating_sub(indent);
        let (this, next) = if width(rest) <= room {
            (rest.to_owned(), "")
        } else if line + 1 == MAX_LINES {
            (fit(rest, room), "")
        } else {
            split(rest, room)
        };
        out.push_str(&" ".repeat(indent));
        out.push_str(this.trim_end());
        out.push('\n');
        rest = next;
        if rest.is_empty() {
            return;
        }
    }
}

/// What of `text` goes on a line, up to a space where what follows that has room on a line of its own, and what is left.
fn split(text: &str, room: usize) -> (String, &str) {
    let mut left = room;
    let mut end = 0;
    for (at, c) in text.char_indices() {
        if width_of(c) > left {
            break;
        }
        left -= width_of(c);
        end = at + c.len_utf8();
    }
    // An id, say, is kept whole, a word without end is broken.
    let has_room = |space: &usize| {
        let word = text[space + 1..].split(' ').next().unwrap_or_default();
        !text[..*space].trim().is_empty() && width(word) + LATER_INDENT <= WIDTH
    };
    let end = text[..end].rfind(' ').filter(has_room).map_or(end, |space| space + 1);
    (text[..end].to_owned(), text[end..].trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(fit("接続が切れた", 7), "接続が…");
        assert_eq!(padded("接続", 6), "接続  ");
        assert_eq!(padded("relay", 3), "re…");
    }

    #[test]
    fn numbers_fit_their_column() {
        let shown: Vec<_> = [99_999, 100_000, 12_345_678, u64::MAX].map(|n| number(n, 5)).into();
        assert_eq!(shown, ["99999", "100k", "12M", "1844…"]);
    }

    #[test]
    fn long_texts_are_broken_at_spaces_and_bounded() {
        let mut out = String::new();
        put(&mut out, 2, &"word ".repeat(200));
        let lines: Vec<_> = out.lines().collect();
        assert_eq!(lines.len(), MAX_LINES);
        assert!(lines.iter().all(|line| width(line) <= WIDTH) && lines[3].ends_with('…'), "{out}");
        assert!(
            lines[0].starts_with("  word") && lines[0].ends_with("word") && lines[1].starts_with("    word"),
            "{out}"
        );
    }

    #[test]
    fn words_that_fit_a_line_are_kept_whole() {
        let mut out = String::new();
        let id = "0123456789abcdef".repeat(4);
        put(&mut out, 2, &format!("1 offered events aren't served, {id} among them {}", "x".repeat(100)));
        let lines: Vec<_> = out.lines().collect();
        assert_eq!(lines[1].trim(), format!("{id} among them"), "{out}");
        assert!(lines[2].starts_with("    xxx") && lines[3].ends_with('x'), "{out}");
    }

    #[test]
    fn no_text_is_wider_than_the_screen() {
        for text in
            ["x".repeat(1_000), "漢".repeat(1_000), "e\u{301}".repeat(1_000), "\u{1b}[2J\n".repeat(99), " ".repeat(999)]
        {
            let mut out = String::new();
            put(&mut out, 2, &text);
            assert!(out.lines().all(|line| width(line) <= WIDTH) && out.lines().count() <= MAX_LINES, "{out}");
            assert!(!out.contains('\u{1b}'), "{out}");
        }
    }
}
