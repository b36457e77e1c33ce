//! What goes over the boundary: ours, in the words of the interface. What is given owns everything that its pointers show.

use serde_json::Value;
use strategy_abi::ffi::{self, Bytes, NONE};
use sync_core::Now;
use sync_core::nostr::filter::Filter;
use sync_core::response::{Meaning, Said};
use sync_core::strategy::{
    BadEvent, CheckVerdict, Direction, Input, RelayProfile, SessionRequest, StrategyConfig, SubId, Window,
    parse_duration_ms,
};

/// A section of the configuration.
pub(crate) struct Config {
    json: String,
    values: Vec<(String, String, u32, i64, u64)>,
}

impl Config {
    pub(crate) fn new(config: &StrategyConfig) -> Self {
        let none = serde_json::Map::new();
        let table = config.as_object().unwrap_or(&none);
        let values = table.iter().map(|(key, value)| {
            let duration = value.as_str().and_then(parse_duration_ms).unwrap_or(NONE);
            let (text, kind, integer) = match value {
                Value::String(text) => (text.clone(), ffi::setting::TEXT, 0),
                Value::Bool(flag) => (value.to_string(), ffi::setting::BOOL, i64::from(*flag)),
                _ => match value.as_i64() {
                    Some(integer) => (value.to_string(), ffi::setting::INTEGER, integer),
                    None => (value.to_string(), ffi::setting::OTHER, 0),
                },
            };
            (key.clone(), text, kind, integer, duration)
        });
        Self { values: values.collect(), json: Value::Object(table.clone()).to_string() }
    }

    /// Lends it in the interface's words.
    pub(crate) fn lend<T>(&self, to: impl FnOnce(&ffi::Config) -> T) -> T {
        let settings: Vec<ffi::Setting> = self
            .values
            .iter()
            .map(|(key, text, kind, integer, duration_ms)| ffi::Setting {
                key: Bytes::of(key.as_bytes()),
                text: Bytes::of(text.as_bytes()),
                kind: *kind,
                reserved: 0,
                integer: *integer,
                duration_ms: *duration_ms,
            })
            .collect();
        to(&ffi::Config {
            struct_size: size_of::<ffi::Config>() as u32,
            reserved: 0,
            json: Bytes::of(self.json.as_bytes()),
            settings: settings.as_ptr(),
            settings_len: settings.len(),
        })
    }
}

/// A filter.
pub(crate) struct GivenFilter {
    json: String,
    kinds: Option<Vec<u16>>,
    authors: Option<Vec<ffi::Id>>,
    ids: Option<Vec<ffi::Id>>,
}

impl GivenFilter {
    pub(crate) fn new(filter: &Filter) -> Self {
        Self {
            json: serde_json::to_string(filter).unwrap_or_default(),
            kinds: filter.kinds.as_ref().map(|set| set.iter().map(|kind| kind.as_u16()).collect()),
            authors: filter.authors.as_ref().map(|set| set.iter().map(|author| *author.as_bytes()).collect()),
            ids: filter.ids.as_ref().map(|set| set.iter().map(|id| id.to_bytes()).collect()),
        }
    }

    pub(crate) fn raw(&self) -> ffi::Filter {
        fn list<T>(list: Option<&Vec<T>>) -> (*const T, usize) {
            list.map_or((std::ptr::null(), 0), |list| (list.as_ptr(), list.len()))
        }
        let (kinds, kinds_len) = list(self.kinds.as_ref());
        let (authors, authors_len) = list(self.authors.as_ref());
        let (ids, ids_len) = list(self.ids.as_ref());
        ffi::Filter { json: Bytes::of(self.json.as_bytes()), kinds, kinds_len, authors, authors_len, ids, ids_len }
    }
}

/// What a relay says of itself.
pub(crate) fn profile(profile: &RelayProfile) -> ffi::Profile {
    let number = |number: Option<usize>| number.map_or(NONE, |number| number as u64);
    ffi::Profile {
        struct_size: size_of::<ffi::Profile>() as u32,
        reserved: 0,
        nips: profile.supported_nips.as_ptr(),
        nips_len: profile.supported_nips.len(),
        software: Bytes::of(profile.software.as_bytes()),
        max_subscriptions: number(profile.max_subscriptions),
        max_filters: number(profile.max_filters),
        max_limit: number(profile.max_limit),
        max_message_length: number(profile.max_message_length),
    }
}

pub(crate) fn window(window: Window) -> ffi::Window {
    ffi::Window { since: window.since, until: window.until }
}

/// Lends a request in the interface's words.
pub(crate) fn lend_request<T>(request: &SessionRequest, to: impl FnOnce(&ffi::Request) -> T) -> T {
    let filter = GivenFilter::new(&request.filter);
    let drained: Vec<ffi::Window> = request.drained.iter().copied().map(window).collect();
    let profile = profile(&request.profile);
    to(&ffi::Request {
        struct_size: size_of::<ffi::Request>() as u32,
        direction: match request.direction {
            Direction::Down => 1,
            Direction::Up => 2,
            Direction::Both => 3,
        },
        filter: filter.raw(),
        window: window(request.window),
        drained: drained.as_ptr(),
        drained_len: drained.len(),
        remembered: Bytes::of(&request.remembered),
        profile: &raw const profile,
        seed: request.seed,
        proven: u32::from(request.proven),
        reserved: 0,
    })
}

