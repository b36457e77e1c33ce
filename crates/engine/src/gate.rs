//! Waits for room in a store that has none.
//!
//! While events can't be stored for want of room, connections read nothing (see [`crate::driver`]): what was sent waits at
//! the relays and in the sockets. Every few seconds a record of the size of a large event is written and taken away again;
//! when that works, intake goes on. An outbox as full as it may be counts as a store without room, until the own relay has
//! taken a tenth of it. A store that fills up again at once is tried less and less often.

use std::sync::Arc;
use std::time::Duration;

use sync_core::store::{EventStore, StateTable, StateWrite, StoreError};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::trouble::Trouble;

/// The first pause, and the longest.
const PAUSE: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(300);
/// A store that lasted so long is no longer the one that was full.
const LASTED: Duration = Duration::from_secs(60);
/// Bytes of the record.
const PROBE: usize = 256 * 1024;

/// Clears `full` when there is room again, and says so by `room`. Ends when nobody listens.
pub(crate) async fn watch(store: Arc<dyn EventStore>, full: Trouble, room: mpsc::Sender<()>) {
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
        while full.text().is_some() {
            tokio::select! {
                () = room.closed() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let probing = Arc::clone(&store);
            match tokio::task::spawn_blocking(move || probe(&*probing)).await {
                Ok(Ok(())) => full.clear(),
                Ok(Err(error)) => tracing::debug!(%error, "the store still has no room"),
                Err(error) => tracing::error!(%error, "can't look whether the store has room"),
            }
        }
        opened = Some(Instant::now());
        tracing::info!("the store has room again: intake goes on");
        if room.send(()).await.is_err() {
            return;
        }
    }
}

/// Whether what is accepted may be held for the own relay, where there is an external one.
///
/// # Errors
/// It may not: too much is held already.
pub(crate) fn outbox_has_room(store: &dyn EventStore) -> Result<(), StoreError> {
    let state = store.outbox_state()?;
    if state.has_room() {
        Ok(())
    } else {
        Err(StoreError::Full(format!("{} events wait for the own relay", state.held)))
    }
}

/// Whether something can be written.
///
/// # Errors
/// It can't.
pub(crate) fn probe(store: &dyn EventStore) -> Result<(), StoreError> {
    outbox_has_room(store)?;
    let write = |value| vec![StateWrite::new(StateTable::Probe, *b"room", value)];
    store.write_state(write(Some(vec![0; PROBE])))?;
    store.write_state(write(None))
}
