//! When a relay may be tried, and when it may be asked: SPEC §12 read aloud, from what happened alone. Shares no code with
//! the product's health.
//!
//! It gives the earliest moments. After a restart it goes by what the store had when a record of the relay's health was
//! last written; where the process's clock was set in between, waits that are measured by it may have become shorter.

use sync_core::transport::FaultKind;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
/// The longest wait of an external own relay, but for jitter.
const OWN: u64 = 30 * SECOND;
/// Records are in whole seconds.
const ROUNDING: u64 = 2 * SECOND;

/// What counts of one relay's past. Times in virtual milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Record {
    /// Failures since the last stable connection.
    failures: u32,
    /// The first failure since a connection was made.
    failing_since: Option<u64>,
    /// The first of a row of lasting faults of one kind; no time where a clock that was set leaves it open.
    lasting: Option<(FaultKind, Option<u64>)>,
    not_before: u64,
    cool_until: u64,
    connected_since: Option<u64>,
    /// How far the process's clock was off when the record was written, seconds.
    clock: i64,
}

/// All relays, by place.
pub(super) struct Backoff {
    now: Vec<Record>,
    kept: Vec<Record>,
    /// The place of an external own relay, which is tried at least twice a minute.
    own: Option<usize>,
}

impl Backoff {
    pub(super) fn new(relays: usize, own: Option<usize>) -> Self {
        Self { now: vec![Record::default(); relays], kept: vec![Record::default(); relays], own }
    }

    /// An attempt begins.
    pub(super) fn attempt(&self, place: usize, ms: u64) -> Result<(), String> {
        let Record { failures, not_before, cool_until, .. } = self.now[place];
        if ms < not_before {
            return Err(format!("is tried {} ms too early, after {failures} failures", not_before - ms));
        }
        if ms < cool_until {
            return Err(format!("is tried {} ms before its cool-down is over", cool_until - ms));
        }
        Ok(())
    }

    /// Something is asked on an open connection.
    pub(super) fn ask(&self, place: usize, ms: u64) -> Result<(), String> {
        match self.now[place].cool_until.checked_sub(ms) {
            Some(left) if left > 0 => Err(format!("is asked {left} ms before its cool-down is over")),
            _ => Ok(()),
        }
    }

    /// An attempt succeeded.
    pub(super) fn connected(&mut self, place: usize, ms: u64) {
        let record = &mut self.now[place];
        record.connected_since = Some(ms);
        record.failing_since = None;
        record.not_before = 0;
    }

    /// The relay spoke of rate limits.
    pub(super) fn limited(&mut self, place: usize, ms: u64) {
        let record = &mut self.now[place];
        if record.cool_until <= ms {
            record.cool_until = ms + 65 * SECOND;
        }
    }

    /// We ended a connection or an attempt.
    pub(super) fn closed(&mut self, place: usize, ms: u64) {
        self.now[place].settle(ms);
        self.now[place].connected_since = None;
    }

    /// An attempt failed, or a connection was lost.
    pub(super) fn failed(&mut self, place: usize, kind: FaultKind, ms: u64) {
        let record = &mut self.now[place];
        record.settle(ms);
        record.connected_since = None;
        record.failures += 1;
        let failing_since = *record.failing_since.get_or_insert(ms);
        let lasting = matches!(kind, FaultKind::Dns | FaultKind::Tls | FaultKind::Protocol | FaultKind::Forbidden)
            .then(|| {
                let same = record
                    .lasting
                    .filter(|(before, since)| *before == kind && since.is_none_or(|since| ms - since < 12 * HOUR));
                same.unwrap_or((kind, Some(ms)))
            });
        record.lasting = lasting;
        // A name that doesn't resolve may be the fault of our own resolver, a broken message that of something between:
        // they have an hour.
        let set_apart = lasting.is_some_and(|(kind, since)| {
            !matches!(kind, FaultKind::Dns | FaultKind::Protocol)
                || since.is_some_and(|since| ms - since >= HOUR + ROUNDING)
        });
        let wait = if ms - failing_since >= 24 * HOUR + ROUNDING {
            24 * HOUR
        } else if set_apart {
            12 * HOUR
        } else {
            let full = (5 * SECOND).saturating_mul(1 << (record.failures - 1).min(20)).min(HOUR);
            full * 8 / 10
        };
        let most = if self.own == Some(place) { OWN * 8 / 10 } else { wait };
        record.not_before = ms + wait.min(most);
    }

    /// What a record of the relay's health says that is written at this moment.
    pub(super) fn record(&self, place: usize, ms: u64, clock: i64) -> Record {
        let mut record = self.now[place];
        record.settle(ms);
        Record { connected_since: None, clock, ..record }
    }

    /// The store has it.
    pub(super) fn keep(&mut self, place: usize, record: Record) {
        self.kept[place] = record;
    }

    /// A new process knows what the store has.
    pub(super) fn restarted(&mut self, ms: u64, clock: i64) {
        for (now, kept) in self.now.iter_mut().zip(&self.kept) {
            let forward = u64::try_from(clock - kept.clock).unwrap_or(0) * SECOND + ROUNDING;
            let back = u64::try_from(kept.clock - clock).unwrap_or(0) * SECOND + ROUNDING;
            *now = Record {
                not_before: kept.not_before.saturating_sub(forward),
                cool_until: kept.cool_until.saturating_sub(forward),
                failing_since: kept.failing_since.map(|since| (since + back).min(ms)),
                lasting: kept.lasting.map(|(kind, since)| (kind, since.filter(|_| clock == kept.clock))),
                ..*kept
            };
        }
    }
}

impl Record {
    /// Five minutes of a connection make up for what was before.
    fn settle(&mut self, ms: u64) {
        if self.connected_since.is_some_and(|since| ms - since >= 5 * MINUTE) {
            self.failures = 0;
            self.lasting = None;
        }
    }
}
