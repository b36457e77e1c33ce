//! The wire format of NIP-01, 45, 67 and 77: client messages, parsed; relay messages, written. Knows bounds, no state.

use std::fmt;

use nostr::filter::Filter;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::config::{MAX_SUBSCRIPTION_ID, RelayLimits};
use crate::filters::{BadFilters, read_filters};

/// The elements of a message that are looked at, beyond its filters: name, id, and a message.
const MORE_PARTS: usize = 4;

/// What a client says.
#[derive(Debug)]
pub(crate) enum ClientMessage<'a> {
    /// The event's JSON, not looked at.
    Event(&'a str),
    Req {
        id: String,
        filters: Vec<Filter>,
    },
    Count {
        id: String,
        filters: Vec<Filter>,
    },
    Close {
        id: String,
    },
    NegOpen {
        id: String,
        filter: Box<Filter>,
        message: Vec<u8>,
    },
    NegMsg {
        id: String,
        message: Vec<u8>,
    },
    NegClose {
        id: String,
    },
}

/// A message that can't be taken: the whole answer to it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) answer: String,
    /// The bound that it broke.
    pub(crate) limit: Option<&'static str>,
}

impl Unreadable {
    fn new(answer: String) -> Self {
        Self { answer, limit: None }
    }
}

/// The elements of an array: the first few as they stand, and whether there are more.
struct Parts<'a> {
    parts: Vec<&'a RawValue>,
    more: bool,
}

struct PartsVisitor(usize);

impl<'de> Visitor<'de> for PartsVisitor {
    type Value = Parts<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Parts<'de>, A::Error> {
        let mut parts = Vec::new();
        while parts.len() < self.0 {
            match seq.next_element::<&RawValue>()? {
                Some(part) => parts.push(part),
                None => return Ok(Parts { parts, more: false }),
            }
        }
        let mut more = false;
        while seq.next_element::<IgnoredAny>()?.is_some() {
            more = true;
        }
        Ok(Parts { parts, more })
    }
}

fn parts(text: &str, max: usize) -> Result<Parts<'_>, serde_json::Error> {
    if !text.trim_start().starts_with('[') {
        return Err(serde_json::Error::custom("a message is an array"));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let parts = reader.deserialize_seq(PartsVisitor(max))?;
    reader.end()?;
    Ok(parts)
}

impl<'a> ClientMessage<'a> {
    pub(crate) fn parse(text: &'a str, limits: &RelayLimits) -> Result<Self, Unreadable> {
        let Parts { parts, more } =
            parts(text, limits.max_filters + MORE_PARTS).map_err(|error| invalid(&error.to_string()))?;
        let [name, rest @ ..] = parts.as_slice() else { return Err(invalid("an empty message")) };
        let name: String = part(name)?;
        match (name.as_str(), rest) {
            ("EVENT", [event]) => Ok(Self::Event(event.get())),
            ("REQ", [id, filters @ ..]) => {
                let id = subscription_id(id)?;
                let filters = read_filters(filters, more, limits).map_err(|why| why.closes(&id))?;
                Ok(Self::Req { id, filters })
            }
            ("COUNT", [id, filters @ ..]) => {
                let id = subscription_id(id)?;
                let filters = read_filters(filters, more, limits).map_err(|why| why.closes(&id))?;
                Ok(Self::Count { id, filters })
            }
            ("CLOSE", [id]) => Ok(Self::Close { id: part(id)? }),
            ("NEG-OPEN", [id, filter, message]) => {
                let id = subscription_id(id)?;
                let filter = read_neg_filter(filter, limits).map_err(|why| why.ends(&id))?;
                let message = hex_part(message).ok_or_else(|| not_hex(&id))?;
                Ok(Self::NegOpen { id, filter: Box::new(filter), message })
            }
            ("NEG-MSG", [id, message]) => {
                let id: String = subscription_id(id)?;
                let message = hex_part(message).ok_or_else(|| not_hex(&id))?;
                Ok(Self::NegMsg { id, message })
            }
            ("NEG-CLOSE", [id]) => Ok(Self::NegClose { id: part(id)? }),
            ("EVENT" | "REQ" | "COUNT" | "CLOSE" | "NEG-OPEN" | "NEG-MSG" | "NEG-CLOSE", _) => {
                Err(invalid(&format!("{name} with a wrong number of elements")))
            }
            _ => {
                let shown: String = name.chars().take(32).collect();
                Err(invalid(&format!("{shown:?} is no message that is known here")))
            }
        }
    }
}

fn part<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Result<T, Unreadable> {
    serde_json::from_str(value.get()).map_err(|error| invalid(&error.to_string()))
}

