//! Frames: what relays send, read as far as deciding needs it; what we send, written.

use std::borrow::Cow;
use std::fmt;

use nostr::event::{Event, EventId};
use nostr::filter::Filter;
use serde::de::{self, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A frame from a relay. Events stay unparsed.
#[derive(Debug)]
pub(super) enum RelayFrame<'a> {
    Event {
        sub: Cow<'a, str>,
        json: &'a RawValue,
    },
    Eose {
        sub: Cow<'a, str>,
        finished: Option<bool>,
    },
    Closed {
        sub: Cow<'a, str>,
        text: Cow<'a, str>,
    },
    NegMsg {
        sub: Cow<'a, str>,
        payload: Cow<'a, str>,
    },
    NegErr {
        sub: Cow<'a, str>,
        text: Cow<'a, str>,
        cap: Option<u64>,
    },
    Notice {
        text: Cow<'a, str>,
    },
    Ok {
        id: EventId,
        accepted: bool,
        text: Cow<'a, str>,
    },
    Auth {
        challenge: Cow<'a, str>,
    },
    /// Well formed, of no use to us.
    Other,
}

impl<'a> RelayFrame<'a> {
    /// `None` for what is no JSON array that starts with a text, or misses what its label calls for.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// A text, or nothing where the element is missing or something else: relays leave reasons out.
#[derive(Deserialize)]
#[serde(untagged)]
enum Lenient<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Number(u64),
    Texts(Vec<String>),
    Other(IgnoredAny),
}

impl<'a> Lenient<'a> {
    fn text(self) -> Cow<'a, str> {
        match self {
            Self::Text(text) => text,
            _ => Cow::Borrowed(""),
        }
    }
}

/// A text that borrows where it can; plain `Cow<str>` always copies.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Cow<'de, str>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }
        deserializer.deserialize_str(TextVisitor).map(Text)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for RelayFrame<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FrameVisitor;
        impl<'de> Visitor<'de> for FrameVisitor {
            type Value = RelayFrame<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a relay's message")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                fn must<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(seq: &mut A) -> Result<T, A::Error> {
                    seq.next_element()?.ok_or_else(|| de::Error::custom("element missing"))
                }
                fn lenient<'de, A: SeqAccess<'de>>(seq: &mut A) -> Result<Cow<'de, str>, A::Error> {
                    Ok(seq.next_element::<Lenient<'de>>()?.map_or(Cow::Borrowed(""), Lenient::text))
                }
                let label: Text<'de> = must(&mut seq)?;
                let frame = match &*label.0 {
                    "EVENT" => {
                        let sub: Text<'de> = must(&mut seq)?;
                        RelayFrame::Event { sub: sub.0, json: must(&mut seq)? }
                    }
                    "EOSE" => {
                        let sub: Text<'de> = must(&mut seq)?;
                        let finished = match seq.next_element::<Lenient<'de>>()? {
                            Some(Lenient::Texts(hints)) if hints.iter().any(|hint| hint == "finish") => Some(true),
                            Some(Lenient::Texts(hints)) if hints.iter().any(|hint| hint == "more") => Some(false),
                            _ => None,
                        };
                        RelayFrame::Eose { sub: sub.0, finished }
                    }
                    "CLOSED" => {
                        let sub: Text<'de> = must(&mut seq)?;
                        RelayFrame::Closed { sub: sub.0, text: lenient(&mut seq)? }
                    }
                    "NEG-MSG" => {
                        let sub: Text<'de> = must(&mut seq)?;
                        RelayFrame::NegMsg { sub: sub.0, payload: must::<Text<'de>, A>(&mut seq)?.0 }
                    }
                    "NEG-ERR" => {
                        let sub: Text<'de> = must(&mut seq)?;
                        let text = lenient(&mut seq)?;
                        let cap = match seq.next_element::<Lenient<'de>>()? {
                            Some(Lenient::Number(cap)) => Some(cap),
                            Some(Lenient::Text(text)) => text.parse().ok(),
                            _ => None,
                        };
                        RelayFrame::NegErr { sub: sub.0, text, cap }
                    }
                    "NOTICE" => RelayFrame::Notice { text: lenient(&mut seq)? },
                    "OK" => {
                        let id: Text<'de> = must(&mut seq)?;
                        let id = EventId::from_hex(&id.0).map_err(|_| de::Error::custom("no event id"))?;
                        RelayFrame::Ok { id, accepted: must(&mut seq)?, text: lenient(&mut seq)? }
                    }
                    "AUTH" => RelayFrame::Auth { challenge: lenient(&mut seq)? },
                    _ => RelayFrame::Other,
                };
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(frame)
            }
        }
        deserializer.deserialize_seq(FrameVisitor)
    }
}

