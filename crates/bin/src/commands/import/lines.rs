//! Lines of a stream in chunks of bounded size; a line that is too long is skipped, never held.

use std::io::{self, BufRead, Read};

/// Lines in a chunk, at most.
const CHUNK_LINES: usize = 256;
/// Bytes in a chunk, at most, but for its last line.
const CHUNK_BYTES: usize = 1 << 20;

/// A line of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// Its bytes, without the end of the line.
    Bytes(Vec<u8>),
    /// It was longer than allowed.
    TooLong,
}

/// Some lines of the input, in order, blank ones left out.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// Each with its number in the input, from 1.
    pub(super) lines: Vec<(u64, Line)>,
    /// How many bytes of the input were read for it.
    pub(super) bytes: u64,
}

/// Cuts a stream into chunks.
pub(super) struct Lines<R> {
    input: R,
    max_line: usize,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    /// Lines of `input` of at most `max_line` bytes.
    pub(super) fn new(input: R, max_line: usize) -> Self {
        Self { input, max_line, number: 0 }
    }

    /// The next chunk; `None` at the end.
    ///
    /// # Errors
    /// The input can't be read.
    pub(super) fn next_chunk(&mut self) -> io::Result<Option<Chunk>> {
        let mut chunk = Chunk::default();
        let mut held = 0;
        while chunk.lines.len() < CHUNK_LINES && held < CHUNK_BYTES && chunk.bytes < 64 * CHUNK_BYTES as u64 {
            let Some((line, read)) = self.next_line()? else {
                return Ok((chunk.bytes > 0).then_some(chunk));
            };
            self.number += 1;
            chunk.bytes += read;
            match line {
                Line::Bytes(bytes) if bytes.trim_ascii().is_empty() => {}
                line => {
                    held += if let Line::Bytes(bytes) = &line { bytes.len() } else { 0 };
                    chunk.lines.push((self.number, line));
                }
            }
        }
        Ok(Some(chunk))
    }

    /// A line and how many bytes it took.
    fn next_line(&mut self) -> io::Result<Option<(Line, u64)>> {
        let mut bytes = Vec::new();
        // One byte more than allowed, and the end of the line.
        let limit = self.max_line as u64 + 2;
        let mut read = (&mut self.input).take(limit).read_until(b'\n', &mut bytes)? as u64;
        if read == 0 {
            return Ok(None);
        }
        let ended = bytes.pop_if(|byte| *byte == b'\n').is_some();
        let _ = bytes.pop_if(|byte| *byte == b'\r');
        if !ended && read == limit {
            read += self.skip_line()?;
        }
        let line = if bytes.len() > self.max_line { Line::TooLong } else { Line::Bytes(bytes) };
        Ok(Some((line, read)))
    }

    fn skip_line(&mut self) -> io::Result<u64> {
        let mut skipped = 0;
        loop {
            let buffer = match self.input.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                buffer => buffer?,
            };
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let (used, done) = end.map_or((buffer.len(), buffer.is_empty()), |at| (at + 1, true));
            self.input.consume(used);
            skipped += used as u64;
            if done {
                return Ok(skipped);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, max: usize) -> Vec<(u64, Line)> {
        let mut lines = Lines::new(io::BufReader::with_capacity(3, text.as_bytes()), max);
        let mut all = Vec::new();
        while let Some(chunk) = lines.next_chunk().expect("reads memory") {
            all.extend(chunk.lines);
        }
        all
    }

    fn bytes(text: &str) -> Line {
        Line::Bytes(text.into())
    }

    #[test]
    fn numbers_count_blank_lines_too() {
        assert_eq!(lines("a\n\n \r\nb\r\nc", 9), [(1, bytes("a")), (4, bytes("b")), (5, bytes("c"))]);
        assert_eq!(lines("", 9), []);
    }

    #[test]
    fn long_lines_are_skipped_whole() {
        let expected = [(1, bytes("abcd")), (2, Line::TooLong), (3, Line::TooLong), (4, bytes("ab"))];
        assert_eq!(lines("abcd\nabcde\nabcdefghijkl\nab\n", 4), expected);
        assert_eq!(lines("abcdefghi", 4), [(1, Line::TooLong)]);
        assert_eq!(lines("abcd\r\nabcd", 4), [(1, bytes("abcd")), (2, bytes("abcd"))]);
    }

    #[test]
    fn chunks_are_bounded() {
        let text = "x\n".repeat(CHUNK_LINES + 1);
        let mut lines = Lines::new(text.as_bytes(), 9);
        assert_eq!(lines.next_chunk().ok().flatten().map(|chunk| chunk.lines.len()), Some(CHUNK_LINES));
        assert_eq!(lines.next_chunk().ok().flatten().map(|chunk| chunk.lines.len()), Some(1));
        assert!(lines.next_chunk().ok().flatten().is_none());
    }
}
