//! Writes the manager's records, in order, away from the manager. What can't be written is kept, and goes with the next.

use std::sync::Arc;

use sync_core::store::{EventStore, StateWrite};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::driver::add_state;
use crate::trouble::Trouble;

/// Records that are written together.
pub(super) type Job = Vec<StateWrite>;

/// Jobs that may wait.
const QUEUE: usize = 256;

/// Starts the persister; it ends when the sender is dropped and everything is written.
pub(super) fn start(store: Arc<dyn EventStore>, trouble: Trouble) -> (mpsc::Sender<Job>, JoinHandle<()>) {
    let (sender, mut jobs) = mpsc::channel::<Job>(QUEUE);
    let task = tokio::task::spawn_blocking(move || {
        let mut unwritten = Job::new();
        while let Some(job) = jobs.blocking_recv() {
            add_state(&mut unwritten, job);
            // What has gathered meanwhile goes into the same commit.
            while let Ok(more) = jobs.try_recv() {
                add_state(&mut unwritten, more);
            }
            match store.write_state(unwritten.clone()) {
                Ok(()) => {
                    unwritten.clear();
                    trouble.clear();
                }
                Err(error) => {
                    if trouble.raise(&error) {
                        tracing::error!(%error, "can't write the state of the synchronisation");
                    }
                }
            }
        }
        if !unwritten.is_empty() {
            tracing::error!(records = unwritten.len(), "the last state of the synchronisation is not written");
        }
    });
    (sender, task)
}

#[cfg(test)]
mod tests {
    use sync_core::store::StateTable;

    use super::*;

    #[test]
    fn the_last_version_of_each_record_waits() {
        let write = |key: u8, value: u8| StateWrite::new(StateTable::Relay, [key], Some(vec![value]));
        let mut waiting = vec![write(1, 1), write(2, 1)];
        add_state(&mut waiting, vec![write(1, 2), write(3, 1)]);
        assert_eq!(waiting, [write(2, 1), write(1, 2), write(3, 1)]);
    }

    #[test]
    fn what_may_come_to_nothing_replaces_only_what_may_too() {
        let sure = StateWrite::new(StateTable::Relay, [1], None);
        let id = sync_core::nostr::event::EventId::from_byte_array([1; 32]);
        let unsure = |value| StateWrite { value: Some(vec![value]), if_known: vec![id], ..sure.clone() };
        let mut waiting = vec![sure.clone()];
        add_state(&mut waiting, vec![unsure(1)]);
        add_state(&mut waiting, vec![unsure(2)]);
        assert_eq!(waiting, [sure.clone(), unsure(2)]);
        add_state(&mut waiting, vec![sure.clone()]);
        assert_eq!(waiting, [sure]);
    }
}
