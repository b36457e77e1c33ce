//! The responder of NIP-77: one reconciliation, by the present crate or by one that cuts frames wrongly.

use negentropy::{Id, Negentropy, NegentropyStorageVector};
use nostr::event::Event;

/// One open reconciliation, over the set that matched when it was opened.
pub(super) struct Reconciliation {
    machine: Machine,
    /// Answers given.
    pub(super) rounds: u64,
}

enum Machine {
    Present(Box<Negentropy<'static, NegentropyStorageVector>>),
    /// Cuts frames wrongly.
    Old(Box<negentropy_old::Negentropy<negentropy_old::NegentropyStorageVector>>),
}

impl Reconciliation {
    /// Over `events`; answers have at most `frame_limit` bytes (0 for no limit, else at least 4096). `old` is for the
    /// machine of the crate's releases before 0.5.3.
    pub(super) fn new<'a>(
        events: impl Iterator<Item = &'a Event>,
        frame_limit: u64,
        old: bool,
    ) -> Result<Self, String> {
        let machine = if old {
            Machine::old(events, frame_limit).map_err(|error| error.to_string())
        } else {
            Machine::present(events, frame_limit).map_err(|error| error.to_string())
        };
        machine.map(|machine| Self { machine, rounds: 0 })
    }

    /// The answer to a message; both in hex.
    pub(super) fn answer(&mut self, message: &str) -> Result<String, String> {
        let message = from_hex(message).ok_or("negentropy message is not hex")?;
        let answer = match &mut self.machine {
            Machine::Present(machine) => machine.reconcile(&message).map_err(|error| error.to_string())?,
            Machine::Old(machine) => {
                let answer = machine.reconcile(&negentropy_old::Bytes::from(message));
                answer.map_err(|error| error.to_string())?.to_bytes()
            }
        };
        self.rounds += 1;
        Ok(to_hex(&answer))
    }
}

impl Machine {
    fn present<'a>(events: impl Iterator<Item = &'a Event>, frame_limit: u64) -> Result<Self, negentropy::Error> {
        let mut storage = NegentropyStorageVector::new();
        for event in events {
            storage.insert(event.created_at.as_secs(), Id::from_byte_array(event.id.to_bytes()))?;
        }
        storage.seal()?;
        Ok(Self::Present(Box::new(Negentropy::owned(storage, frame_limit)?)))
    }

    fn old<'a>(events: impl Iterator<Item = &'a Event>, frame_limit: u64) -> Result<Self, negentropy_old::Error> {
        let mut storage = negentropy_old::NegentropyStorageVector::new();
        for event in events {
            storage.insert(event.created_at.as_secs(), negentropy_old::Id::new(event.id.to_bytes()))?;
        }
        storage.seal()?;
        Ok(Self::Old(Box::new(negentropy_old::Negentropy::new(storage, frame_limit)?)))
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
