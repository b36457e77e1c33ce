//! Waits for room in a store that has none.
//!
//! While events can't be stored for want of room, connections read nothing (see [`crate::driver`]): what was sent waits at
//! the relays and in the sockets. Every few seconds a record of the size of a large event is written and taken away again;
//! when that works, intake goes on. An outbox as full as it may be counts as a store without room, until the own relay has
//! taken a tenth of it; that is looked at with every answer of that relay. A store that fills up again at once is tried less and less often.

use std::sync::Arc;
use std::time::Duration;

use sync_core::store::{EventStore, FeedSeq, StateTable, StateWrite, StoreError};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::trouble::Trouble;

/// The first pause, and the longest.
const PAUSE: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(300);
/// A store that lasted so long is no longer the one that was full.
const LASTED: Duration = Duration::from_secs(60);
/// Bytes of the record.
const PROBE: usize = 256 * 1024;

/// Clears `full` when there is room again, and says so by `room`; `woken` tells of commits. Ends when nobody listens.
pub(crate) async fn watch(
    store: Arc<dyn EventStore>,
    full: Trouble,
    max_outbox: u64,
    mut woken: watch::Receiver<FeedSeq>,
    room: mpsc::Sender<()>,
) {
    let mut changes = full.subscribe();
    let (mut pause, mut opened) = (PAUSE, None::<Instant>);
    loop {
        tokio::select! {
            () = room.closed() => return,
            shut = changes.wait_for(Option::is_some) => if shut.is_err() { return },
        }
        pause = match opened {
            Some(at) if at.elapsed() < LASTED => (pause * 2).min(LONGEST),
            _ => PAUSE,
        };
        // Where something is held at all, that may be it, and over by now.
        let holds = max_outbox != u64::MAX;
        let has_room = move |store: &dyn EventStore| outbox_has_room(store, max_outbox);
        let mut waited = !holds;
        while full.text().is_some() {
            woken.mark_unchanged();
            let outbox_is_full = holds && matches!(ask(&store, has_room).await, Some(Err(_)));
            if waited || outbox_is_full {
                tokio::select! {
                    () = room.closed() => return,
                    // The own relay's answers are commits, too.
                    Ok(()) = woken.changed(), if outbox_is_full => {}
                    () = tokio::time::sleep(pause) => {}
                }
            }
            let asked = if outbox_is_full { ask(&store, has_room).await } else { ask(&store, probe).await };
            match asked {
                Some(Ok(())) => full.clear(),
                Some(Err(error)) => tracing::debug!(%error, "the store still has no room"),
                None => {}
            }
            waited |= !outbox_is_full;
        }
        // An outbox that fills up again is one at work.
        opened = (!holds).then(Instant::now);
        tracing::info!("the store has room again: intake goes on");
        if room.send(()).await.is_err() {
            return;
        }
    }
}

/// Whether so much less is held for the own relay than may be, `max_outbox`, that intake may go on.
///
/// # Errors
/// Too much is held.
pub(crate) fn outbox_has_room(store: &dyn EventStore, max_outbox: u64) -> Result<(), StoreError> {
    let held = store.outbox_state()?.held;
    if held < max_outbox - max_outbox / 10 { Ok(()) } else { Err(too_many(max_outbox)) }
}

/// Says that as much is held as may be.
pub(crate) fn too_many(max_outbox: u64) -> StoreError {
    StoreError::Full(format!("{max_outbox} events or more wait for the own relay"))
}

async fn ask(
    store: &Arc<dyn EventStore>,
    question: impl FnOnce(&dyn EventStore) -> Result<(), StoreError> + Send + 'static,
) -> Option<Result<(), StoreError>> {
    let store = Arc::clone(store);
    let asked = tokio::task::spawn_blocking(move || question(&*store)).await;
    asked.inspect_err(|error| tracing::error!(%error, "can't look whether the store has room")).ok()
}

/// Whether something can be written.
///
/// # Errors
/// It can't.
pub(crate) fn probe(store: &dyn EventStore) -> Result<(), StoreError> {
    let write = |value| vec![StateWrite::new(StateTable::Probe, *b"room", value)];
    store.write_state(write(Some(vec![0; PROBE])))?;
    store.write_state(write(None))
}
