//! Kinds of trouble with a relay: whatever the words, one is warned of once (SPEC §12).

use crate::model::FailureReason;
use crate::transport::FaultKind;

/// What a status or a warning is about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// There is no connection.
    Away,
    /// Something of its history is missing, for this reason: [`Cause::missing`].
    Missing(&'static str),
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

impl Cause {
    /// What is missing is missing for this; ids, counts and moments of it make no difference. `None`: nobody knows.
    pub fn missing(reason: Option<&FailureReason>) -> Self {
        Self::Missing(match reason {
            None => "",
            Some(FailureReason::NotServed { .. }) => "not served",
            Some(FailureReason::DenseSecond { .. }) => "dense second",
            Some(FailureReason::TooBig { .. }) => "too big",
            Some(FailureReason::Unsupported) => "unsupported",
            Some(FailureReason::Refused { .. }) => "refused",
            Some(FailureReason::Timeout) => "timeout",
            Some(FailureReason::ConnectionLost) => "connection lost",
            Some(FailureReason::Protocol) => "protocol",
            Some(FailureReason::Local) => "local",
        })
    }
}
