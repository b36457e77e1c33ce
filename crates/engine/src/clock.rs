//! Where time comes from: the one place that reads the clocks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sync_core::{MonoMillis, Now};
use tokio::time::Instant;

/// The process's clock. Cheap to copy; monotonic time counts from when it was made.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that starts here.
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// This moment.
    pub fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mono = self.origin.elapsed().as_millis();
        Now { mono_ms: u64::try_from(mono).unwrap_or(MonoMillis::MAX), unix_s: unix.as_secs() }
    }

    /// The runtime's name for a deadline.
    pub fn at(&self, deadline: MonoMillis) -> Instant {
        // A deadline beyond what the platform's clock can hold is as good as a year away.
        let year = Duration::from_secs(365 * 86_400);
        self.origin + Duration::from_millis(deadline).min(self.origin.elapsed() + year)
    }
}
