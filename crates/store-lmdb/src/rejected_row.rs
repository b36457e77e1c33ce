//! A row of the rejected index as bytes.
//!
//! id, author, `created_at`, kind, hot until, cold until, the place in the feed where it is wanted (0: none), reasons (a
//! text each, empty for none), the own relay's words, tags, what it waits for, relays, the body.

use nostr::event::EventId;
use nostr::key::PublicKey;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sync_core::model::{RelayUrl, RepoAddress};
use sync_core::store::{Dependency, RejectedRow, StoreError};

use crate::bytes::{Damaged, Reader, put_text, put_varint};
use crate::codec::{self, Record};
use crate::error::damaged;

pub(crate) fn encode(row: &RejectedRow, out: &mut Vec<u8>) -> Result<(), StoreError> {
    out.extend_from_slice(row.id.as_bytes());
    out.extend_from_slice(row.pubkey.as_bytes());
    out.extend_from_slice(&row.created_at.to_be_bytes());
    out.extend_from_slice(&row.kind.to_be_bytes());
    out.extend_from_slice(&row.hot_until.to_be_bytes());
    out.extend_from_slice(&row.cold_until.to_be_bytes());
    out.extend_from_slice(&row.wanted.unwrap_or(0).to_be_bytes());
    put_text(out, &name_of(row.rejected.as_ref())?);
    put_text(out, &name_of(row.deferred.as_ref())?);
    put_text(out, &row.said);
    put_varint(out, row.tags.len() as u64);
    for (letter, value) in &row.tags {
        put_varint(out, u64::from(u32::from(*letter)));
        put_text(out, value);
    }
    put_varint(out, row.waits_for.len() as u64);
    for dependency in &row.waits_for {
        match dependency {
            Dependency::Event(id) => {
                out.push(0);
                out.extend_from_slice(id.as_bytes());
            }
            Dependency::Repo(address) => {
                out.push(1);
                out.extend_from_slice(address.pubkey.as_bytes());
                put_text(out, &address.identifier);
            }
            Dependency::Identifier(identifier) => {
                out.push(2);
                put_text(out, identifier);
            }
        }
    }
    put_varint(out, row.relays.len() as u64);
    row.relays.iter().for_each(|relay| put_text(out, relay.as_str()));
    if let Some(body) = &row.body {
        codec::encode(body, None, out);
    }
    Ok(())
}

pub(crate) fn decode(bytes: &[u8]) -> Result<RejectedRow, StoreError> {
    read(bytes).map_err(|why| damaged("a row of the rejected index", why))
}

/// The row without its tags, what it waits for, its relays and its body.
pub(crate) fn decode_head(bytes: &[u8]) -> Result<RejectedRow, StoreError> {
    read_head(&mut Reader(bytes)).map_err(|why| damaged("a row of the rejected index", why))
}

fn read_head(reader: &mut Reader<'_>) -> Result<RejectedRow, Damaged> {
    Ok(RejectedRow {
        id: EventId::from_byte_array(*reader.array()?),
        pubkey: PublicKey::from_byte_array(*reader.array()?),
        created_at: reader.u64()?,
        kind: reader.u16()?,
        hot_until: reader.u64()?,
        cold_until: reader.u64()?,
        wanted: Some(reader.u64()?).filter(|place| *place > 0),
        rejected: reason(reader)?,
        deferred: reason(reader)?,
        said: reader.text()?.to_text(),
        tags: Vec::new(),
        waits_for: Vec::new(),
        relays: Vec::new(),
        body: None,
    })
}

fn read(bytes: &[u8]) -> Result<RejectedRow, Damaged> {
    let mut reader = Reader(bytes);
    let mut row = read_head(&mut reader)?;
    for _ in 0..reader.count()? {
        let letter = u32::try_from(reader.varint()?).ok().and_then(char::from_u32);
        row.tags.push((letter.ok_or(Damaged("a tag has no letter"))?, reader.text()?.to_text()));
    }
    for _ in 0..reader.count()? {
        row.waits_for.push(match reader.u8()? {
            0 => Dependency::Event(EventId::from_byte_array(*reader.array()?)),
            1 => {
                let pubkey = PublicKey::from_byte_array(*reader.array()?);
                Dependency::Repo(RepoAddress::new(pubkey, reader.text()?.to_text()))
            }
            2 => Dependency::Identifier(reader.text()?.to_text()),
            _ => return Err(Damaged("a dependency has an unknown form")),
        });
    }
    for _ in 0..reader.count()? {
        let relay = RelayUrl::parse(&reader.text()?.to_text()).map_err(|_| Damaged("a relay's address is none"))?;
        row.relays.push(relay);
    }
    if !reader.0.is_empty() {
        row.body = Some(Box::new(Record::read(reader.0)?.event()?));
    }
    Ok(row)
}

/// The name that serde gives a reason, which outlives additions to its enum.
fn name_of<R: Serialize>(reason: Option<&R>) -> Result<String, StoreError> {
    match reason.map(serde_json::to_value).transpose() {
        Ok(None) => Ok(String::new()),
        Ok(Some(serde_json::Value::String(name))) => Ok(name),
        Ok(Some(other)) => Err(StoreError::Io(format!("a reason has no name: {other}"))),
        Err(error) => Err(StoreError::Io(error.to_string())),
    }
}

fn reason<R: DeserializeOwned>(reader: &mut Reader<'_>) -> Result<Option<R>, Damaged> {
    let name = reader.text()?.to_text();
    if name.is_empty() {
        return Ok(None);
    }
    serde_json::from_value(serde_json::Value::String(name)).map(Some).map_err(|_| Damaged("its reason is unknown"))
}
