//! Writes the manager's records, in order, away from the manager.

use std::sync::Arc;

use sync_core::store::{EventStore, StateWrite};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::trouble::Trouble;

/// Records that are written together.
pub(super) type Job = Vec<StateWrite>;

/// Jobs that may wait.
const QUEUE: usize = 256;

/// Starts the persister; it ends when the sender is dropped and everything is written.
pub(super) fn start(store: Arc<dyn EventStore>, trouble: Trouble) -> (mpsc::Sender<Job>, JoinHandle<()>) {
    let (sender, mut jobs) = mpsc::channel::<Job>(QUEUE);
    let task = tokio::task::spawn_blocking(move || {
        while let Some(mut job) = jobs.blocking_recv() {
            // What has gathered meanwhile goes into the same commit.
            while let Ok(more) = jobs.try_recv() {
                job.extend(more);
            }
            match store.write_state(job) {
                Ok(()) => trouble.clear(),
                Err(error) if trouble.raise(&error) => {
                    tracing::error!(%error, "can't write the state of the synchronisation");
                }
                Err(_) => {}
            }
        }
    });
    (sender, task)
}
