//! What a connection tells: its owner, the metrics, the traces.

use sync_core::link::{CheckJob, LinkNotice};
use sync_core::model::BatchReport;
use sync_core::store::FeedSeq;
use tracing::Span;

use super::{Driver, RelayEvent};
use crate::ingest::MAX_JOBS;

impl Driver {
    /// The next events for one piece of work: all of one batch, so that what is logged of them belongs to that.
    pub(super) fn next_jobs(&mut self) -> Vec<CheckJob> {
        let batch = self.jobs.front().and_then(|job| job.batch);
        let together = self.jobs.iter().take(MAX_JOBS).take_while(|job| job.batch == batch).count();
        self.jobs.drain(..together).collect()
    }

    pub(super) fn notice(&mut self, notice: LinkNotice) {
        self.observe(&notice);
        // Several for each frame or event that a relay makes up: of use here, and too many for the manager.
        let here_alone = matches!(
            notice,
            LinkNotice::Bad { .. } | LinkNotice::Garbage | LinkNotice::Asked { .. } | LinkNotice::Answered { .. }
        );
        if !here_alone {
            let context = match &notice {
                LinkNotice::FellBack { batch, .. } => self.traces.context(Some(*batch)),
                _ => Span::none(),
            };
            self.told.push_back(RelayEvent::Notice { notice, context });
        }
    }

    pub(super) fn batch_done(&mut self, report: Box<BatchReport>) {
        self.traces.end(&report, &self.shared.metrics);
        // A head that can't be read must not let a barrier pass: the last place there can be never comes.
        let feed_head = self.shared.store.feed_head().unwrap_or_else(|error| {
            tracing::error!(%error, "can't read the head of the feed");
            FeedSeq::MAX
        });
        self.told.push_back(RelayEvent::BatchDone { report, feed_head });
    }

    /// Metrics and traces. Whether somebody is to be warned is decided by who owns the connection, so that it happens
    /// once.
    fn observe(&mut self, notice: &LinkNotice) {
        self.traces.observe(notice);
        match notice {
            LinkNotice::FellBack { from, to, .. } => self.shared.metrics.fallback(from, to),
            LinkNotice::Bad { reason, batch } => {
                let context = self.traces.context(*batch);
                context.in_scope(|| tracing::debug!(relay = %self.relay, reason = reason.as_str(), "event dropped"));
            }
            LinkNotice::Garbage => {
                self.shared.metrics.event_received("garbage");
                tracing::debug!(relay = %self.relay, "frame can't be read");
            }
            _ => {}
        }
    }
}

/// What the log shows of a frame: its beginning; of one that proves who we are, no more than that.
pub(super) fn wire_text(frame: &str) -> &str {
    let word = frame.trim_start().strip_prefix('[').map(str::trim_start);
    if word.is_some_and(|word| word.starts_with("\"AUTH\"")) {
        return "[\"AUTH\",…";
    }
    let end = frame.char_indices().nth(MAX_SHOWN).map_or(frame.len(), |(at, _)| at);
    frame.get(..end).unwrap_or_default()
}

/// Characters of a frame that the log shows.
const MAX_SHOWN: usize = 200;

impl Drop for Driver {
    /// Batches are still open where the task panics, or is dropped with the runtime.
    fn drop(&mut self) {
        let reason = if std::thread::panicking() {
            "the connection's task panicked"
        } else {
            "the process ended before it was done"
        };
        self.traces.cut_off(&self.link, reason, &self.shared.metrics);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_frame_the_beginning_is_shown_and_nothing_of_one_that_proves_who_we_are() {
        assert_eq!(wire_text("[\"EOSE\",\"x\"]"), "[\"EOSE\",\"x\"]");
        for frame in ["[\"AUTH\",{\"sig\":\"secret\"}]", " \n[\"AUTH\",{}]", "[ \"AUTH\" , {}]"] {
            assert_eq!(wire_text(frame), "[\"AUTH\",…", "{frame}");
        }
        assert_eq!(wire_text(&"é".repeat(500)), "é".repeat(MAX_SHOWN));
        assert_eq!(wire_text(""), "");
    }
}