/// An input that waits to be handed over, with what it shows.
pub(crate) struct Given {
    raw: ffi::Input,
    bytes: Vec<u8>,
}

// SAFETY: until `lend` its pointers are empty.
#[allow(unsafe_code)]
unsafe impl Send for Given {}

impl Given {
    pub(crate) fn new(input: &Input<'_>, now: Now) -> Self {
        use ffi::input as kind;
        let plain = |kind, sub| ffi::Input {
            kind,
            sub,
            mono_ms: now.mono_ms,
            unix_s: now.unix_s,
            created_at: 0,
            id: [0; 32],
            verdict: 0,
            finished: -1,
            meaning: 0,
            names_negentropy: 0,
            cap: NONE,
            bytes: Bytes::EMPTY,
        };
        let said = |kind, sub: SubId, said: &Said| Self {
            raw: ffi::Input {
                meaning: meaning(said.meaning),
                names_negentropy: u32::from(said.names_negentropy),
                cap: said.cap.unwrap_or(NONE),
                ..plain(kind, sub)
            },
            bytes: said.text.clone().into_bytes(),
        };
        let raw = match input {
            Input::Start => plain(kind::START, 0),
            Input::Event { sub, id, created_at, verdict } => ffi::Input {
                id: id.to_bytes(),
                created_at: *created_at,
                verdict: verdict_of(*verdict),
                ..plain(kind::EVENT, *sub)
            },
            Input::Eose { sub, finished } => {
                ffi::Input { finished: finished.map_or(-1, i32::from), ..plain(kind::EOSE, *sub) }
            }
            Input::Closed { sub, said: what } => return said(kind::CLOSED, *sub, what),
            Input::NegMsg { sub, payload } => {
                return Self { raw: plain(kind::NEG_MSG, *sub), bytes: payload.to_vec() };
            }
            Input::NegErr { sub, said: what } => return said(kind::NEG_ERR, *sub, what),
            Input::Notice { said: what } => return said(kind::NOTICE, 0, what),
            Input::Timeout => plain(kind::TIMEOUT, 0),
            Input::ConnectionLost => plain(kind::CONNECTION_LOST, 0),
        };
        Self { raw, bytes: Vec::new() }
    }

    /// In the interface's words, good as long as these stay where they are.
    pub(crate) fn lend(given: &[Self]) -> Vec<ffi::Input> {
        given.iter().map(|given| ffi::Input { bytes: Bytes::of(&given.bytes), ..given.raw }).collect()
    }
}

fn verdict_of(verdict: CheckVerdict) -> u32 {
    match verdict {
        CheckVerdict::New => ffi::verdict::NEW,
        CheckVerdict::Known => ffi::verdict::KNOWN,
        CheckVerdict::Bad(why) => match why {
            BadEvent::Malformed => ffi::verdict::BAD_MALFORMED,
            BadEvent::TooLarge => ffi::verdict::BAD_TOO_LARGE,
            BadEvent::TooManyTags => ffi::verdict::BAD_TOO_MANY_TAGS,
            BadEvent::WrongId => ffi::verdict::BAD_WRONG_ID,
            BadEvent::NotAsked => ffi::verdict::BAD_NOT_ASKED,
            BadEvent::BadSignature => ffi::verdict::BAD_SIGNATURE,
            _ => ffi::verdict::BAD,
        },
    }
}

/// The interface's number of a meaning.
fn meaning(meaning: Meaning) -> u32 {
    MEANINGS.iter().find(|(ours, _)| *ours == meaning).map_or(ffi::meaning::UNKNOWN, |(_, theirs)| *theirs)
}

/// The meaning of a number.
pub(crate) fn meaning_of(number: u32) -> Meaning {
    MEANINGS.iter().find(|(_, theirs)| *theirs == number).map_or(Meaning::Unknown, |(ours, _)| *ours)
}

const MEANINGS: [(Meaning, u32); 13] = [
    (Meaning::Unsupported, ffi::meaning::UNSUPPORTED),
    (Meaning::TooBig, ffi::meaning::TOO_BIG),
    (Meaning::SessionGone, ffi::meaning::SESSION_GONE),
    (Meaning::AuthRequired, ffi::meaning::AUTH_REQUIRED),
    (Meaning::Restricted, ffi::meaning::RESTRICTED),
    (Meaning::RateLimited, ffi::meaning::RATE_LIMITED),
    (Meaning::TooManyAtOnce, ffi::meaning::TOO_MANY_AT_ONCE),
    (Meaning::Blocked, ffi::meaning::BLOCKED),
    (Meaning::Invalid, ffi::meaning::INVALID),
    (Meaning::Error, ffi::meaning::ERROR),
    (Meaning::Duplicate, ffi::meaning::DUPLICATE),
    (Meaning::Purgatory, ffi::meaning::PURGATORY),
    (Meaning::Pow, ffi::meaning::POW),
];
