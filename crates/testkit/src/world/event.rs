//! Signing events, the same bytes every time.

use nostr::event::{Event, EventId, Kind, Tag, Tags};
use nostr::key::{Keys, SecretKey};
use nostr::types::Timestamp;
use secp256k1::{Secp256k1, SignOnly};
use sync_core::time::Jitter;

/// The keys of person `number` in the world of `seed`.
pub fn keys(seed: u64, number: u64) -> Keys {
    let mut numbers = Jitter::new(seed ^ number.rotate_left(32) ^ 0x6b65_7973);
    loop {
        let mut bytes = [0; SecretKey::LEN];
        bytes.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&numbers.next_u64().to_be_bytes()));
        if let Ok(secret) = SecretKey::from_slice(&bytes) {
            return Keys::new(secret);
        }
    }
}

/// A signed event. The signature follows from the arguments: no random number is drawn.
pub fn sign(
    keys: &Keys,
    kind: u16,
    created_at: u64,
    tags: impl IntoIterator<Item = Tag>,
    content: impl Into<String>,
) -> Event {
    EventSpec { kind, created_at, tags: tags.into_iter().collect(), content: content.into() }.sign(keys)
}

/// An event to be signed, built up step by step.
#[derive(Debug, Clone)]
pub struct EventSpec {
    kind: u16,
    created_at: u64,
    tags: Vec<Tag>,
    content: String,
}

impl EventSpec {
    /// An event of that kind, made at second 0, without tags and content.
    pub fn new(kind: u16) -> Self {
        Self { kind, created_at: 0, tags: Vec::new(), content: String::new() }
    }

    /// Sets `created_at`, unix seconds.
    #[must_use]
    pub fn at(mut self, created_at: u64) -> Self {
        self.created_at = created_at;
        self
    }

    /// Adds a tag: its name, then its values.
    #[must_use]
    pub fn tag<S: AsRef<str>>(mut self, tag: impl IntoIterator<Item = S>) -> Self {
        let mut parts = tag.into_iter().map(|part| part.as_ref().to_owned());
        let name = parts.next().unwrap_or_default();
        self.tags.push(Tag::custom(name, parts));
        self
    }

    /// Sets the content.
    #[must_use]
    pub fn content(mut self, content: impl Into<String>) -> Self {
        self.content = content.into();
        self
    }

    /// Signs it.
    pub fn sign(self, keys: &Keys) -> Event {
        self.sign_with(&Secp256k1::signing_only(), keys)
    }

    /// Signs it with a context that is kept, for many events.
    pub(super) fn sign_with(self, secp: &Secp256k1<SignOnly>, keys: &Keys) -> Event {
        let author = keys.public_key();
        let (created_at, kind) = (Timestamp::from_secs(self.created_at), Kind::from(self.kind));
        let tags = Tags::from_list(self.tags);
        let id = EventId::compute(&author, &created_at, &kind, &tags, &self.content);
        let signature = keys.sign_schnorr_with_aux_rand(secp, id.as_bytes(), &[0; 32]);
        Event::new(id, author, created_at, kind, tags, self.content, signature)
    }
}
