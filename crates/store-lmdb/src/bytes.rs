//! The primitives of every value in the store: fixed integers (big-endian), varints, texts.
//!
//! A text is a varint `len << 1` and its UTF-8 bytes; one of 64 lowercase hex digits (ids and keys: most of what
//! tags hold) is the varint `1` and its 32 bytes. Reading never panics: what doesn't fit is [`Damaged`].

use std::collections::BTreeSet;

/// The bytes aren't what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damaged(pub(crate) &'static str);

const PACKED: u64 = 1;

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    match unhex(text) {
        Some(packed) => {
            put_varint(out, PACKED);
            out.extend_from_slice(&packed);
        }
        None => {
            put_varint(out, (text.len() as u64) << 1);
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// The 32 bytes that `text` spells in exactly 64 lowercase hex digits.
pub(crate) fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let mut out = [0; 32];
    for (byte, pair) in out.iter_mut().zip(digits.as_chunks::<2>().0) {
        *byte = (digit(pair[0])? << 4) | digit(pair[1])?;
    }
    Some(out)
}

fn digit(char: u8) -> Option<u8> {
    match char {
        b'0'..=b'9' => Some(char - b'0'),
        b'a'..=b'f' => Some(char - b'a' + 10),
        _ => None,
    }
}

/// A text as it lies in the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Text<'a> {
    Plain(&'a str),
    Packed(&'a [u8; 32]),
}

impl<'a> Text<'a> {
    /// The single ASCII letter that it is, if so: the name of an indexed tag.
    pub(crate) fn letter(self) -> Option<u8> {
        match self {
            Self::Plain(text) => match text.as_bytes() {
                [letter] if letter.is_ascii_alphabetic() => Some(*letter),
                _ => None,
            },
            Self::Packed(_) => None,
        }
    }

    pub(crate) fn is_in(self, set: &BTreeSet<String>) -> bool {
        match self {
            Self::Plain(text) => set.contains(text),
            Self::Packed(bytes) => {
                let digits = hex(bytes);
                std::str::from_utf8(&digits).is_ok_and(|text| set.contains(text))
            }
        }
    }

    pub(crate) fn to_text(self) -> String {
        match self {
            Self::Plain(text) => text.to_owned(),
            Self::Packed(bytes) => hex(bytes).iter().map(|digit| char::from(*digit)).collect(),
        }
    }
}

fn hex(bytes: &[u8; 32]) -> [u8; 64] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = [0; 64];
    for (pair, byte) in out.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    }
    out
}

/// Reads values off the front of some bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Damaged> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(Damaged("it ends too early"))?;
        self.0 = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], Damaged> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Damaged("it ends too early"))?;
        self.0 = rest;
        Ok(head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Damaged> {
        self.array::<1>().map(|[byte]| *byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Damaged> {
        self.array().map(|bytes| u16::from_be_bytes(*bytes))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Damaged> {
        self.array().map(|bytes| u64::from_be_bytes(*bytes))
    }

    pub(crate) fn varint(&mut self) -> Result<u64, Damaged> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let group = u64::from(byte & 0x7f);
            if shift == 63 && group > 1 {
                break;
            }
            value |= group << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Damaged("a length is too long"))
    }

    /// A count of things that take at least one byte each, so that no claim makes us allocate more than is there.
    pub(crate) fn count(&mut self) -> Result<usize, Damaged> {
        let count = self.varint()?;
        usize::try_from(count)
            .ok()
            .filter(|count| *count <= self.0.len())
            .ok_or(Damaged("a count exceeds what is there"))
    }

    pub(crate) fn text(&mut self) -> Result<Text<'a>, Damaged> {
        match self.varint()? {
            PACKED => self.array().map(Text::Packed),
            len if len & 1 == 0 => {
                let len = usize::try_from(len >> 1).map_err(|_| Damaged("a length is too long"))?;
                std::str::from_utf8(self.take(len)?).map(Text::Plain).map_err(|_| Damaged("a text is not UTF-8"))
            }
            _ => Err(Damaged("a text has an unknown form")),
        }
    }

    pub(crate) fn end(self) -> Result<(), Damaged> {
        if self.0.is_empty() { Ok(()) } else { Err(Damaged("something follows its end")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_of_every_length_come_back() {
        for value in (0..64).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit]).chain([u64::MAX]) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            let mut reader = Reader(&out);
            assert_eq!(reader.varint(), Ok(value));
            assert!(reader.end().is_ok());
        }
        assert!(Reader(&[0xff; 11]).varint().is_err());
    }

    #[test]
    fn only_lowercase_hex_of_64_digits_is_packed() {
        for text in ["ab".repeat(32), "AB".repeat(32), "ab".repeat(31), "zz".repeat(32), String::new()] {
            let mut out = Vec::new();
            put_text(&mut out, &text);
            assert_eq!(out.len() == 33, text == "ab".repeat(32), "{text}");
            assert_eq!(Reader(&out).text().map(Text::to_text), Ok(text));
        }
    }
}
