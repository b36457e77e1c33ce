//! Kinds of trouble with a relay: whatever the words, one is warned of once (SPEC §12).

use std::mem::Discriminant;

use crate::model::FailureReason;
use crate::transport::FaultKind;

/// What a status or a warning is about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// There is no connection.
    Away,
    /// Something of its history is missing, for a reason of this kind; ids, counts and moments of it make no difference. `None`:
    /// nobody knows why.
    Missing(Option<Discriminant<FailureReason>>),
    /// A live subscription is refused.
    LiveRefused,
    /// What live sync missed is being asked for.
    CatchingUp,
    /// It asked us to slow down.
    RateLimited,
    /// It doesn't support a strategy.
    Unsupported {
        /// The strategy's name.
        strategy: String,
    },
    /// It doesn't accept our authentication.
    AuthRefused,
    /// A fault that is likely to last.
    LastingFault(FaultKind),
    /// It connected when it wasn't asked to.
    NotAskedFor,
}
