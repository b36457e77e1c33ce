//! Signed events, the same ones every time.

use std::sync::LazyLock;

use nostr::event::{Event, EventBuilder, FinalizeUnsignedEvent, Kind};
use nostr::key::Keys;
use nostr::types::Timestamp;
use secp256k1::{Secp256k1, SignOnly};

/// Making one takes longer than many signatures.
static SECP: LazyLock<Secp256k1<SignOnly>> = LazyLock::new(Secp256k1::signing_only);

fn keys() -> Keys {
    Keys::parse("67dea2ed018072d675f5415ecfaed7d2597555e202d85b3d65ea4e58d2d92ffa").expect("valid")
}

/// Signed by the one key of these tests.
pub(crate) fn signed(builder: EventBuilder) -> Event {
    let keys = keys();
    let unsigned = builder.finalize_unsigned(keys.public_key());
    let id = unsigned.compute_id();
    let signature = keys.sign_schnorr_with_aux_rand(&*SECP, id.as_bytes(), &[0; 32]);
    unsigned.add_signature(signature).expect("just signed")
}

/// The note `n`, `n` seconds after the first.
pub(crate) fn event(n: u64) -> Event {
    let builder = EventBuilder::new(Kind::from(1), format!("note {n}"));
    signed(builder.custom_created_at(Timestamp::from_secs(1_700_000_000 + n)))
}

/// As a line.
pub(crate) fn json(event: &Event) -> String {
    serde_json::to_string(event).expect("an event is JSON")
}
