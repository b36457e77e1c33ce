//! Follows the store's feed into the ring, by number: a wake-up that is lost or late costs time, never an event.

use std::sync::Arc;
use std::time::Duration;

use sync_core::store::{EventStore, FeedSeq, StoreError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Ring, live_events};

/// Places read at a time.
const PAGE: usize = 500;
/// The pause after the store could not be read.
const RETRY: Duration = Duration::from_secs(1);

/// Fills `ring`, which is at `after`, until `cancel`.
pub(crate) async fn follow(
    store: Arc<dyn EventStore>,
    ring: Arc<Ring>,
    mut after: FeedSeq,
    mut woken: watch::Receiver<FeedSeq>,
    cancel: CancellationToken,
) {
    let mut failing = false;
    loop {
        woken.mark_unchanged();
        let reading = Arc::clone(&store);
        let read = tokio::task::spawn_blocking(move || {
            let page = reading.feed(after, PAGE)?;
            let (upto, head) = (page.upto, page.head);
            Ok::<_, StoreError>((live_events(page), upto, head))
        });
        match read.await.unwrap_or_else(|error| Err(StoreError::Io(format!("reading the feed: {error}")))) {
            Ok((events, upto, head)) => {
                failing = false;
                if upto > after {
                    after = upto;
                    ring.push(events, upto);
                }
                if after < head {
                    continue;
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(%error, "the relay can't read the feed; subscribers wait");
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
