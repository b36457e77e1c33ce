//! What is kept of a relay from one session to the next: how large its pages may be, where connections break.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | the version, 1 |
//! | 4 | the page size, big-endian, at least 1 |
//! | 8, or none | a second whose events couldn't be asked for at once, big-endian |
//!
//! Anything else, nothing included, is a relay of which nothing is known.

const VERSION: u8 = 1;

/// What is known of a relay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Remembered {
    /// Events in a page; `None` for as many as it takes otherwise.
    pub(crate) limit: Option<u32>,
    /// The second at which the connection broke when all of it was asked for.
    pub(crate) broke_at: Option<u64>,
}

impl Remembered {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let Some((&[VERSION, a, b, c, d], rest)) = bytes.split_first_chunk() else { return Self::default() };
        let limit = u32::from_be_bytes([a, b, c, d]);
        let broke_at = match rest {
            [] => None,
            rest => match <[u8; 8]>::try_from(rest) {
                Ok(second) => Some(u64::from_be_bytes(second)),
                Err(_) => return Self::default(),
            },
        };
        if limit == 0 { Self::default() } else { Self { limit: Some(limit), broke_at } }
    }

    /// Empty where there is nothing to keep.
    pub(crate) fn bytes(self) -> Vec<u8> {
        let Some(limit) = self.limit else { return Vec::new() };
        let mut bytes = vec![VERSION];
        bytes.extend(limit.max(1).to_be_bytes());
        bytes.extend(self.broke_at.map(u64::to_be_bytes).into_iter().flatten());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        for known in [
            Remembered::default(),
            Remembered { limit: Some(1), broke_at: None },
            Remembered { limit: Some(u32::MAX), broke_at: Some(u64::MAX) },
        ] {
            assert_eq!(Remembered::read(&known.bytes()), known);
        }
    }

    #[test]
    fn anything_else_is_nothing() {
        for bytes in [&[][..], &[1], &[2, 0, 0, 0, 5], &[1, 0, 0, 0, 0], &[1, 0, 0, 0, 5, 1], &[1; 14]] {
            assert_eq!(Remembered::read(bytes), Remembered::default(), "{bytes:?}");
        }
    }
}
