//! How each relay behaves (SPEC §12): back-off, death, cool-downs after rate limiting, lasting faults.

use serde::{Deserialize, Serialize};

use crate::model::HealthState;
use crate::time::{Jitter, MonoMillis, Now};
use crate::transport::{Fault, FaultKind};

/// The `[health]` section, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthConfig {
    /// The wait after the first failure. Default 5 s.
    pub base_backoff_ms: u64,
    /// The longest wait. Default 1 h.
    pub max_backoff_ms: u64,
    /// Failures for this long make a relay dead. Default 24 h.
    pub dead_after_ms: u64,
    /// How often a dead relay is tried. Default 24 h.
    pub dead_retry_ms: u64,
    /// How long nothing is asked of a relay that spoke of rate limiting. Default 65 s.
    pub rate_limit_cooldown_ms: u64,
    /// How long a connection must hold before failures are forgotten. Default 5 min.
    pub stable_after_ms: u64,
    /// How long a relay with a lasting fault is left alone, and its fault not warned of again. Default 12 h.
    pub fault_memory_ms: u64,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            base_backoff_ms: 5_000,
            max_backoff_ms: 3_600_000,
            dead_after_ms: 24 * 3_600_000,
            dead_retry_ms: 24 * 3_600_000,
            rate_limit_cooldown_ms: 65_000,
            stable_after_ms: 300_000,
            fault_memory_ms: 12 * 3_600_000,
        }
    }
}

/// What of a relay's health outlives the process. Times in unix seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthRecord {
    /// Failures since the last stable connection.
    pub failures: u32,
    /// Since when no connection has been stable; none while one is open.
    pub failing_since: Option<u64>,
    /// Not tried before this.
    pub retry_at: Option<u64>,
    /// Nothing is asked before this.
    pub cool_until: Option<u64>,
    /// A lasting fault, and when it was first seen.
    pub fault: Option<(FaultKind, u64)>,
    /// The words of the last fault.
    pub last_error: Option<String>,
}

/// A past time on the monotonic clock, in milliseconds: below 0 where it lies before the clock began.
type Moment = i64;

fn moment(now: Now) -> Moment {
    i64::try_from(now.mono_ms).unwrap_or(Moment::MAX)
}

/// Milliseconds from `since` to `now`.
fn elapsed(since: Moment, now: Now) -> u64 {
    u64::try_from(moment(now).saturating_sub(since)).unwrap_or(0)
}

/// One relay's health.
#[derive(Debug, Clone)]
pub struct RelayHealth {
    config: HealthConfig,
    failures: u32,
    failing_since: Option<Moment>,
    /// When it is dead, unless it is reached before.
    dead_at: Option<MonoMillis>,
    retry_at: Option<MonoMillis>,
    cool_until: Option<MonoMillis>,
    connected_since: Option<MonoMillis>,
    fault: Option<(FaultKind, Moment)>,
    last_error: Option<String>,
}

impl RelayHealth {
    /// A relay that nothing is known of.
    pub fn new(config: HealthConfig) -> Self {
        Self {
            config,
            failures: 0,
            failing_since: None,
            dead_at: None,
            retry_at: None,
            cool_until: None,
            connected_since: None,
            fault: None,
            last_error: None,
        }
    }

    /// From a record. Waits that a jump of the clock made longer than they can be are cut.
    pub fn restore(config: HealthConfig, record: HealthRecord, now: Now) -> Self {
        let ahead = |at: u64, longest: u64| {
            now.mono_ms.saturating_add(at.saturating_sub(now.unix_s).saturating_mul(1000).min(longest))
        };
        let behind = |at: u64| {
            let away = now.unix_s.saturating_sub(at).saturating_mul(1000);
            moment(now).saturating_sub(i64::try_from(away).unwrap_or(Moment::MAX))
        };
        let longest = config.max_backoff_ms.max(config.dead_retry_ms).max(config.fault_memory_ms);
        let mut health = Self {
            failures: record.failures,
            failing_since: record.failing_since.map(behind),
            dead_at: None,
            retry_at: record.retry_at.map(|at| ahead(at, longest)),
            cool_until: record.cool_until.map(|at| ahead(at, config.rate_limit_cooldown_ms)),
            connected_since: None,
            fault: record.fault.map(|(kind, at)| (kind, behind(at))),
            last_error: record.last_error,
            config,
        };
        health.set_dead_at(now);
        health
    }

    /// Reckons anew when it is dead.
    fn set_dead_at(&mut self, now: Now) {
        let failing = self.failing_since.map(|since| elapsed(since, now));
        let left = failing.and_then(|failing| self.config.dead_after_ms.checked_sub(failing)).filter(|left| *left > 0);
        self.dead_at = left.map(|left| now.mono_ms.saturating_add(left));
    }

    /// What outlives the process.
    pub fn record(&self, now: Now) -> HealthRecord {
        let unix = |at: MonoMillis| match at.checked_sub(now.mono_ms) {
            Some(ahead) => now.unix_s.saturating_add(ahead.div_ceil(1000)),
            None => now.unix_s.saturating_sub((now.mono_ms - at) / 1000),
        };
        let past = |at: Moment| now.unix_s.saturating_sub(elapsed(at, now) / 1000);
        // A process that dies meanwhile can't tell how long the connection held.
        let failing_since = self.failing_since.filter(|_| self.connected_since.is_none());
        HealthRecord {
            failures: self.failures,
            failing_since: failing_since.map(past),
            retry_at: self.retry_at.map(unix),
            cool_until: self.cool_until.map(unix),
            fault: self.fault.map(|(kind, at)| (kind, past(at))),
            last_error: self.last_error.clone(),
        }
    }

