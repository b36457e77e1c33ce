//! The one classifier of what relays say (WIRE.md).
//!
//! Everything that a relay says in prose passes through [`classify`]; nobody else looks into its words. What is
//! known of the relays of the field stands in one table, and a new fact about one is a new row there.

mod table;
#[cfg(test)]
mod tests;

/// Where a relay said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SaidIn {
    /// A NOTICE: has no id, so what it answers must be worked out.
    Notice,
    /// A CLOSED of a REQ or, against NIP-77, of a reconciliation.
    Closed,
    /// A NEG-ERR.
    NegErr,
    /// An OK to an EVENT that we sent.
    Ok,
}

/// What a relay said, and what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// What it means.
    pub meaning: Meaning,
    /// Its own words, cut to [`Said::MAX_TEXT`] characters, control characters replaced.
    pub text: String,
    /// The largest number of records that it takes, where it said so (NEG-ERR's 4th element, or its prose).
    pub cap: Option<u64>,
    /// Whether the words name negentropy: such a NOTICE binds to an open NEG-OPEN even where other questions are open.
    pub names_negentropy: bool,
}

/// What an answer means for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Meaning {
    /// It doesn't know this message, or has it turned off.
    Unsupported,
    /// Too many records for one reconciliation or query.
    TooBig,
    /// It no longer knows the reconciliation.
    SessionGone,
    /// It wants NIP-42 first.
    AuthRequired,
    /// It doesn't serve this to us.
    Restricted,
    /// Too fast. A cool-down follows.
    RateLimited,
    /// Too many subscriptions or reconciliations at once. Says nothing about support.
    TooManyAtOnce,
    /// It won't, for a reason of its own that isn't size.
    Blocked,
    /// It finds our message wrong.
    Invalid,
    /// It broke, or says that we broke the protocol.
    Error,
    /// It had the event already (OK).
    Duplicate,
    /// Accepted, but not served until more arrives (OK of a GRASP server): deferred.
    Purgatory,
    /// It wants proof of work (OK).
    Pow,
    /// Nothing, or nothing that is known.
    Unknown,
}

impl Meaning {
    /// The name in reasons and counts: the prefix of NIP-01 where there is one.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unsupported => "unsupported",
            Self::TooBig => "too-big",
            Self::SessionGone => "session-gone",
            Self::AuthRequired => "auth-required",
            Self::Restricted => "restricted",
            Self::RateLimited => "rate-limited",
            Self::TooManyAtOnce => "too-many-at-once",
            Self::Blocked => "blocked",
            Self::Invalid => "invalid",
            Self::Error => "error",
            Self::Duplicate => "duplicate",
            Self::Purgatory => "purgatory",
            Self::Pow => "pow",
            Self::Unknown => "unknown",
        }
    }
}

impl Said {
    /// The longest text kept, in characters.
    pub const MAX_TEXT: usize = 240;
    /// How much of an answer is read for its meaning, in characters.
    const MAX_READ: usize = 1024;
}

/// What `text`, said in `place`, means. `cap` is NEG-ERR's 4th element: where it is given the answer means too big,
/// whatever its words are; a cap of 0 bounds nothing and isn't kept.
pub fn classify(place: SaidIn, text: &str, cap: Option<u64>) -> Said {
    let lower: String = text.chars().take(Said::MAX_READ).flat_map(char::to_lowercase).collect();
    let lower = lower.trim();
    let meaning = if cap.is_some() { Meaning::TooBig } else { table::meaning(place, lower) };
    let cap = match meaning {
        Meaning::TooBig => cap.or_else(|| cap_in_prose(lower)).filter(|cap| *cap > 0),
        _ => None,
    };
    let names_negentropy =
        lower.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| matches!(word, "neg" | "negentropy"));
    Said { meaning, text: readable(text), cap, names_negentropy }
}

/// The cap in words such as `query matches too many records (2988225 > 1000000)`.
fn cap_in_prose(lower: &str) -> Option<u64> {
    let (_, after) = lower.split_once('>')?;
    let after = after.trim_start();
    let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    after[..digits].parse().ok()
}

/// Fit for one line of a log: cut, and without characters that move the cursor or turn the direction of writing.
fn readable(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.trim().chars().take(Said::MAX_TEXT).map(|c| if hidden(c) { ' ' } else { c }).collect()
}
