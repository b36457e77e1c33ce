//! A query that is answered page by page: what is asked, and how far the answer has come. Its owner keeps it between
//! pages; no store holds anything for it.

use nostr::filter::Filter;

use super::FeedSeq;
use crate::strategy::ItemKey;

/// How much one page may hold. A page ends with the event that reaches a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSize {
    /// Events, at least 1.
    pub events: usize,
    /// Bytes of events, as the store holds them.
    pub bytes: usize,
}

/// What is known of the matches beyond a filter's `limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beyond {
    /// Nobody looked, or looking would have taken too long.
    Unknown,
    /// There is none: everything that matches was told.
    Nothing,
    /// There is at least one.
    More,
}

/// One filter of a [`Query`], between pages.
#[derive(Debug, Clone)]
pub struct QueryPart {
    /// What is asked; its `limit` is read once, when the query is made.
    pub filter: Filter,
    /// How many events it may still contribute.
    pub remaining: usize,
    /// Everything up to this place was told or doesn't match.
    pub resume: Option<ItemKey>,
    /// Nothing more comes of it.
    pub finished: bool,
    /// What lies beyond its limit, once it is finished.
    pub beyond: Beyond,
}

/// Filters, and the place that the answer has come to. The pages together are what [`super::EventStore::query`] visits:
/// each match once, newest first, lowest id first on ties.
#[derive(Debug, Clone)]
pub struct Query {
    /// The filters, for the store that answers.
    pub parts: Vec<QueryPart>,
    /// Events that were accepted after this place of the feed are left out, and don't count.
    pub as_of: Option<FeedSeq>,
    /// Whether to look for one match more where a limit is reached.
    pub looks_beyond: bool,
}

impl Query {
    /// A query for what matches any of `filters`; each filter's `limit` bounds what it contributes.
    pub fn new(filters: impl IntoIterator<Item = Filter>) -> Self {
        let part = |filter: Filter| QueryPart {
            remaining: filter.limit.unwrap_or(usize::MAX),
            finished: filter.limit == Some(0),
            resume: None,
            beyond: Beyond::Unknown,
            filter,
        };
        Self { parts: filters.into_iter().map(part).collect(), as_of: None, looks_beyond: false }
    }

    /// Leaves out what is accepted after this place of the feed, as if the query were answered at that moment: whoever
    /// follows the feed from there sees every event once.
    #[must_use]
    pub fn as_of(mut self, place: FeedSeq) -> Self {
        self.as_of = Some(place);
        self
    }

    /// Looks one match further where a limit is reached, as far as that is cheap: see [`Query::beyond`].
    #[must_use]
    pub fn looking_beyond(mut self) -> Self {
        self.looks_beyond = true;
        self
    }

    /// Whether everything was told.
    pub fn is_finished(&self) -> bool {
        self.parts.iter().all(|part| part.finished)
    }

    /// Whether any filter's limit has cut the answer, once it is finished: [`Beyond::Nothing`] where none has.
    pub fn beyond(&self) -> Beyond {
        let all = || self.parts.iter().map(|part| part.beyond);
        if all().any(|beyond| beyond == Beyond::More) {
            Beyond::More
        } else if all().all(|beyond| beyond == Beyond::Nothing) {
            Beyond::Nothing
        } else {
            Beyond::Unknown
        }
    }
}
