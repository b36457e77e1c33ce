//! An event as compact bytes, from which its JSON is rebuilt exactly.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | form: 2, or 3 where a NIP-40 time follows the kind |
//! | 32, 32, 64 | id, author, signature |
//! | 8, 2 | `created_at`, kind |
//! | 8 | NIP-40 time, in form 3 |
//! | varint | number of tags; each a varint number of texts, then the texts |
//! | text | content |

use std::ops::ControlFlow;

use nostr::event::{Event, EventId, Kind, Signature, Tag};
use nostr::key::PublicKey;
use nostr::types::Timestamp;

use crate::bytes::{Damaged, Reader, Text, put_text, put_varint};

const FORM: u8 = 2;
const FORM_EXPIRING: u8 = 3;

/// Appends `event` to `out`.
pub(crate) fn encode(event: &Event, expires_at: Option<u64>, out: &mut Vec<u8>) {
    out.push(if expires_at.is_some() { FORM_EXPIRING } else { FORM });
    out.extend_from_slice(event.id.as_bytes());
    out.extend_from_slice(event.pubkey.as_bytes());
    out.extend_from_slice(event.sig.as_bytes());
    out.extend_from_slice(&event.created_at.as_secs().to_be_bytes());
    out.extend_from_slice(&event.kind.as_u16().to_be_bytes());
    if let Some(expires_at) = expires_at {
        out.extend_from_slice(&expires_at.to_be_bytes());
    }
    put_varint(out, event.tags.len() as u64);
    for tag in event.tags.iter() {
        put_varint(out, tag.len() as u64);
        for text in tag.as_slice() {
            put_text(out, text);
        }
    }
    put_text(out, &event.content);
}

/// An event as it lies in the map: the header read, the rest read when asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    pub(crate) id: &'a [u8; 32],
    pub(crate) pubkey: &'a [u8; 32],
    sig: &'a [u8; 64],
    pub(crate) created_at: u64,
    pub(crate) kind: u16,
    pub(crate) expires_at: Option<u64>,
    /// Bytes of the whole.
    pub(crate) len: usize,
    rest: Reader<'a>,
}

impl<'a> Record<'a> {
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Damaged> {
        let mut reader = Reader(bytes);
        let form = reader.u8()?;
        if !matches!(form, FORM | FORM_EXPIRING) {
            return Err(Damaged("it has an unknown form"));
        }
        Ok(Self {
            id: reader.array()?,
            pubkey: reader.array()?,
            sig: reader.array()?,
            created_at: reader.u64()?,
            kind: reader.u16()?,
            expires_at: (form == FORM_EXPIRING).then(|| reader.u64()).transpose()?,
            len: bytes.len(),
            rest: reader,
        })
    }

    pub(crate) fn event_id(&self) -> EventId {
        EventId::from_byte_array(*self.id)
    }

    /// Whether its NIP-40 time has come; an event has expired at its time.
    pub(crate) fn is_expired(&self, now: u64) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// Visits each tag that has a value: its name and that value. Returns the reader, past the tags, unless stopped.
    pub(crate) fn tags(
        &self,
        mut visit: impl FnMut(Text<'a>, Text<'a>) -> ControlFlow<()>,
    ) -> Result<Option<Reader<'a>>, Damaged> {
        let mut reader = self.rest;
        for _ in 0..reader.count()? {
            let texts = reader.count()?;
            let mut pair = [None, None];
            for at in 0..texts {
                let text = reader.text()?;
                if let Some(place) = pair.get_mut(at) {
                    *place = Some(text);
                }
            }
            if let [Some(name), Some(value)] = pair
                && visit(name, value).is_break()
            {
                return Ok(None);
            }
        }
        Ok(Some(reader))
    }

    pub(crate) fn content(&self) -> Result<Text<'a>, Damaged> {
        match self.tags(|_, _| ControlFlow::Continue(()))? {
            Some(mut reader) => reader.text(),
            None => Err(Damaged("its tags don't end")),
        }
    }

    pub(crate) fn event(&self) -> Result<Event, Damaged> {
        let mut reader = self.rest;
        let count = reader.count()?;
        let mut tags = Vec::with_capacity(count);
        for _ in 0..count {
            let count = reader.count()?;
            let mut texts = Vec::with_capacity(count);
            for _ in 0..count {
                texts.push(reader.text()?.to_text());
            }
            tags.push(Tag::parse(texts).map_err(|_| Damaged("a tag is empty"))?);
        }
        let content = reader.text()?.to_text();
        reader.end()?;
        Ok(Event::new(
            self.event_id(),
            PublicKey::from_byte_array(*self.pubkey),
            Timestamp::from_secs(self.created_at),
            Kind::from_u16(self.kind),
            tags,
            content,
            Signature::from_byte_array(*self.sig),
        ))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![any::<String>(), "[a-zA-Z]", "[0-9a-f]{64}", "[0-9A-F]{64}", "\\PC{0,80}"]
    }

    prop_compose! {
        fn events()(
            id in any::<[u8; 32]>(), pubkey in any::<[u8; 32]>(), sig in any::<[[u8; 32]; 2]>(),
            created_at in any::<u64>(), kind in any::<u16>(), content in texts(),
            tags in proptest::collection::vec(proptest::collection::vec(texts(), 1..4), 0..6),
        ) -> Event {
            Event::new(
                EventId::from_byte_array(id), PublicKey::from_byte_array(pubkey), Timestamp::from_secs(created_at),
                Kind::from_u16(kind), tags.into_iter().map(|tag| Tag::parse(tag).expect("not empty")), content,
                Signature::from_slice(&sig.concat()).expect("64 bytes"),
            )
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn what_was_written_is_read(event in events(), expires_at in any::<Option<u64>>()) {
            let mut bytes = Vec::new();
            encode(&event, expires_at, &mut bytes);
            let record = Record::read(&bytes).expect("reads");
            prop_assert_eq!(record.expires_at, expires_at);
            let content = record.content().expect("content").to_text();
            prop_assert_eq!(&content, &event.content);
            prop_assert_eq!(record.event().expect("reads"), event);
        }

        #[test]
        fn damage_is_an_error_and_no_panic(event in events(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = Vec::new();
            encode(&event, None, &mut bytes);
            let cut = at.index(bytes.len());
            let short = Record::read(&bytes[..cut]).and_then(|record| record.event());
            prop_assert!(short.is_err());
            bytes[cut] = byte;
            let _ = Record::read(&bytes).and_then(|record| record.event());
        }
    }
}
