//! The databases of the environment and the schema's version.
//!
//! Integers in keys and values are big-endian. `tail` is `created_at ‖ id`; a `value` is a tag's value as
//! [`crate::keys`] writes it.
//!
//! | database | key | value |
//! |---|---|---|
//! | `events` | seq | the event ([`crate::codec`]) |
//! | `ids` | id | seq, `created_at`, kind, place in the feed (0: none) |
//! | `by_time` | tail | seq |
//! | `by_kind` | kind, tail | seq |
//! | `by_author` | author, tail | seq |
//! | `by_author_kind` | author, kind, tail | seq |
//! | `by_tag` | letter, value, tail; `0`, kind, identifier, tail | seq |
//! | `slots` | kind, author, identifier | `created_at`, id, stored |
//! | `expiry` | time, id | |
//! | `deleted_ids` | id, author | |
//! | `deleted_slots` | kind, author, identifier | until |
//! | `feed` | place | seq |
//! | `feed_removed` | place | id, kind, address |
//! | `feed_wanted` | place, id of a row of `rejected` | |
//! | `unjudged` | rank, seq | |
//! | `rejected` | id | the row ([`crate::rejected_row`]) |
//! | `rejected_hot`, `rejected_cold` | when the body, the row goes; id | |
//! | `rejected_deps` | dependency, id | |
//! | `rejected_relays` | relay, tail | |
//! | `outbox` | id | the held event, and how it stands ([`crate::outbox`]) |
//! | `outbox_due` | when it may be offered (0: never answered), id | |
//! | `outbox_numbers` | class, number, id | |
//! | `state` | table, key | whatever its owner wrote |
//! | `meta` | name | a number or a hash |

use heed::types::Bytes;
use heed::{Env, RoTxn, RwTxn, WithoutTls};
use sync_core::store::StoreError;

use crate::error::from_heed;

pub(crate) type Db = heed::Database<Bytes, Bytes>;
pub(crate) type StoreEnv = Env<WithoutTls>;

/// The schema that this code reads and writes.
pub(crate) const SCHEMA: u64 = 3;

/// Steps from older schemas, in order: each takes a store of the given version to the next.
const MIGRATIONS: &[(u64, Migration)] = &[
    // Rows of the rejected index gained a field. What was kept out is judged anew when it is offered again.
    (1, |dbs, txn| dbs.clear_rejected(txn)),
    (2, |dbs, txn| dbs.clear_rejected(txn)),
];

type Migration = fn(&Databases, &mut RwTxn<'_>) -> Result<(), StoreError>;

/// Numbers in `meta`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Meta {
    /// The schema's version.
    Schema,
    /// The seq that the next event gets.
    NextSeq,
    /// The newest place in the feed.
    FeedHead,
    /// Marks of acceptance up to this place are void: the feed was made anew since.
    FeedFloor,
    /// The next seq to be entered into `unjudged`, while a changed policy has everything judged again.
    Requeue,
    /// Where that ends.
    RequeueEnd,
    /// The number that was given out last in the outbox.
    OutboxNewest,
    /// Held events up to this number are to be decided about anew.
    OutboxRetake,
}

impl Meta {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Schema => b"schema",
            Self::NextSeq => b"next_seq",
            Self::FeedHead => b"feed_head",
            Self::FeedFloor => b"feed_floor",
            Self::Requeue => b"requeue",
            Self::RequeueEnd => b"requeue_end",
            Self::OutboxNewest => b"outbox_newest",
            Self::OutboxRetake => b"outbox_retake",
        }
    }
}

/// The name in `meta` of the hash of the admission config that the feed was made under.
pub(crate) const ADMISSION: &[u8] = b"admission";

macro_rules! databases {
    ($($name:ident),+ $(,)?) => {
        /// Handles of all databases.
        #[derive(Clone, Copy)]
        pub(crate) struct Databases {
            $(pub(crate) $name: Db,)+
        }

        impl Databases {
            /// How many there are.
            pub(crate) const COUNT: u32 = [$(stringify!($name)),+].len() as u32;

            pub(crate) fn create(env: &StoreEnv, txn: &mut RwTxn<'_>) -> Result<Self, StoreError> {
                Ok(Self { $($name: env.create_database(txn, Some(stringify!($name))).map_err(from_heed)?,)+ })
            }

            /// `None` where the store was never written to.
            pub(crate) fn open(env: &StoreEnv, txn: &RoTxn<'_>) -> Result<Option<Self>, StoreError> {
                Ok(Some(Self {
                    $($name: match env.open_database(txn, Some(stringify!($name))).map_err(from_heed)? {
                        Some(database) => database,
                        None => return Ok(None),
                    },)+
                }))
            }
        }
    };
}

databases! {
    events, ids, by_time, by_kind, by_author, by_author_kind, by_tag, slots, expiry, deleted_ids, deleted_slots,
    feed, feed_removed, feed_wanted, unjudged, rejected, rejected_hot, rejected_cold, rejected_deps, rejected_relays,
    outbox, outbox_due, outbox_numbers, state, meta,
}

impl Databases {
    pub(crate) fn number(&self, txn: &RoTxn<'_>, meta: Meta) -> Result<Option<u64>, StoreError> {
        self.meta.get(txn, meta.name()).map_err(from_heed)?.map(read_u64).transpose()
    }

    pub(crate) fn set_number(&self, txn: &mut RwTxn<'_>, meta: Meta, value: u64) -> Result<(), StoreError> {
        self.meta.put(txn, meta.name(), &value.to_be_bytes()).map_err(from_heed)
    }

    pub(crate) fn clear_rejected(&self, txn: &mut RwTxn<'_>) -> Result<(), StoreError> {
        [
            self.rejected,
            self.rejected_hot,
            self.rejected_cold,
            self.rejected_deps,
            self.rejected_relays,
            self.feed_wanted,
        ]
        .into_iter()
        .try_for_each(|database| database.clear(txn).map_err(from_heed))
    }

    /// Brings an older store up to [`SCHEMA`]; `found` is `None` for a new one.
    pub(crate) fn migrate(&self, txn: &mut RwTxn<'_>, found: Option<u64>) -> Result<(), StoreError> {
        if let Some(found) = found {
            for (_, step) in MIGRATIONS.iter().filter(|(from, _)| *from >= found) {
                step(self, txn)?;
            }
        }
        if found != Some(SCHEMA) {
            self.set_number(txn, Meta::Schema, SCHEMA)?;
        }
        Ok(())
    }
}

pub(crate) fn read_u64(bytes: &[u8]) -> Result<u64, StoreError> {
    bytes
        .try_into()
        .map(u64::from_be_bytes)
        .map_err(|_| StoreError::Corrupt(format!("a number has {} bytes instead of 8", bytes.len())))
}