fn subscription_id(value: &RawValue) -> Result<String, Unreadable> {
    let id: String = part(value)?;
    if id.is_empty() || id.chars().count() > MAX_SUBSCRIPTION_ID {
        return Err(invalid(&format!("a subscription id has 1 to {MAX_SUBSCRIPTION_ID} characters")));
    }
    Ok(id)
}

fn hex_part(value: &RawValue) -> Option<Vec<u8>> {
    from_hex(&serde_json::from_str::<String>(value.get()).ok()?)
}

fn not_hex(id: &str) -> Unreadable {
    Unreadable::new(neg_err(id, "PROTOCOL-ERROR: the message is not hex", None))
}

impl BadFilters {
    fn closes(self, id: &str) -> Unreadable {
        Unreadable { answer: closed(id, &self.reason), limit: self.limit }
    }

    fn ends(self, id: &str) -> Unreadable {
        Unreadable { answer: neg_err(id, &self.reason, None), limit: self.limit }
    }
}

/// One filter, or an array of one, which some clients send.
fn read_neg_filter(value: &RawValue, limits: &RelayLimits) -> Result<Filter, BadFilters> {
    let inner = if value.get().starts_with('[') { parts(value.get(), 2).ok() } else { None };
    let filters = match &inner {
        Some(Parts { parts, more: false }) if parts.len() == 1 => read_filters(parts, false, limits)?,
        Some(_) => {
            return Err(BadFilters { reason: "invalid: a reconciliation has one filter".to_owned(), limit: None });
        }
        None => read_filters(&[value], false, limits)?,
    };
    filters.into_iter().next().ok_or(BadFilters { reason: "invalid: no filter".to_owned(), limit: None })
}

pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}

fn invalid(why: &str) -> Unreadable {
    Unreadable::new(notice(&format!("invalid: {why}")))
}

/// `id` is JSON already, as [`quoted`] makes it.
pub(crate) fn event(id: &str, json: &str) -> String {
    let mut frame = String::with_capacity(id.len() + json.len() + 12);
    for piece in ["[\"EVENT\",", id, ",", json, "]"] {
        frame.push_str(piece);
    }
    frame
}

/// `hint`: whether the stored events were all sent (NIP-67), where that is known.
pub(crate) fn eose(id: &str, hint: Option<bool>) -> String {
    match hint {
        None => format!("[\"EOSE\",{id}]"),
        Some(all) => format!("[\"EOSE\",{id},[\"{}\"]]", if all { "finish" } else { "more" }),
    }
}

pub(crate) fn closed(id: &str, reason: &str) -> String {
    format!("[\"CLOSED\",{},{}]", quoted(id), quoted(reason))
}

pub(crate) fn count(id: &str, count: u64, approximate: bool) -> String {
    let mark = if approximate { ",\"approximate\":true" } else { "" };
    format!("[\"COUNT\",{},{{\"count\":{count}{mark}}}]", quoted(id))
}

pub(crate) fn notice(text: &str) -> String {
    format!("[\"NOTICE\",{}]", quoted(text))
}

pub(crate) fn ok(id: &str, accepted: bool, message: &str) -> String {
    format!("[\"OK\",{},{accepted},{}]", quoted(id), quoted(message))
}

pub(crate) fn neg_msg(id: &str, message: &[u8]) -> String {
    format!("[\"NEG-MSG\",{},\"{}\"]", quoted(id), to_hex(message))
}

