//! What a connection holds, when nothing more is read of it, and what that means for the relay's time.

use sync_core::transport::{Fault, FaultKind};
use sync_core::{MonoMillis, Now};

use super::Driver;
use crate::ingest::limit_hit;

/// How long nothing may be read of a connection that is to be kept, milliseconds.
const LONGEST_WITHOUT_READING: MonoMillis = 60_000;
/// Frames that wait for the ingest before the socket is left alone.
const MAX_BACKLOG: usize = 4_096;
/// What the link has to send or to tell before nothing more is read.
const MAX_PENDING: usize = 1_024;

impl Driver {
    /// Whether as many bytes wait as may.
    fn is_over_memory(&self) -> bool {
        self.bytes_waiting.saturating_add(self.link.backlog_bytes()) >= self.shared.memory_per_relay
    }

    /// Tells how much the relay makes us hold, and of its bound when that is reached.
    pub(super) fn show_memory(&mut self) {
        let memory = self.bytes_waiting + self.link.held_bytes() + self.frames.iter().map(String::len).sum::<usize>();
        if std::mem::replace(&mut self.shown_memory, memory) != memory {
            self.shared.metrics.relay_memory(self.relay.as_str(), memory as u64);
        }
        let is_over = self.is_over_memory();
        if is_over && !self.is_over {
            limit_hit(
                &self.shared.metrics,
                &self.relay,
                "memory_per_relay",
                "nothing is read until some of it is stored",
            );
        }
        self.is_over = is_over;
    }

    /// Nothing was read for long: a relay drops what a slow reader doesn't take, or the reader, and what is read now may be old.
    /// A new connection catches up from when the relay was last heard.
    pub(super) fn watch_the_room(&mut self) {
        let now = self.shared.clock.now().mono_ms;
        if self.is_shut() {
            self.shut_since.get_or_insert(now);
        } else if let Some(since) = self.shut_since.take()
            && now.saturating_sub(since) >= LONGEST_WITHOUT_READING
        {
            let text = format!("{}: nothing was read for want of room in the store", self.relay);
            self.close.get_or_insert(Fault { kind: FaultKind::NoRoom, text });
        }
    }

    pub(super) fn may_read(&self) -> bool {
        !self.is_shut()
            && self.link.backlog() < MAX_BACKLOG
            && !self.is_over_memory()
            && self.frames.len() < MAX_PENDING
            && self.told.len() < MAX_PENDING
    }

    /// Stops the relay's time while we are behind with what it sent, so that our slowness isn't taken for its silence.
    pub(super) fn set_time(&mut self) {
        let now = self.shared.clock.now().mono_ms;
        let behind = !self.may_read() || !self.jobs.is_empty();
        match self.stands_since {
            None if behind => self.stands_since = Some(now),
            Some(since) if !behind => {
                self.stood_ms += now.saturating_sub(since);
                self.stands_since = None;
            }
            _ => {}
        }
    }

    /// The relay's time.
    pub(super) fn now(&self) -> Now {
        let now = self.shared.clock.now();
        Now { mono_ms: self.stands_since.unwrap_or(now.mono_ms).saturating_sub(self.stood_ms), ..now }
    }

    /// When the link's next deadline passes, by our clock.
    pub(super) fn deadline(&self) -> Option<MonoMillis> {
        let (at, _) = self.link.next_timeout().filter(|_| self.stands_since.is_none())?;
        Some(at.saturating_add(self.stood_ms))
    }
}
