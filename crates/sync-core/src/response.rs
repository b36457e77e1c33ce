//! The one classifier of what relays say (WIRE.md).

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

impl Said {
    /// The longest text kept, in characters.
    pub const MAX_TEXT: usize = 240;
}

/// What `text`, said in `place`, means. `cap` is NEG-ERR's 4th element.
pub fn classify(place: SaidIn, text: &str, cap: Option<u64>) -> Said {
    let _ = place;
    Said { meaning: Meaning::Unknown, text: text.chars().take(Said::MAX_TEXT).collect(), cap, names_negentropy: false }
}