/// `cap`: the most that one reconciliation takes.
pub(crate) fn neg_err(id: &str, reason: &str, cap: Option<u64>) -> String {
    match cap {
        None => format!("[\"NEG-ERR\",{},{}]", quoted(id), quoted(reason)),
        Some(cap) => format!("[\"NEG-ERR\",{},{},{cap}]", quoted(id), quoted(reason)),
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some((digit(*high)? << 4) | digit(*low)?)).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> String {
        let limits = RelayLimits { max_filters: 2, max_filter_values: 3, ..RelayLimits::default() };
        match ClientMessage::parse(text, &limits) {
            Ok(message) => format!("{message:?}").split([' ', '(', '{']).next().unwrap_or_default().to_owned(),
            Err(unreadable) => unreadable.answer,
        }
    }

    #[test]
    fn good_messages_are_told_apart() {
        for (text, name) in [
            (r#"["EVENT",{"id":1}]"#, "Event"),
            (r#" ["REQ","a",{"kinds":[1]},{}] "#, "Req"),
            (r#"["COUNT","a",{}]"#, "Count"),
            (r#"["REQ","a",{"search":""}]"#, "Req"),
            (r#"["CLOSE","a"]"#, "Close"),
            (r#"["NEG-OPEN","a",{},"61"]"#, "NegOpen"),
            (r#"["NEG-OPEN","a",[{}],"61"]"#, "NegOpen"),
            (r#"["NEG-MSG","a","61"]"#, "NegMsg"),
            (r#"["NEG-CLOSE","a"]"#, "NegClose"),
        ] {
            assert_eq!(answer(text), name, "{text}");
        }
    }

    #[test]
    fn bad_messages_have_their_answer() {
        let long = "x".repeat(65);
        for (text, start) in [
            ("".to_owned(), "[\"NOTICE\",\"invalid: "),
            ("hello".to_owned(), "[\"NOTICE\",\"invalid: "),
            ("{}".to_owned(), "[\"NOTICE\",\"invalid: "),
            ("[]".to_owned(), "[\"NOTICE\",\"invalid: an empty"),
            ("[1]".to_owned(), "[\"NOTICE\",\"invalid: "),
            (r#"["REQ","a",{}"#.to_owned(), "[\"NOTICE\",\"invalid: "),
            (r#"["REQ","a",{}] x"#.to_owned(), "[\"NOTICE\",\"invalid: "),
            (r#"["AUTH",{}]"#.to_owned(), "[\"NOTICE\",\"invalid: \\\"AUTH\\\" is no message"),
            (r#"["CLOSE"]"#.to_owned(), "[\"NOTICE\",\"invalid: CLOSE with"),
            (r#"["REQ","",{}]"#.to_owned(), "[\"NOTICE\",\"invalid: a subscription id"),
            (format!(r#"["REQ","{long}",{{}}]"#), "[\"NOTICE\",\"invalid: a subscription id"),
            (r#"["REQ","a"]"#.to_owned(), "[\"CLOSED\",\"a\",\"invalid: no filter"),
            (r#"["REQ","a",[]]"#.to_owned(), "[\"CLOSED\",\"a\",\"invalid: a filter is an object"),
            (r#"["REQ","a",{"ids":["ab"]}]"#.to_owned(), "[\"CLOSED\",\"a\",\"invalid: "),
            (r#"["REQ","a",{"kinds":[70000]}]"#.to_owned(), "[\"CLOSED\",\"a\",\"invalid: "),
            (r#"["REQ","a",{},{"search":"x"}]"#.to_owned(), "[\"CLOSED\",\"a\",\"unsupported: search"),
            (r#"["COUNT","a",{"search":" "}]"#.to_owned(), "[\"CLOSED\",\"a\",\"unsupported: search"),
            (r#"["NEG-OPEN","a",{"search":"x"},"61"]"#.to_owned(), "[\"NEG-ERR\",\"a\",\"unsupported: search"),
            (r#"["NEG-OPEN","a",[{"search":"x"}],"61"]"#.to_owned(), "[\"NEG-ERR\",\"a\",\"unsupported: search"),
            (r#"["REQ","a",{},{},{}]"#.to_owned(), "[\"CLOSED\",\"a\",\"error: too many filters"),
            (r#"["REQ","a",{},{},{},{},{},{},{},{}]"#.to_owned(), "[\"CLOSED\",\"a\",\"error: too many filters"),
            (r#"["COUNT","a",{"kinds":[1,2,3,4]}]"#.to_owned(), "[\"CLOSED\",\"a\",\"invalid: the filters are too"),
            (r#"["NEG-OPEN","a",{},"6"]"#.to_owned(), "[\"NEG-ERR\",\"a\",\"PROTOCOL-ERROR: "),
            (r#"["NEG-OPEN","a",[{},{}],"61"]"#.to_owned(), "[\"NEG-ERR\",\"a\",\"invalid: a reconciliation has one"),
            (r#"["NEG-OPEN","a",{"ids":1},"61"]"#.to_owned(), "[\"NEG-ERR\",\"a\",\"invalid: "),
            (r#"["NEG-MSG","a","zz"]"#.to_owned(), "[\"NEG-ERR\",\"a\",\"PROTOCOL-ERROR: "),
        ] {
            assert!(answer(&text).starts_with(start), "{text}: {}", answer(&text));
        }
    }

    #[test]
    fn ids_are_quoted_wherever_they_go() {
        assert_eq!(closed("a\"b", "x"), r#"["CLOSED","a\"b","x"]"#);
        assert_eq!(event(&quoted("a"), "{}"), r#"["EVENT","a",{}]"#);
        assert_eq!(eose(&quoted("a"), Some(true)), r#"["EOSE","a",["finish"]]"#);
        assert_eq!(count("a", 7, true), r#"["COUNT","a",{"count":7,"approximate":true}]"#);
        assert_eq!(neg_err("a", "x", Some(9)), r#"["NEG-ERR","a","x",9]"#);
        assert_eq!(neg_msg("a", &[0x61, 0xff]), r#"["NEG-MSG","a","61ff"]"#);
    }
}