/// `["REQ", sub, filter…]`
pub(super) fn req(sub: &str, filters: &[Filter]) -> String {
    let mut frame = format!("[\"REQ\",\"{sub}\"");
    for filter in filters {
        frame.push(',');
        frame.push_str(&json(filter));
    }
    frame.push(']');
    frame
}

/// `["CLOSE", sub]`
pub(super) fn close(sub: &str) -> String {
    format!("[\"CLOSE\",\"{sub}\"]")
}

/// `["NEG-OPEN", sub, filter, hex]`
pub(super) fn neg_open(sub: &str, filter: &Filter, payload: &[u8]) -> String {
    format!("[\"NEG-OPEN\",\"{sub}\",{},\"{}\"]", json(filter), hex(payload))
}

/// `["NEG-MSG", sub, hex]`
pub(super) fn neg_msg(sub: &str, payload: &[u8]) -> String {
    format!("[\"NEG-MSG\",\"{sub}\",\"{}\"]", hex(payload))
}

/// `["NEG-CLOSE", sub]`
pub(super) fn neg_close(sub: &str) -> String {
    format!("[\"NEG-CLOSE\",\"{sub}\"]")
}

/// `["EVENT", event]`
pub(super) fn event(event: &Event) -> String {
    format!("[\"EVENT\",{}]", json(event))
}

pub(super) fn auth(event: &Event) -> String {
    format!("[\"AUTH\",{}]", json(event))
}

/// A filter for people: its JSON, cut to `max` characters.
pub(super) fn filter_text(filter: &Filter, max: usize) -> String {
    let text = json(filter);
    if text.chars().count() <= max { text } else { text.chars().take(max).chain(['…']).collect() }
}

fn json<T: serde::Serialize>(value: &T) -> String {
    // Filters and events hold texts, numbers and lists alone: serde_json has no way to fail on them.
    serde_json::to_string(value).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    out
}

/// `None` for an odd length or anything that is no hex digit.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    fn digit(byte: u8) -> Option<u8> {
        match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            b'A'..=b'F' => Some(byte - b'A' + 10),
            _ => None,
        }
    }
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_leniently() {
        let id = "ab".repeat(32);
        assert!(
            matches!(RelayFrame::parse(r#"["EVENT","s",{"x":[1]}]"#), Some(RelayFrame::Event { sub, json }) if sub == "s" && json.get() == r#"{"x":[1]}"#)
        );
        assert!(matches!(RelayFrame::parse(r#"["EOSE","s"]"#), Some(RelayFrame::Eose { finished: None, .. })));
        assert!(matches!(
            RelayFrame::parse(r#"["EOSE","s",["finish"]]"#),
            Some(RelayFrame::Eose { finished: Some(true), .. })
        ));
        assert!(
            matches!(RelayFrame::parse(r#"["CLOSED","s"]"#), Some(RelayFrame::Closed { text, .. }) if text.is_empty())
        );
        assert!(matches!(
            RelayFrame::parse(r#"["NEG-ERR","n","blocked: x",500]"#),
            Some(RelayFrame::NegErr { cap: Some(500), .. })
        ));
        assert!(matches!(
            RelayFrame::parse(r#"["NEG-ERR","n","blocked: x","7"]"#),
            Some(RelayFrame::NegErr { cap: Some(7), .. })
        ));
        assert!(matches!(RelayFrame::parse(r#"["NOTICE",{"a":1}]"#), Some(RelayFrame::Notice { .. })));
        assert!(matches!(
            RelayFrame::parse(&format!(r#"["OK","{id}",true,"",9]"#)),
            Some(RelayFrame::Ok { accepted: true, .. })
        ));
        assert!(matches!(RelayFrame::parse(r#"["COUNT","s",{}]"#), Some(RelayFrame::Other)));
        for bad in ["", "[", "{}", "[1]", r#"["EVENT"]"#, r#"["OK","xy",true]"#, r#"["NEG-MSG","n"]"#] {
            assert!(RelayFrame::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn depth_is_harmless() {
        let deep = format!(r#"["EVENT","s",{}1{}]"#, "[".repeat(1_000_000), "]".repeat(1_000_000));
        let _ = RelayFrame::parse(&deep);
        let deep = format!(r#"["NOTICE",{}1{}]"#, "[".repeat(1_000_000), "]".repeat(1_000_000));
        let _ = RelayFrame::parse(&deep);
    }

    #[test]
    fn hex_both_ways() {
        assert_eq!(unhex(&hex(&[0, 0x7f, 0xff])), Some(vec![0, 0x7f, 0xff]));
        assert_eq!((unhex("abc"), unhex("zz")), (None, None));
    }
}
