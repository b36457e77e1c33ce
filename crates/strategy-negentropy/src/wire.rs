//! Whether a payload is well-formed (NIP-77, message format), before the protocol acts on it.
//!
//! The `negentropy` crate reads a number that is cut off as zero, so that a cut message can pass for one that says
//! "nothing more differs". A sync would end as complete with items missing; here it ends as broken.

use negentropy::{FINGERPRINT_SIZE, ID_SIZE};

/// Checks the ranges of a payload: numbers that end and fit 64 bits, known modes, bounds that don't go back.
///
/// # Errors
/// What is wrong.
pub(crate) fn check(payload: &[u8]) -> Result<(), &'static str> {
    let (_version, mut rest) = payload.split_first().ok_or("it is empty")?;
    let mut last_bound = (0, [0; ID_SIZE]);
    while !rest.is_empty() {
        let timestamp = match number(&mut rest)? {
            0 => u64::MAX,
            above => (above - 1).saturating_add(last_bound.0),
        };
        let prefix_len = number(&mut rest)?;
        if prefix_len > ID_SIZE as u64 {
            return Err("a bound is longer than an id");
        }
        let prefix = bytes(&mut rest, prefix_len as usize)?;
        let mut id = [0; ID_SIZE];
        id[..prefix.len()].copy_from_slice(prefix);
        let bound = (timestamp, id);
        if bound < last_bound {
            return Err("its bounds go back");
        }
        last_bound = bound;
        match number(&mut rest)? {
            0 => {}
            1 => {
                bytes(&mut rest, FINGERPRINT_SIZE)?;
            }
            2 => {
                let ids = number(&mut rest)?;
                if ids > (rest.len() / ID_SIZE) as u64 {
                    return Err(CUT);
                }
                bytes(&mut rest, ids as usize * ID_SIZE)?;
            }
            _ => return Err("it holds a mode that isn't known"),
        }
    }
    Ok(())
}

const CUT: &str = "it is cut off";

fn bytes<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], &'static str> {
    let (taken, after) = rest.split_at_checked(count).ok_or(CUT)?;
    *rest = after;
    Ok(taken)
}

/// A number in groups of seven bits, the most significant first; the high bit says that more follow.
fn number(rest: &mut &[u8]) -> Result<u64, &'static str> {
    let mut value = 0u64;
    loop {
        let (byte, after) = rest.split_first().ok_or(CUT)?;
        *rest = after;
        if value > u64::MAX >> 7 {
            return Err("it holds a number beyond 64 bits");
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_messages_pass() {
        let fingerprint = [&[0x61, 0, 0, 1][..], &[7; 16]].concat();
        let ids = [&[0x61, 5, 1, 0xff, 2, 2][..], &[7; 64], &[1, 2, 0xff, 1, 0]].concat();
        for message in [&[0x61][..], &[0x61, 0, 0, 0], &fingerprint, &ids] {
            assert_eq!(check(message), Ok(()), "{message:?}");
        }
    }

    #[test]
    fn every_cut_within_a_range_is_seen() {
        let message = [&[0x61, 0x85, 5, 1, 0xff, 2, 2][..], &[7; 64]].concat();
        assert_eq!(check(&message), Ok(()));
        for cut in 2..message.len() {
            assert_eq!(check(&message[..cut]), Err(CUT), "cut at {cut}");
        }
        assert_eq!(check(&[]), Err("it is empty"));
    }

    #[test]
    fn nonsense_is_named() {
        let beyond = [&[0x61][..], &[0xff; 9], &[0x7f, 0, 0]].concat();
        for (message, error) in [
            (&[0x61, 0, 33, 0][..], "a bound is longer than an id"),
            (&[0x61, 0, 0, 3], "it holds a mode that isn't known"),
            (&[0x61, 2, 1, 9, 0, 1, 1, 8, 0], "its bounds go back"),
            (&beyond, "it holds a number beyond 64 bits"),
        ] {
            assert_eq!(check(message), Err(error), "{message:?}");
        }
    }
}
