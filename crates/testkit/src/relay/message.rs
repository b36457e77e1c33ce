//! Client messages, parsed; relay messages, written. One place for the wire format of NIP-01, 42 and 77.

use nostr::event::Event;
use nostr::filter::Filter;
use serde::Deserialize;
use serde_json::value::RawValue;

/// What a client says.
#[derive(Debug)]
pub(super) enum ClientMessage {
    Event(Box<Event>),
    Req { id: String, filters: Vec<Filter> },
    Close { id: String },
    Auth(Box<Event>),
    NegOpen { id: String, filter: Box<Filter>, message: String },
    NegMsg { id: String, message: String },
    NegClose { id: String },
}

/// Why a message can't be read, and what the relay says to that.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    /// The answer's type.
    pub(super) name: &'static str,
    /// The answer, whole.
    pub(super) answer: String,
}

impl ClientMessage {
    /// The name that frames are counted by.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Event(_) => "EVENT",
            Self::Req { .. } => "REQ",
            Self::Close { .. } => "CLOSE",
            Self::Auth(_) => "AUTH",
            Self::NegOpen { .. } => "NEG-OPEN",
            Self::NegMsg { .. } => "NEG-MSG",
            Self::NegClose { .. } => "NEG-CLOSE",
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, Unreadable> {
        let parts: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| bad_message(&error.to_string()))?;
        let [name, rest @ ..] = parts.as_slice() else { return Err(bad_message("empty")) };
        let name: String = part(name)?;
        match (name.as_str(), rest) {
            ("EVENT", [event]) => parse_event(event).map(Self::Event),
            ("AUTH", [event]) => parse_event(event).map(Self::Auth),
            ("REQ", [id, filters @ ..]) => {
                let id = subscription_id(id)?;
                match filters.iter().map(|filter| serde_json::from_str(filter.get())).collect() {
                    Ok(filters) => Ok(Self::Req { id, filters }),
                    Err(error) => Err(Unreadable { name: "CLOSED", answer: closed(&id, &format!("invalid: {error}")) }),
                }
            }
            ("CLOSE", [id]) => Ok(Self::Close { id: part(id)? }),
            ("NEG-OPEN", [id, filter, message]) => {
                let id = subscription_id(id)?;
                match serde_json::from_str(filter.get()) {
                    Ok(filter) => Ok(Self::NegOpen { id, filter: Box::new(filter), message: part(message)? }),
                    Err(error) => {
                        Err(Unreadable { name: "NEG-ERR", answer: neg_err(&id, &format!("invalid: {error}"), None) })
                    }
                }
            }
            ("NEG-MSG", [id, message]) => Ok(Self::NegMsg { id: part(id)?, message: part(message)? }),
            ("NEG-CLOSE", [id]) => Ok(Self::NegClose { id: part(id)? }),
            _ => Err(bad_message("unknown cmd")),
        }
    }
}

fn part<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Result<T, Unreadable> {
    serde_json::from_str(value.get()).map_err(|error| bad_message(&error.to_string()))
}

fn subscription_id(value: &RawValue) -> Result<String, Unreadable> {
    let id: String = part(value)?;
    if id.is_empty() || id.len() > MAX_ID_LENGTH {
        return Err(bad_message("subscription id must have 1 to 64 bytes"));
    }
    Ok(id)
}

/// An event that can't be read is answered with OK where it has an id, so that its sender needn't wait.
fn parse_event(value: &RawValue) -> Result<Box<Event>, Unreadable> {
    #[derive(Deserialize)]
    struct Named {
        id: String,
    }
    serde_json::from_str(value.get()).map(Box::new).map_err(|error| match serde_json::from_str::<Named>(value.get()) {
        Ok(named) => Unreadable { name: "OK", answer: ok(&named.id, false, &format!("invalid: {error}")) },
        Err(_) => bad_message(&error.to_string()),
    })
}

/// NIP-01.
pub(super) const MAX_ID_LENGTH: usize = 64;

fn bad_message(why: &str) -> Unreadable {
    Unreadable { name: "NOTICE", answer: notice(&format!("ERROR: bad msg: {why}")) }
}

pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}

/// `id` is JSON already, as [`quoted`] makes it: it is written once a subscription, not once an event.
pub(super) fn event(id: &str, json: &str) -> String {
    let mut frame = String::with_capacity(id.len() + json.len() + 12);
    frame.push_str("[\"EVENT\",");
    frame.push_str(id);
    frame.push(',');
    frame.push_str(json);
    frame.push(']');
    frame
}

/// `hint`: whether the stored events were all sent (NIP-67).
pub(super) fn eose(id: &str, hint: Option<bool>) -> String {
    match hint {
        None => format!("[\"EOSE\",{}]", quoted(id)),
        Some(all) => format!("[\"EOSE\",{},[\"{}\"]]", quoted(id), if all { "finish" } else { "more" }),
    }
}

pub(super) fn closed(id: &str, reason: &str) -> String {
    format!("[\"CLOSED\",{},{}]", quoted(id), quoted(reason))
}

pub(super) fn notice(text: &str) -> String {
    format!("[\"NOTICE\",{}]", quoted(text))
}

pub(super) fn ok(id: &str, accepted: bool, message: &str) -> String {
    format!("[\"OK\",{},{accepted},{}]", quoted(id), quoted(message))
}

pub(super) fn auth(challenge: &str) -> String {
    format!("[\"AUTH\",{}]", quoted(challenge))
}

pub(super) fn neg_msg(id: &str, hex: &str) -> String {
    format!("[\"NEG-MSG\",{},{}]", quoted(id), quoted(hex))
}

pub(super) fn neg_err(id: &str, reason: &str, cap: Option<u64>) -> String {
    match cap {
        None => format!("[\"NEG-ERR\",{},{}]", quoted(id), quoted(reason)),
        Some(cap) => format!("[\"NEG-ERR\",{},{},{cap}]", quoted(id), quoted(reason)),
    }
}
