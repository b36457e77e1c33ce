//! The terms of the field (SPEC §5, §6): relays, repositories, statuses, batches.

mod address;
mod batch;
mod relay_url;
mod state;
mod status;

pub(crate) use address::identifier_of;
pub use address::{RepoAddress, RepoAddressError, kinds};
pub use batch::{
    BatchId, BatchOutcome, BatchReason, BatchReport, BatchRequest, Counts, Failure, FailureReason, Fallback,
    FilterCoverage, Layer, PendingBatch, PendingItems, SyncMethod,
};
pub use relay_url::{RelayUrl, RelayUrlError};
pub use state::{IdSet, PendingSyncIndex, RelayState, RelaySyncIndex, RepoSyncIndex, RepoSyncNeeds};
pub use status::{ConnectionStatus, HealthState};
