//! All relays together: inputs with the time they happened, outputs for the shell (SPEC §5, §6, §9, §10).
//!
//! | module | decides |
//! |---|---|
//! | `sync` | what each input sets off; the batches of what is new |
//! | `connections` | whom to be connected to |
//! | `wanted` | of whom an event is asked that the rejected index let go of |
//! | `restore` | what is taken over of a former run |
//! | `status` | what an operator sees |
//! | `incidents` | what went wrong lately, as an operator sees it |
//! | `cause` | which troubles with a relay are the same |
//! | `config` | what the operator told it |

mod cause;
mod config;
mod connections;
mod incidents;
mod restore;
mod status;
mod sync;
mod wanted;

pub use cause::Cause;
pub use config::{ManagerConfig, OWN_RETRY_MS};
pub use incidents::{Incident, IncidentKind};
pub use restore::{RestoredState, StateRow};
pub use status::{BatchProgress, OwnRelayReport, PluginReport, PluginState, RelayReport, StatusReport, Totals};
pub use sync::SyncManager;
pub use wanted::WantedIds;

use crate::link::{LinkCommand, LinkNotice};
use crate::model::{BatchReport, ConnectionStatus, HealthState, RelayUrl};
use crate::store::{FeedPage, FeedSeq, OutboxState, StateWrite};
use crate::strategy::RelayProfile;
use crate::transport::{Fault, Target};

/// What happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum ManagerInput {
    /// A piece of the accepted feed, in order, without gaps.
    Feed(FeedPage),
    /// An attempt succeeded.
    Connected {
        /// The relay.
        relay: RelayUrl,
        /// What it says of itself.
        profile: RelayProfile,
    },
    /// An attempt failed.
    ConnectFailed {
        /// The relay.
        relay: RelayUrl,
        /// Why.
        fault: Fault,
    },
    /// A connection ended, whoever ended it.
    Disconnected {
        /// The relay.
        relay: RelayUrl,
        /// Why; `None` where the manager asked for it.
        fault: Option<Fault>,
    },
    /// A batch ended.
    BatchDone {
        /// The relay.
        relay: RelayUrl,
        /// How.
        report: Box<BatchReport>,
        /// The head of the feed when every verdict on the batch was in: the barrier of the completion check.
        feed_head: FeedSeq,
    },
    /// Something happened on a connection.
    Notice {
        /// The relay.
        relay: RelayUrl,
        /// What.
        notice: LinkNotice,
    },
    /// Events that came by live subscriptions are in the store.
    LiveStored {
        /// The relay.
        relay: RelayUrl,
        /// How many.
        count: u64,
    },
    /// How the outbox of an external own relay stands: to be told before every [`ManagerInput::BatchDone`], as it is then,
    /// and whenever it changes.
    Outbox {
        /// How it stands.
        state: OutboxState,
        /// The head of the feed, read after that.
        feed_head: FeedSeq,
    },
    /// The store, which had no room, takes events again.
    StoreWorks,
    /// The deadline of `next_timeout` has passed.
    Timeout,
    /// The process is stopping: close everything, and persist it.
    Shutdown,
}

/// What is to be done.
#[derive(Debug)]
#[non_exhaustive]
pub enum ManagerOutput {
    /// Connect; answered by `Connected` or `ConnectFailed`.
    Connect(Target),
    /// Close the connection, or give up the attempt; answered by `Disconnected`.
    Disconnect {
        /// The relay.
        relay: RelayUrl,
        /// Why, for the log.
        reason: String,
    },
    /// Tell an open connection.
    Link {
        /// The relay.
        relay: RelayUrl,
        /// What.
        command: LinkCommand,
    },
    /// Write these records.
    Persist(Vec<StateWrite>),
    /// A relay's status changed.
    Status {
        /// The relay.
        relay: RelayUrl,
        /// What it was.
        from: ConnectionStatus,
        /// What it is.
        to: ConnectionStatus,
        /// Why: for a degraded relay what is missing, for a disconnected one the fault.
        reason: String,
        /// What kind of trouble that is, where it is one.
        cause: Option<Cause>,
    },
    /// A relay's health changed.
    Health {
        /// The relay.
        relay: RelayUrl,
        /// What it is.
        state: HealthState,
    },
    /// A bound was hit (SPEC §13).
    LimitHit {
        /// Its key in `[limits]`.
        limit: &'static str,
        /// What it concerns, and the bound.
        text: String,
    },
    /// Worth a warning.
    Warn {
        /// The relay.
        relay: RelayUrl,
        /// What kind of trouble.
        cause: Cause,
        /// What.
        text: String,
    },
}
