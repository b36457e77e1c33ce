//! What reads the store: short pieces, each run on a blocking thread, that carry their own state from one to the next.
//! Knows nothing of connections; whoever asked tells by its number whether the answer is still wanted.

use std::sync::Arc;

use negentropy::{Id, Negentropy, NegentropyStorageVector};
use sync_core::store::{EventStore, FeedSeq, PageSize, Query, StoreError};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::budget::{Budget, Held};
use crate::live::{LiveEvent, live_events};
use crate::message;

/// Ids read in one piece.
const ITEMS: usize = 20_000;
/// Places of the feed read in one piece, at a time and at most; and the bytes that end it.
const PLACES_STEP: usize = 16;
const PLACES: u64 = 256;
const PLACES_BYTES: usize = 256 << 10;
/// Bytes of one answer in a reconciliation: what most servers' websocket limits let through, as hex.
const NEG_FRAME: u64 = 60_000;

/// A piece of work.
pub(crate) enum Work {
    Stored(Box<Stored>),
    Count(Box<Counting>),
    Reconcile(Box<Reconciling>),
    /// The feed after a place.
    CatchUp(FeedSeq),
}

/// A piece that is done.
pub(crate) enum Done {
    /// A page, as frames.
    Stored(Box<Stored>, Result<Vec<Utf8Bytes>, StoreError>),
    Count(Box<Counting>, Result<(), StoreError>),
    /// An answer, or none yet.
    Reconcile(Box<Reconciling>, Result<Option<Vec<u8>>, NegError>),
    /// What follows a place, and up to where.
    CatchUp(FeedSeq, Result<(Vec<Arc<LiveEvent>>, FeedSeq), StoreError>),
}

/// The stored events of a subscription.
pub(crate) struct Stored {
    pub(crate) id: String,
    pub(crate) number: u64,
    /// The id as JSON.
    pub(crate) quoted: String,
    /// As of the place of the feed that was read with the first page.
    pub(crate) query: Query,
}

/// A COUNT under way.
pub(crate) struct Counting {
    pub(crate) id: String,
    pub(crate) query: Query,
    pub(crate) count: u64,
    /// About the rows that were looked at.
    pub(crate) rows: u64,
}

/// A message of a reconciliation, and what answers it.
pub(crate) struct Reconciling {
    pub(crate) id: String,
    pub(crate) number: u64,
    pub(crate) message: Vec<u8>,
    pub(crate) responder: Responder,
}

/// The answering side of a reconciliation: gathers its set, then answers over it.
pub(crate) struct Responder {
    stage: Stage,
    held: Held,
}

enum Stage {
    Gathering(Query, NegentropyStorageVector),
    Open(Box<Negentropy<'static, NegentropyStorageVector>>),
}

/// Why a reconciliation ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NegError {
    #[error("blocked: too many query results")]
    TooBig,
    #[error("error: too many concurrent NEG requests, try again later")]
    /// With the name of the bound.
    TooMany(&'static str),
    #[error("PROTOCOL-ERROR: {0}")]
    Protocol(String),
    #[error("error: the store can't be read")]
    Store(#[from] StoreError),
}

impl Responder {
    /// Over what `query` finds, whose ids are held of `ids`.
    pub(crate) fn new(query: Query, ids: &Arc<Budget>) -> Self {
        Self { stage: Stage::Gathering(query, NegentropyStorageVector::new()), held: Held::nothing(ids) }
    }
}

/// What pieces of work are run with.
pub(crate) struct Context {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) page: PageSize,
    /// Ids of one reconciliation.
    pub(crate) max_items: u64,
}

impl Work {
    /// Runs it, as of `now`, unix seconds. Blocks for the time of a few disk accesses.
    pub(crate) fn run(self, context: &Context, now: u64) -> Done {
        match self {
            Self::Stored(mut stored) => {
                let page = stored_page(&mut stored, context, now);
                Done::Stored(stored, page)
            }
            Self::Count(mut counting) => {
                let counted = context.store.query_items(&mut counting.query, now, ITEMS);
                counting.rows += ITEMS as u64;
                let counted = counted.map(|items| counting.count += items.len() as u64);
                Done::Count(counting, counted)
            }
            Self::Reconcile(mut work) => {
                let answer = reconcile(&mut work, context, now);
                Done::Reconcile(work, answer)
            }
            Self::CatchUp(after) => {
                let page = catch_up(&*context.store, after);
                Done::CatchUp(after, page)
            }
        }
    }
}

/// As much of the feed as is told at a time: what is read beyond that would be read again.
fn catch_up(store: &dyn EventStore, after: FeedSeq) -> Result<(Vec<Arc<LiveEvent>>, FeedSeq), StoreError> {
    let (mut events, mut bytes, mut upto) = (Vec::new(), 0, after);
    loop {
        let page = store.feed(upto, PLACES_STEP)?;
        let is_all = page.upto >= page.head;
        upto = page.upto;
        let more = live_events(page);
        bytes += more.iter().map(|event| event.json.len()).sum::<usize>();
        events.extend(more);
        if is_all || bytes >= PLACES_BYTES || upto - after >= PLACES {
            return Ok((events, upto));
        }
    }
}

fn stored_page(stored: &mut Stored, context: &Context, now: u64) -> Result<Vec<Utf8Bytes>, StoreError> {
    if stored.query.as_of.is_none() {
        stored.query.as_of = Some(context.store.feed_head()?);
    }
    let events = context.store.query_page(&mut stored.query, now, context.page)?;
    let frame = |event| {
        let json = serde_json::to_string(&event).unwrap_or_default();
        Utf8Bytes::from(message::event(&stored.quoted, &json))
    };
    Ok(events.into_iter().map(frame).collect())
}

fn reconcile(work: &mut Reconciling, context: &Context, now: u64) -> Result<Option<Vec<u8>>, NegError> {
    let protocol = |error: negentropy::Error| NegError::Protocol(error.to_string());
    let Responder { stage, held } = &mut work.responder;
    if let Stage::Gathering(query, storage) = stage {
        let items = context.store.query_items(query, now, ITEMS)?;
        if held.own() + items.len() as u64 > context.max_items {
            return Err(NegError::TooBig);
        }
        held.grow(items.len() as u64).map_err(NegError::TooMany)?;
        for item in items {
            storage.insert(item.created_at, Id::from_byte_array(item.id)).map_err(protocol)?;
        }
        if !query.is_finished() {
            return Ok(None);
        }
        let mut storage = std::mem::take(storage);
        storage.seal().map_err(protocol)?;
        *stage = Stage::Open(Box::new(Negentropy::owned(storage, NEG_FRAME).map_err(protocol)?));
    }
    match stage {
        Stage::Open(responder) => responder.reconcile(&work.message).map(Some).map_err(protocol),
        Stage::Gathering(..) => Ok(None),
    }
}
