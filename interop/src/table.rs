//! What became of how many events, printed: the tables that a person compares.

use std::fmt::{Display, Write};

/// Prints `title`, then one row for each count: right-aligned, its words after it.
pub fn print<W: Display>(title: &str, rows: impl IntoIterator<Item = (usize, W)>) {
    let mut text = format!("\n{title}\n");
    for (count, words) in rows {
        writeln!(text, "{count:>8}  {words}").expect("a string takes everything");
    }
    // In one piece, so that tests side by side don't mix their rows.
    eprint!("{text}");
}
