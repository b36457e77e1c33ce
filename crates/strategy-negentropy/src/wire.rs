//! Payloads as ranges, read and written (NIP-77, message format). Knows no local items and no protocol state.
//!
//! A payload is refused as a whole before anything in it is acted on: a message that was cut off could otherwise
//! pass for one that says "nothing more differs", and a sync would end as complete with items missing.

use sync_core::strategy::ItemKey;

/// The version of the protocol, the first byte of each payload.
pub(crate) const VERSION: u8 = 0x61;
/// Bytes of a fingerprint.
const FINGERPRINT: usize = 16;
/// Bytes of an id.
const ID: usize = 32;

const SKIP: u64 = 0;
const BY_FINGERPRINT: u64 = 1;
const BY_IDS: u64 = 2;

const CUT: &str = "it is cut off";

/// What a payload says of the items from the end of the range before it, included, to `end`, not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range<'a> {
    /// The first place beyond. [`ItemKey::MAX`] is infinity.
    pub(crate) end: ItemKey,
    pub(crate) content: Content<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    /// Nothing to say.
    Skip,
    /// Of the sender's items within.
    Fingerprint([u8; FINGERPRINT]),
    /// The sender's items within, in any order.
    Ids(&'a [[u8; ID]]),
}

/// The ranges of `payload`, ascending; their ids are borrowed from it.
///
/// # Errors
/// What is wrong: a payload of another version, a number that doesn't end or doesn't fit 64 bits, an unknown mode,
/// a bound that goes back or is longer than an id, a list or fingerprint that isn't all there.
pub(crate) fn ranges(payload: &[u8]) -> Result<impl Iterator<Item = Range<'_>>, &'static str> {
    let (version, rest) = payload.split_first().ok_or("it is empty")?;
    if *version != VERSION {
        return Err("it is of another version");
    }
    let reader = Reader { rest, last: ItemKey::MIN };
    let mut trial = reader.clone();
    while trial.range()?.is_some() {}
    Ok(reader)
}

#[derive(Clone)]
struct Reader<'a> {
    rest: &'a [u8],
    last: ItemKey,
}

impl<'a> Iterator for Reader<'a> {
    type Item = Range<'a>;

    fn next(&mut self) -> Option<Range<'a>> {
        // The trial has found no error.
        self.range().ok().flatten()
    }
}

impl<'a> Reader<'a> {
    fn range(&mut self) -> Result<Option<Range<'a>>, &'static str> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let end = self.bound()?;
        let content = match self.number()? {
            SKIP => Content::Skip,
            BY_FINGERPRINT => {
                let (fingerprint, after) = self.rest.split_first_chunk().ok_or(CUT)?;
                self.rest = after;
                Content::Fingerprint(*fingerprint)
            }
            BY_IDS => {
                let count = self.number()?;
                let (whole, _) = self.rest.as_chunks();
                let ids = usize::try_from(count).ok().and_then(|count| whole.get(..count)).ok_or(CUT)?;
                self.bytes(ids.len() * ID)?;
                Content::Ids(ids)
            }
            _ => return Err("it holds a mode that isn't known"),
        };
        Ok(Some(Range { end, content }))
    }

    fn bound(&mut self) -> Result<ItemKey, &'static str> {
        let created_at = match self.number()? {
            0 => u64::MAX,
            above => self.last.created_at.checked_add(above - 1).ok_or("it holds a time beyond 64 bits")?,
        };
        let length = usize::try_from(self.number()?).ok().filter(|length| *length <= ID);
        let prefix = self.bytes(length.ok_or("a bound is longer than an id")?)?;
        let mut id = [0; ID];
        id[..prefix.len()].copy_from_slice(prefix);
        let bound = ItemKey { created_at, id };
        if bound < self.last {
            return Err("its bounds go back");
        }
        self.last = bound;
        Ok(bound)
    }

    fn bytes(&mut self, count: usize) -> Result<&'a [u8], &'static str> {
        let (taken, after) = self.rest.split_at_checked(count).ok_or(CUT)?;
        self.rest = after;
        Ok(taken)
    }

    /// A number in groups of seven bits, the most significant first; the high bit says that more follow.
    fn number(&mut self) -> Result<u64, &'static str> {
        let mut value = 0u64;
        loop {
            let (byte, after) = self.rest.split_first().ok_or(CUT)?;
            self.rest = after;
            if value > u64::MAX >> 7 {
                return Err("it holds a number beyond 64 bits");
            }
            value = value << 7 | u64::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
    }
}

/// Writes a payload, range by range in ascending order.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    last: ItemKey,
}

/// A state of a [`Writer`] to go back to.
pub(crate) struct Mark {
    length: usize,
    last: ItemKey,
}

impl Writer {
    /// Bytes of the longest [`Self::skip_to`]: a time of ten bytes, a length, an id, the mode.
    pub(crate) const SKIP_MOST: usize = 10 + 1 + ID + 1;
    /// Bytes of a fingerprint up to infinity.
    pub(crate) const REST: usize = 1 + 1 + 1 + FINGERPRINT;

