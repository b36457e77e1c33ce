//! What a relay's messages are to a session, and a session's to a relay: its numbers have names on the wire, as the
//! link gives them.

use std::collections::BTreeMap;

use nostr::filter::Filter;
use serde_json::value::RawValue;
use sync_core::response::{Meaning, SaidIn, classify};
use sync_core::strategy::{Message, SubId};

use super::given::Given;

/// The questions that are open on a connection.
#[derive(Debug, Default)]
pub(super) struct Wires {
    open: BTreeMap<String, Open>,
    next: u64,
}

#[derive(Debug)]
struct Open {
    sub: SubId,
    neg: bool,
    /// What was asked for, without its limit.
    filter: Filter,
}

/// What a frame comes to.
pub(super) enum Arrived {
    Given(Given),
    /// An event that is to be checked.
    Event {
        sub: SubId,
        filter: Filter,
        json: String,
    },
    /// Nothing that a session would hear of.
    Nothing,
}

impl Wires {
    /// The frames that carry a message.
    pub(super) fn frames(&mut self, message: &Message) -> Vec<String> {
        match message {
            Message::Req { sub, filter } => {
                let (name, mut frames) = self.opened(*sub, filter, false);
                frames.push(format!("[\"REQ\",\"{name}\",{}]", json(filter)));
                frames
            }
            Message::NegOpen { sub, filter, payload } => {
                let (name, mut frames) = self.opened(*sub, filter, true);
                frames.push(format!("[\"NEG-OPEN\",\"{name}\",{},\"{}\"]", json(filter), hex(payload)));
                frames
            }
            Message::NegMsg { sub, payload } => {
                let name = self.name_of(*sub);
                name.map(|name| format!("[\"NEG-MSG\",\"{name}\",\"{}\"]", hex(payload))).into_iter().collect()
            }
            Message::Close { sub } | Message::NegClose { sub } => self.closed(*sub).into_iter().collect(),
        }
    }

    /// Reads a frame.
    pub(super) fn arrived(&mut self, frame: &str) -> Arrived {
        let Ok(parts) = serde_json::from_str::<Vec<&RawValue>>(frame) else { return Arrived::Nothing };
        let text = |place: usize| {
            parts.get(place).and_then(|part| serde_json::from_str::<String>(part.get()).ok()).unwrap_or_default()
        };
        let (label, name) = (text(0), text(1));
        if label == "NOTICE" {
            return self.noticed(&name);
        }
        let Some(Open { sub, filter, .. }) = self.open.get(&name) else { return Arrived::Nothing };
        let sub = *sub;
        Arrived::Given(match label.as_str() {
            "EVENT" => {
                let Some(json) = parts.get(2) else { return Arrived::Nothing };
                return Arrived::Event { sub, filter: filter.clone(), json: json.get().to_owned() };
            }
            "EOSE" => {
                let hint = parts.get(2).and_then(|part| serde_json::from_str::<Vec<String>>(part.get()).ok());
                let says = |word: &str| hint.as_ref().is_some_and(|hint| hint.iter().any(|said| said == word));
                let finished = if says("finish") { Some(true) } else { says("more").then_some(false) };
                Given::Eose { sub, finished }
            }
            "CLOSED" => {
                self.open.remove(&name);
                Given::Closed { sub, said: classify(SaidIn::Closed, &text(2), None) }
            }
            "NEG-MSG" => Given::NegMsg { sub, payload: from_hex(&text(2)).unwrap_or_default() },
            "NEG-ERR" => {
                self.open.remove(&name);
                let cap = parts.get(3).and_then(|part| serde_json::from_str::<u64>(part.get()).ok());
                Given::NegErr { sub, said: classify(SaidIn::NegErr, &text(2), cap) }
            }
            _ => return Arrived::Nothing,
        })
    }

    /// The relay has ended a question without a frame of its own.
    pub(super) fn forget(&mut self, sub: SubId) {
        self.open.retain(|_, open| open.sub != sub);
    }

    /// A NOTICE binds by its wording, or where one question alone is open; what says nothing isn't handed on.
    fn noticed(&self, text: &str) -> Arrived {
        let said = classify(SaidIn::Notice, text, None);
        let answers =
            !matches!(said.meaning, Meaning::Unknown | Meaning::Duplicate | Meaning::Purgatory | Meaning::Pow);
        let binds = if said.names_negentropy { self.open.values().any(|open| open.neg) } else { self.open.len() == 1 };
        if answers && binds { Arrived::Given(Given::Notice { said }) } else { Arrived::Nothing }
    }

    fn opened(&mut self, sub: SubId, filter: &Filter, neg: bool) -> (String, Vec<String>) {
        let before = self.closed(sub).into_iter().collect();
        let name = format!("s{}", self.next);
        self.next += 1;
        let mut filter = filter.clone();
        filter.limit = None;
        self.open.insert(name.clone(), Open { sub, neg, filter });
        (name, before)
    }

    fn closed(&mut self, sub: SubId) -> Option<String> {
        let name = self.name_of(sub)?;
        let open = self.open.remove(&name)?;
        Some(format!("[\"{}\",\"{name}\"]", if open.neg { "NEG-CLOSE" } else { "CLOSE" }))
    }

    fn name_of(&self, sub: SubId) -> Option<String> {
        self.open.iter().find(|(_, open)| open.sub == sub).map(|(name, _)| name.clone())
    }
}

fn json(filter: &Filter) -> String {
    serde_json::to_string(filter).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| u8::try_from((digit(*high)? << 4) | digit(*low)?).ok()).collect()
}
