//! What the relays of the field say, and what it means: the rows of WIRE.md, first match wins.

use super::{Meaning, SaidIn};

/// One fact about what relays say.
struct Row {
    heard: Heard,
    says: Says,
    means: Meaning,
}

/// Where a row counts.
enum Heard {
    /// In any message.
    Anywhere,
    /// In answers to a question: an OK, which speaks of one event, is none.
    InAnswers,
    /// In a NEG-ERR.
    InNegErr,
}

/// What a row listens for, in lower case.
enum Says {
    /// These, all of them, anywhere in the text.
    All(&'static [&'static str]),
    /// This word before the first colon, or as the whole text (the prefixes of NIP-01).
    Prefix(&'static str),
}

impl Row {
    fn matches(&self, place: SaidIn, lower: &str) -> bool {
        let heard = match self.heard {
            Heard::Anywhere => true,
            Heard::InAnswers => place != SaidIn::Ok,
            Heard::InNegErr => place == SaidIn::NegErr,
        };
        heard
            && match self.says {
                Says::All(parts) => parts.iter().all(|part| lower.contains(part)),
                Says::Prefix(word) => lower.split_once(':').map_or(lower, |(before, _)| before.trim_end()) == word,
            }
    }
}

/// What `lower`, already in lower case, means in `place`.
pub(super) fn meaning(place: SaidIn, lower: &str) -> Meaning {
    ROWS.iter().find(|row| row.matches(place, lower)).map_or(Meaning::Unknown, |row| row.means)
}

const fn anywhere(says: Says, means: Meaning) -> Row {
    Row { heard: Heard::Anywhere, says, means }
}

const fn answers(parts: &'static [&'static str], means: Meaning) -> Row {
    Row { heard: Heard::InAnswers, says: Says::All(parts), means }
}

const fn prefix(word: &'static str, means: Meaning) -> Row {
    anywhere(Says::Prefix(word), means)
}

/// Prose comes before prefixes: the prefix says who refuses (`blocked`), the prose says what.
static ROWS: &[Row] = &[
    // Too big: strfry, by records (seen live) and by results.
    answers(&["too many query results"], Meaning::TooBig),
    answers(&["too many records"], Meaning::TooBig),
    answers(&["too many results"], Meaning::TooBig),
    answers(&["too many events"], Meaning::TooBig),
    // How many at once: strfry for reconciliations, others for subscriptions and filters. No word about support.
    answers(&["too many concurrent"], Meaning::TooManyAtOnce),
    answers(&["too many subscriptions"], Meaning::TooManyAtOnce),
    answers(&["too many open subscriptions"], Meaning::TooManyAtOnce),
    answers(&["too many filters"], Meaning::TooManyAtOnce),
    answers(&["too many active"], Meaning::TooManyAtOnce),
    answers(&["max", "concurrent"], Meaning::TooManyAtOnce),
    answers(&["max", "subscriptions"], Meaning::TooManyAtOnce),
    answers(&["subscription", "limit", "reached"], Meaning::TooManyAtOnce),
    answers(&["subscription", "limit", "exceeded"], Meaning::TooManyAtOnce),
    // How fast: chorus says it before it disconnects.
    anywhere(Says::All(&["rate limit"]), Meaning::RateLimited),
    anywhere(Says::All(&["rate-limit"]), Meaning::RateLimited),
    anywhere(Says::All(&["too many requests"]), Meaning::RateLimited),
    anywhere(Says::All(&["slow down"]), Meaning::RateLimited),
    // The reconciliation is forgotten: strfry; relay-builder and chorus; khatru after 7 s idle.
    answers(&["unknown subscription handle"], Meaning::SessionGone),
    answers(&["subscription not found"], Meaning::SessionGone),
    Row { heard: Heard::InNegErr, says: Says::Prefix("closed"), means: Meaning::SessionGone },
    // NIP-77 absent or off: strfry and primal; chorus; old strfry; khatru and purplepag.es; nostr-rs-relay.
    answers(&["negentropy", "disabled"], Meaning::Unsupported),
    answers(&["negentropy", "not supported"], Meaning::Unsupported),
    answers(&["negentropy", "not enabled"], Meaning::Unsupported),
    answers(&["negentropy", "unsupported"], Meaning::Unsupported),
    answers(&["unknown cmd"], Meaning::Unsupported),
    answers(&["unknown command"], Meaning::Unsupported),
    answers(&["unknown message type"], Meaning::Unsupported),
    answers(&["unknown envelope"], Meaning::Unsupported),
    answers(&["failed to parse envelope"], Meaning::Unsupported),
    answers(&["could not parse command"], Meaning::Unsupported),
    // strfry: we broke the protocol; it finds our message wrong.
    answers(&["protocol-error"], Meaning::Error),
    answers(&["bad msg"], Meaning::Invalid),
    // The prefixes of NIP-01 and NIP-42, and those of GRASP servers.
    prefix("auth-required", Meaning::AuthRequired),
    prefix("restricted", Meaning::Restricted),
    prefix("blocked", Meaning::Blocked),
    prefix("mute", Meaning::Blocked),
    // OK of relays that hold a newer version, or were told to delete it.
    prefix("replaced", Meaning::Blocked),
    prefix("deleted", Meaning::Blocked),
    prefix("invalid", Meaning::Invalid),
    prefix("unsupported", Meaning::Unsupported),
    prefix("error", Meaning::Error),
    prefix("duplicate", Meaning::Duplicate),
    prefix("purgatory", Meaning::Purgatory),
    prefix("pow", Meaning::Pow),
    prefix("closed", Meaning::SessionGone),
];
