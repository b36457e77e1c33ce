//! The two enumerations that dashboards know by number (SPEC §6, §12).

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a relay's connection and history stand (SPEC §6). The number is the metric's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum ConnectionStatus {
    /// Not connected; the relay's record stays.
    Disconnected = 0,
    /// An attempt is under way, bounded by a timeout.
    Connecting = 1,
    /// Connected, historic sync in progress; live sync is already on.
    Syncing = 2,
    /// Historic sync complete, live sync on.
    Connected = 3,
    /// Live sync on, historic sync failed in part: data is missing, and it is named.
    ConnectedDegraded = 4,
}

impl ConnectionStatus {
    /// Every status, by its number.
    pub const ALL: [Self; 5] =
        [Self::Disconnected, Self::Connecting, Self::Syncing, Self::Connected, Self::ConnectedDegraded];

    /// Its name, as in the status document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disconnected => "Disconnected",
            Self::Connecting => "Connecting",
            Self::Syncing => "Syncing",
            Self::Connected => "Connected",
            Self::ConnectedDegraded => "ConnectedDegraded",
        }
    }

    /// Whether a connection is open.
    pub fn is_connected(self) -> bool {
        matches!(self, Self::Syncing | Self::Connected | Self::ConnectedDegraded)
    }

    /// Whether SPEC §6 has an arrow from `self` to `next`.
    pub fn may_become(self, next: Self) -> bool {
        use ConnectionStatus::{Connected, ConnectedDegraded, Connecting, Disconnected, Syncing};
        matches!(
            (self, next),
            (Disconnected, Connecting)
                | (Connecting, Syncing | Disconnected)
                | (Syncing, Connected | ConnectedDegraded | Disconnected)
                | (Connected, Syncing | ConnectedDegraded | Disconnected)
                | (ConnectedDegraded, Syncing | Connected | Disconnected)
        )
    }
}

impl fmt::Display for ConnectionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a relay has behaved (SPEC §12). The number is the metric's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum HealthState {
    /// Stable.
    Healthy = 1,
    /// Not connected, no failures to speak of.
    Disconnected = 2,
    /// Fails, or connected too briefly to be trusted again.
    Degraded = 3,
    /// Failing for so long that it is tried once a day only.
    Dead = 4,
    /// Asked us to slow down: nothing is asked of it during the cool-down.
    RateLimited = 5,
}

impl fmt::Display for HealthState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
