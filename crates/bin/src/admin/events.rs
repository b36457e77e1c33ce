//! `GET /events`: status changes as server-sent events.
//!
//! A stream starts with the event `status`, the whole report, so that nothing falls between a look at `/status` and the
//! stream. Then comes `relay`, a relay's report, for each relay that is new or changed, and `gone`, `{"url":…}`, for each
//! that is no longer known. A reader that lags misses states in between, never the last one.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use serde_json::json;
use sync_core::manager::{RelayReport, StatusReport};
use sync_core::model::RelayUrl;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::server::Unhurried;

/// Streams at a time: fewer than there are connections, so that the other addresses always answer.
pub(super) const MAX_STREAMS: usize = 16;
/// How often an idle stream sends a comment, so that a reader that has gone is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What streams are made from.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    status: watch::Receiver<Arc<StatusReport>>,
    shutdown: CancellationToken,
    places: Arc<Semaphore>,
}

impl Streams {
    pub(super) fn new(status: watch::Receiver<Arc<StatusReport>>, shutdown: CancellationToken) -> Self {
        Self { status, shutdown, places: Arc::new(Semaphore::new(MAX_STREAMS)) }
    }
}

pub(super) async fn events(State(streams): State<Streams>, connection: Unhurried) -> Response {
    let Ok(place) = streams.places.clone().try_acquire_owned() else {
        let text = format!("all {MAX_STREAMS} event streams are taken; close one, or ask /status\n");
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    connection.lift_deadline();
    Sse::new(changes(streams, place)).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response()
}

/// A reader's place in the changes.
struct Reader {
    status: watch::Receiver<Arc<StatusReport>>,
    shutdown: CancellationToken,
    seen: Arc<StatusReport>,
    /// Changes up to `seen` that are still to be sent; at most one per relay.
    due: VecDeque<Change>,
    _place: OwnedSemaphorePermit,
}

#[derive(Debug, PartialEq)]
enum Change {
    All(Arc<StatusReport>),
    Relay(RelayReport),
    Gone(RelayUrl),
}

fn changes(streams: Streams, place: OwnedSemaphorePermit) -> impl Stream<Item = Result<Event, axum::Error>> {
    let Streams { mut status, shutdown, .. } = streams;
    let seen = status.borrow_and_update().clone();
    let due = VecDeque::from([Change::All(seen.clone())]);
    stream::unfold(Reader { status, shutdown, seen, due, _place: place }, |mut reader| async move {
        loop {
            if let Some(change) = reader.due.pop_front() {
                return Some((change.event(), reader));
            }
            tokio::select! {
                () = reader.shutdown.cancelled() => return None,
                // Fails where the sender is gone: nothing will change any more.
                changed = reader.status.changed() => changed.ok()?,
            }
            let latest = reader.status.borrow_and_update().clone();
            reader.due = difference(&reader.seen, &latest);
            reader.seen = latest;
        }
    })
}

impl Change {
    fn event(&self) -> Result<Event, axum::Error> {
        match self {
            Self::All(report) => Event::default().event("status").json_data(report),
            Self::Relay(report) => Event::default().event("relay").json_data(report),
            Self::Gone(url) => Event::default().event("gone").json_data(json!({ "url": url })),
        }
    }
}

fn difference(before: &StatusReport, after: &StatusReport) -> VecDeque<Change> {
    let mut old: HashMap<_, _> = before.relays.iter().map(|relay| (&relay.url, relay)).collect();
    let mut changes: VecDeque<_> = after
        .relays
        .iter()
        .filter(|relay| old.remove(&relay.url) != Some(relay))
        .map(|relay| Change::Relay(relay.clone()))
        .collect();
    let gone = before.relays.iter().filter(|relay| old.contains_key(&relay.url));
    changes.extend(gone.map(|relay| Change::Gone(relay.url.clone())));
    changes
}