    /// A payload without ranges.
    pub(crate) fn new() -> Self {
        Self { bytes: vec![VERSION], last: ItemKey::MIN }
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// To go back to what is written so far.
    pub(crate) fn mark(&self) -> Mark {
        Mark { length: self.bytes.len(), last: self.last }
    }

    /// Forgets what was written since `mark`.
    pub(crate) fn reset(&mut self, mark: Mark) {
        self.bytes.truncate(mark.length);
        self.last = mark.last;
    }

    /// Makes the next range start at `start`: passes over what lies before it and is not written.
    pub(crate) fn skip_to(&mut self, start: ItemKey) {
        if self.last < start {
            self.bound(start, SKIP);
        }
    }

    /// A range up to `end`, by fingerprint.
    pub(crate) fn fingerprint(&mut self, end: ItemKey, fingerprint: [u8; FINGERPRINT]) {
        self.bound(end, BY_FINGERPRINT);
        self.bytes.extend(fingerprint);
    }

    /// A range up to `end`, by its items.
    pub(crate) fn ids(&mut self, end: ItemKey, items: &[ItemKey]) {
        self.bound(end, BY_IDS);
        self.number(items.len() as u64);
        self.bytes.extend(items.iter().flat_map(|item| item.id));
    }

    /// The payload; `None` where it has no range.
    pub(crate) fn finish(self) -> Option<Vec<u8>> {
        (self.bytes.len() > 1).then_some(self.bytes)
    }

    /// A prefix stands for the id that zeros make of it, so zeros at the end are left out.
    fn bound(&mut self, end: ItemKey, mode: u64) {
        let above = end.created_at.saturating_sub(self.last.created_at);
        self.number(if end.created_at == u64::MAX { 0 } else { above + 1 });
        let length = ID - end.id.iter().rev().take_while(|byte| **byte == 0).count();
        self.number(length as u64);
        self.bytes.extend(&end.id[..length]);
        self.number(mode);
        self.last = end;
    }

    fn number(&mut self, value: u64) {
        let groups = (u64::BITS - value.leading_zeros()).div_ceil(7).max(1);
        for group in (0..groups).rev() {
            let low = (value >> (group * 7)) as u8 & 0x7f;
            self.bytes.push(if group == 0 { low } else { low | 0x80 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(payload: &[u8]) -> Result<usize, &'static str> {
        ranges(payload).map(Iterator::count)
    }

    fn key(created_at: u64, prefix: &[u8]) -> ItemKey {
        let mut id = [0; ID];
        id[..prefix.len()].copy_from_slice(prefix);
        ItemKey { created_at, id }
    }

    #[test]
    fn what_is_written_is_read() {
        let items = [key(300, &[9; 32]), key(70_000, &[8; 32])];
        let mut writer = Writer::new();
        writer.skip_to(ItemKey::MIN);
        writer.skip_to(key(299, &[]));
        writer.ids(key(70_001, &[]), &items);
        let mark = writer.mark();
        writer.fingerprint(key(u64::MAX - 1, &[1]), [6; 16]);
        writer.reset(mark);
        writer.fingerprint(key(70_001, &[0, 7]), [5; 16]);
        writer.ids(key(u64::MAX - 1, &[]), &[]);
        writer.fingerprint(ItemKey::MAX, [4; 16]);
        let payload = writer.finish().expect("ranges");
        let read: Vec<_> = ranges(&payload).expect("well-formed").map(|range| (range.end, range.content)).collect();
        assert_eq!(
            read,
            [
                (key(299, &[]), Content::Skip),
                (key(70_001, &[]), Content::Ids(&[[9; 32], [8; 32]])),
                (key(70_001, &[0, 7]), Content::Fingerprint([5; 16])),
                (key(u64::MAX - 1, &[]), Content::Ids(&[])),
                (ItemKey::MAX, Content::Fingerprint([4; 16])),
            ]
        );
        assert_eq!(Writer::new().finish(), None);
    }

    #[test]
    fn the_room_kept_for_the_rest_is_enough() {
        let mut writer = Writer::new();
        writer.skip_to(key(u64::MAX - 1, &[0xff; 32]));
        assert_eq!(writer.len(), 1 + Writer::SKIP_MOST);
        writer.fingerprint(ItemKey::MAX, [0; 16]);
        assert_eq!(writer.len(), 1 + Writer::SKIP_MOST + Writer::REST);
    }

    #[test]
    fn whole_messages_pass() {
        let fingerprint = [&[0x61, 0, 0, 1][..], &[7; 16]].concat();
        let ids = [&[0x61, 5, 1, 0xff, 2, 2][..], &[7; 64], &[1, 2, 0xff, 1, 0]].concat();
        for (message, count) in [(&[0x61][..], 0), (&[0x61, 0, 0, 0], 1), (&fingerprint, 1), (&ids, 2)] {
            assert_eq!(check(message), Ok(count), "{message:?}");
        }
    }

    #[test]
    fn every_cut_within_a_range_is_seen() {
        let ids = [&[0x61, 0x85, 5, 1, 0xff, 2, 2][..], &[7; 64]].concat();
        let fingerprint = [&[0x61, 0x85, 5, 2, 0xff, 1, 1][..], &[7; 16]].concat();
        for message in [ids, fingerprint] {
            assert_eq!(check(&message), Ok(1));
            for cut in 2..message.len() {
                assert_eq!(check(&message[..cut]), Err(CUT), "cut at {cut}");
            }
        }
        assert_eq!(check(&[]), Err("it is empty"));
    }

    #[test]
    fn nonsense_is_named() {
        let beyond = [&[0x61][..], &[0xff; 9], &[0x7f, 0, 0]].concat();
        let endless = [&[0x61][..], &[0x80; 5_000]].concat();
        for (message, error) in [
            (&[0x60, 0, 0, 0][..], "it is of another version"),
            (&[0x61, 0, 33, 0], "a bound is longer than an id"),
            (&[0x61, 0, 0, 3], "it holds a mode that isn't known"),
            (&[0x61, 2, 1, 9, 0, 1, 1, 8, 0], "its bounds go back"),
            (&[0x61, 0, 0, 0, 3, 0, 0], "it holds a time beyond 64 bits"),
            (&beyond, "it holds a number beyond 64 bits"),
            (&endless, CUT),
        ] {
            assert_eq!(check(message), Err(error), "{message:?}");
        }
    }
}
