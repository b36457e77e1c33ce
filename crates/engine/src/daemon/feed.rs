//! Follows the store's feed: every page in order, from the beginning, by number; a wake-up that is lost or late costs
//! time, never an entry.

use std::sync::Arc;

use sync_core::store::{EventStore, FeedPage, FeedSeq};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::spawn_store;
use crate::trouble::Trouble;

/// Pages between the store and the manager.
pub(super) const PAGES: usize = 4;
/// Places in one page.
const PAGE: usize = 1_000;
/// Pause after the store could not be read.
const RETRY: std::time::Duration = std::time::Duration::from_secs(1);

/// Sends the feed's pages, stripped of what the manager doesn't act on, until `cancel`. `trouble` says while it can't.
pub(super) async fn follow(
    store: Arc<dyn EventStore>,
    pages: mpsc::Sender<FeedPage>,
    trouble: Trouble,
    cancel: CancellationToken,
) {
    let (wake, mut woken) = watch::channel::<FeedSeq>(0);
    store.on_feed(Box::new(move |head| wake.send(head).is_ok()));
    let mut after = 0;
    let mut told = None;
    loop {
        woken.mark_unchanged();
        let reading = Arc::clone(&store);
        match spawn_store(move || reading.feed(after, PAGE)).await {
            Ok(mut page) => {
                trouble.clear();
                let more = page.upto < page.head;
                after = page.upto;
                page.entries.retain(|entry| entry.change.is_of_interest());
                if told != Some(after) {
                    told = Some(after);
                    if pages.send(page).await.is_err() {
                        return;
                    }
                }
                if more {
                    continue;
                }
            }
            Err(error) => {
                if trouble.raise(&error) {
                    tracing::error!(%error, "can't read the feed");
                }
                tokio::select! {
                    () = cancel.cancelled() => return,
                    () = tokio::time::sleep(RETRY) => continue,
                }
            }
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            changed = woken.changed() => if changed.is_err() { return },
        }
    }
}
