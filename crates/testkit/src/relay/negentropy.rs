//! The responder of NIP-77: one reconciliation.

use negentropy::{Id, Negentropy, NegentropyStorageVector};
use nostr::event::Event;

/// One open reconciliation, over the set that matched when it was opened.
pub(super) struct Reconciliation {
    machine: Negentropy<'static, NegentropyStorageVector>,
    /// Answers given.
    pub(super) rounds: u64,
}

impl Reconciliation {
    /// Over `events`; answers have at most `frame_limit` bytes (0 for no limit, else at least 4096).
    pub(super) fn new<'a>(mut events: impl Iterator<Item = &'a Event>, frame_limit: u64) -> Result<Self, String> {
        let mut storage = NegentropyStorageVector::new();
        events
            .try_for_each(|event| storage.insert(event.created_at.as_secs(), Id::from_byte_array(event.id.to_bytes())))
            .and_then(|()| storage.seal())
            .and_then(|()| Negentropy::owned(storage, frame_limit))
            .map(|machine| Self { machine, rounds: 0 })
            .map_err(|error| error.to_string())
    }

    /// The answer to a message; both in hex.
    pub(super) fn answer(&mut self, message: &str) -> Result<String, String> {
        let message = from_hex(message).ok_or("negentropy message is not hex")?;
        let answer = self.machine.reconcile(&message).map_err(|error| error.to_string())?;
        self.rounds += 1;
        Ok(to_hex(&answer))
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| u8::try_from((digit(*high)? << 4) | digit(*low)?).ok()).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}
