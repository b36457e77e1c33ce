//! What is kept of a relay from one session to the next: how large its pages may be, how large they were, at how many events
//! it cuts them, where connections break.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | the version, 3 |
//! | 4 | the page size, 0 for the usual one |
//! | 4 + 8 | the largest page that was seen, whole or not, 0 where that isn't known; when, unix seconds |
//! | 4 + 8 | the events of a page that it cut, 0 where that isn't known; when that was last seen, unix seconds |
//! | 17, or none | a second whose events couldn't be asked for at once; by which filter: its hash; how often |
//!
//! Numbers are big-endian. Anything else, nothing included, is a relay of which nothing is known.

use std::hash::{DefaultHasher, Hash, Hasher};

use sync_core::nostr::filter::Filter;

const VERSION: u8 = 3;
/// Bytes before the second, if any.
const HEAD: usize = 29;
/// How long it is believed that a relay shows as much as it did, seconds: relays change.
const BELIEVED_S: u64 = 86_400;
/// And that it cuts its pages where it did: until it shows a larger one, but no longer than this, seconds.
const CAP_BELIEVED_S: u64 = 7 * 86_400;

/// What is known of a relay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Remembered {
    /// Events in a page; `None` for as many as it takes otherwise.
    pub(crate) limit: Option<u32>,
    /// Events in the largest page that was seen, and when, unix seconds.
    pub(crate) most: (u32, u64),
    /// Events in a page that the relay was seen to cut, 0 where it wasn't, and when that was last seen, unix seconds.
    pub(crate) cap: (u32, u64),
    /// Where the connection broke when all of a second was asked for.
    pub(crate) broke: Option<Broke>,
}

/// A second that a connection broke over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broke {
    pub(crate) second: u64,
    /// [`tag`] of the filter.
    pub(crate) filter: u64,
    pub(crate) times: u8,
}

/// Tells filters apart. A hash that another release of the toolchain may compute otherwise: then a second is tried once more.
pub(crate) fn tag(filter: &Filter) -> u64 {
    let mut hasher = DefaultHasher::new();
    filter.hash(&mut hasher);
    hasher.finish()
}

impl Remembered {
    /// `now`: unix seconds.
    pub(crate) fn read(bytes: &[u8], now: u64) -> Self {
        let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else { return Self::default() };
        let [VERSION, a, b, c, d, sizes @ ..] = *head else { return Self::default() };
        let limit = Some(u32::from_be_bytes([a, b, c, d])).filter(|limit| *limit > 0);
        let size = |bytes: &[u8], believed_s: u64| {
            let (size, at) = bytes.split_at_checked(4)?;
            let (size, at) = (u32::from_be_bytes(size.try_into().ok()?), u64::from_be_bytes(at.try_into().ok()?));
            (now.abs_diff(at) <= believed_s).then_some((size, at))
        };
        let (most, cap) = sizes.split_at(12);
        let most = size(most, BELIEVED_S).unwrap_or_default();
        let cap = size(cap, CAP_BELIEVED_S).unwrap_or_default();
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).ok();
        let broke = match rest {
            [] => None,
            [of @ .., times] if of.len() == 16 => {
                let (second, filter) = of.split_at(8);
                number(second).zip(number(filter)).map(|(second, filter)| Broke { second, filter, times: *times })
            }
            _ => return Self::default(),
        };
        Self { limit, most, cap, broke }
    }

    /// Empty where there is nothing to keep.
    pub(crate) fn bytes(self) -> Vec<u8> {
        if self == Self::default() {
            return Vec::new();
        }
        let mut bytes = vec![VERSION];
        bytes.extend(self.limit.unwrap_or(0).to_be_bytes());
        bytes.extend(self.most.0.to_be_bytes());
        bytes.extend(self.most.1.to_be_bytes());
        bytes.extend(self.cap.0.to_be_bytes());
        bytes.extend(self.cap.1.to_be_bytes());
        if let Some(Broke { second, filter, times }) = self.broke {
            bytes.extend(second.to_be_bytes());
            bytes.extend(filter.to_be_bytes());
            bytes.push(times);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    #[test]
    fn what_was_written_is_read() {
        let broke = Some(Broke { second: u64::MAX, filter: 7, times: 2 });
        for known in [
            Remembered::default(),
            Remembered { limit: Some(1), ..Remembered::default() },
            Remembered { most: (9, NOW - BELIEVED_S), ..Remembered::default() },
            Remembered { cap: (40, NOW - CAP_BELIEVED_S), ..Remembered::default() },
            Remembered { limit: Some(u32::MAX), most: (u32::MAX, NOW), cap: (u32::MAX, NOW), broke },
        ] {
            assert_eq!(Remembered::read(&known.bytes(), NOW), known);
        }
    }

    #[test]
    fn how_much_was_shown_is_believed_for_a_day() {
        let known = Remembered { limit: Some(3), most: (9, NOW), cap: (9, NOW), broke: None };
        assert_eq!(Remembered::read(&known.bytes(), NOW + BELIEVED_S + 1), Remembered { most: (0, 0), ..known });
        assert_eq!(Remembered::read(&known.bytes(), NOW - BELIEVED_S - 1), Remembered { most: (0, 0), ..known });
        let later = Remembered::read(&known.bytes(), NOW + CAP_BELIEVED_S + 1);
        assert_eq!(later, Remembered { most: (0, 0), cap: (0, 0), ..known });
    }

    #[test]
    fn anything_else_is_nothing() {
        let other = [1; HEAD];
        for bytes in [&[][..], &[3], &[1, 0, 0, 0, 5], &other, &[3; HEAD - 1], &[3; HEAD + 1], &[3; 50], &[2; HEAD]] {
            assert_eq!(Remembered::read(bytes, NOW), Remembered::default(), "{bytes:?}");
        }
    }
}