    /// The state at `now`.
    pub fn state(&self, now: Now) -> HealthState {
        if self.cooling_until(now).is_some() {
            HealthState::RateLimited
        } else if self.is_dead(now) {
            HealthState::Dead
        } else if self.failures > 0 {
            HealthState::Degraded
        } else if self.connected_since.is_some() {
            HealthState::Healthy
        } else {
            HealthState::Disconnected
        }
    }

    /// Failures since the last stable connection.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The words of the last fault.
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// When an attempt may be made; a time that has passed means at once.
    pub fn next_attempt(&self) -> MonoMillis {
        self.retry_at.unwrap_or(0).max(self.cool_until.unwrap_or(0))
    }

    /// Until when nothing may be asked; `None` where everything may.
    pub fn cooling_until(&self, now: Now) -> Option<MonoMillis> {
        self.cool_until.filter(|until| *until > now.mono_ms)
    }

    /// When [`RelayHealth::tick`] has something to do.
    pub fn next_change(&self) -> Option<MonoMillis> {
        let stable =
            self.connected_since.filter(|_| self.failures > 0).map(|at| at.saturating_add(self.config.stable_after_ms));
        [stable, self.cool_until, self.dead_at].into_iter().flatten().min()
    }

    /// Lets time pass: a stable connection is healthy again, a cool-down ends, what failed for too long is dead.
    pub fn tick(&mut self, now: Now) {
        if let Some(at) = self.dead_at.take_if(|at| *at <= now.mono_ms) {
            // From then on it is tried once a day.
            self.retry_at = Some(at.saturating_add(self.config.dead_retry_ms));
        }
        self.cool_until.take_if(|until| *until <= now.mono_ms);
        let stable = |since: MonoMillis| now.mono_ms >= since.saturating_add(self.config.stable_after_ms);
        if self.connected_since.is_some_and(stable) {
            self.failures = 0;
            self.failing_since = None;
            self.fault = None;
        }
    }

    /// An attempt succeeded. What failed before is forgotten when the connection has been stable: one that is dropped at
    /// once is a failure as well.
    pub fn on_connected(&mut self, now: Now) {
        self.connected_since = Some(now.mono_ms);
        self.retry_at = None;
        self.dead_at = None;
    }

    /// An attempt failed, or a connection was lost. Returns whether a person should be warned: once for each lasting
    /// fault, until it is forgotten. What a limit of our own prevented is tried again soon, and counts for nothing.
    pub fn on_failure(&mut self, fault: &Fault, jitter: &mut Jitter, now: Now) -> bool {
        self.tick(now);
        self.connected_since = None;
        self.last_error = Some(fault.text.chars().take(Self::MAX_ERROR).collect());
        if fault.kind.is_ours() {
            let wait = jitter.between(Self::OUR_RETRY_MS / 2, Self::OUR_RETRY_MS).min(self.config.max_backoff_ms);
            self.retry_at = Some(now.mono_ms.saturating_add(wait));
            self.set_dead_at(now);
            return false;
        }
        self.failures = self.failures.saturating_add(1);
        let failing_since = *self.failing_since.get_or_insert(moment(now));
        self.set_dead_at(now);

        let remembered = self
            .fault
            .filter(|(kind, since)| *kind == fault.kind && elapsed(*since, now) < self.config.fault_memory_ms);
        let mut warn = false;
        self.fault = fault.kind.is_lasting().then(|| {
            warn = remembered.is_none();
            remembered.unwrap_or((fault.kind, moment(now)))
        });

        let wait = if elapsed(failing_since, now) >= self.config.dead_after_ms {
            self.config.dead_retry_ms
        } else if self.is_set_apart(now) {
            self.config.fault_memory_ms
        } else {
            self.backoff(jitter)
        };
        self.retry_at = Some(now.mono_ms.saturating_add(wait));
        warn
    }

    /// A connection was closed because we wanted it closed: it held for as long as it was wanted.
    pub fn on_closed(&mut self, now: Now) {
        self.tick(now);
        if self.connected_since.take().is_some() {
            self.failing_since = None;
            self.dead_at = None;
        }
    }

    /// The relay spoke of rate limiting.
    pub fn on_rate_limited(&mut self, now: Now) {
        self.cool_until = Some(now.mono_ms.saturating_add(self.config.rate_limit_cooldown_ms));
    }

    /// The longest wait after a limit of our own: connections that stand in the way may stay for days, or end at once.
    const OUR_RETRY_MS: u64 = 60_000;
    /// The most characters of a fault that are kept.
    const MAX_ERROR: usize = 400;

    /// Whether a lasting fault sets the relay apart. A name that doesn't resolve may be the fault of our own resolver, and
    /// a message that breaks the protocol that of something between us: those count as lasting only when they have lasted
    /// for as long as the longest back-off.
    fn is_set_apart(&self, now: Now) -> bool {
        self.fault.is_some_and(|(kind, since)| {
            let may_pass = matches!(kind, FaultKind::Dns | FaultKind::Protocol);
            !may_pass || elapsed(since, now) >= self.config.max_backoff_ms
        })
    }

    fn is_dead(&self, now: Now) -> bool {
        self.connected_since.is_none()
            && self.failing_since.is_some_and(|since| elapsed(since, now) >= self.config.dead_after_ms)
    }

    /// base · 2^(failures − 1), at most the longest; of that a random part between 80 and 100 %.
    fn backoff(&self, jitter: &mut Jitter) -> u64 {
        let doublings = self.failures.saturating_sub(1).min(63);
        let full = self.config.base_backoff_ms.saturating_mul(1 << doublings).min(self.config.max_backoff_ms);
        jitter.between(full - full / 5, full)
    }
}

#[cfg(test)]
mod tests;
