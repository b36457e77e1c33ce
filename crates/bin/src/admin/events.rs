//! `GET /events`: status changes as server-sent events.
//!
//! A stream starts with the event `status`, the whole report, so that nothing falls between a look at `/status` and the
//! stream. Then comes `relay`, a relay's report, for each relay that is new or changed; `gone`, `{"url":…}`, for each
//! that is no longer known; and `changed`, an object of the report's other members that changed, with `at`. A reader that
//! lags misses states in between, never the last one; one that reads nothing is dropped ([`super::stall`]).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use serde::Serialize;
use serde_json::{Map, Value, json};
use sync_core::manager::StatusReport;
use sync_core::model::RelayUrl;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::server::Unhurried;

/// Streams at a time: fewer than there are connections, so that the other addresses always answer.
pub(super) const MAX_STREAMS: usize = 16;
/// How often an idle stream sends a comment, so that a reader that has gone is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// After what time a browser is to ask again where a stream has ended.
const ASK_AGAIN: Duration = Duration::from_secs(2);

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

pub(super) async fn events(State(streams): State<Streams>, headers: HeaderMap, connection: Unhurried) -> Response {
    // A page of somebody else's that is open in the operator's browser could not read a stream, but take all places.
    if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site") {
        return (StatusCode::FORBIDDEN, "pages from elsewhere get no event stream\n").into_response();
    }
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
    /// Changes up to `seen` that are still to be sent; at most one per relay, and one more.
    due: VecDeque<Change>,
    _place: OwnedSemaphorePermit,
}

/// A change, as small as can be while it waits.
#[derive(Debug)]
enum Change {
    /// Everything.
    All,
    /// The relay at this place of the report.
    Relay(usize),
    Gone(RelayUrl),
    /// Members of the report.
    Parts(Map<String, Value>),
}

fn changes(streams: Streams, place: OwnedSemaphorePermit) -> impl Stream<Item = Result<Event, axum::Error>> {
    let Streams { mut status, shutdown, .. } = streams;
    let seen = status.borrow_and_update().clone();
    let due = VecDeque::from([Change::All]);
    stream::unfold(Reader { status, shutdown, seen, due, _place: place }, |mut reader| async move {
        loop {
            if let Some(change) = reader.due.pop_front() {
                return Some((change.event(&reader.seen), reader));
            }
            tokio::select! {
                () = reader.shutdown.cancelled() => return None,
                // Fails where the sender is gone: nothing will change any more.
                changed = reader.status.changed() => changed.ok()?,
            }
            let latest = reader.status.borrow_and_update().clone();
            match difference(&reader.seen, &latest) {
                Ok(due) => reader.due = due,
                Err(error) => return Some((Err(axum::Error::new(error)), reader)),
            }
            reader.seen = latest;
        }
    })
}

impl Change {
    fn event(&self, report: &StatusReport) -> Result<Event, axum::Error> {
        match self {
            Self::All => Event::default().event("status").retry(ASK_AGAIN).json_data(report),
            Self::Relay(at) => Event::default().event("relay").json_data(&report.relays[*at]),
            Self::Gone(url) => Event::default().event("gone").json_data(json!({ "url": url })),
            Self::Parts(parts) => Event::default().event("changed").json_data(parts),
        }
    }
}

fn difference(before: &StatusReport, after: &StatusReport) -> Result<VecDeque<Change>, serde_json::Error> {
    let mut old: HashMap<_, _> = before.relays.iter().map(|relay| (&relay.url, relay)).collect();
    let relays = after.relays.iter().enumerate();
    let mut changes: VecDeque<_> =
        relays.filter(|(_, relay)| old.remove(&relay.url) != Some(*relay)).map(|(at, _)| Change::Relay(at)).collect();
    let gone = before.relays.iter().filter(|relay| old.contains_key(&relay.url));
    changes.extend(gone.map(|relay| Change::Gone(relay.url.clone())));
    let parts = changed_parts(before, after)?;
    if !parts.is_empty() {
        changes.push_back(Change::Parts(parts));
    }
    Ok(changes)
}

/// The members of `after` that differ, but for the relays; and `at`, where there are any.
fn changed_parts(before: &StatusReport, after: &StatusReport) -> Result<Map<String, Value>, serde_json::Error> {
    // Taken apart, so that a member that is added can't be forgotten here.
    let StatusReport {
        version,
        at,
        trouble,
        own_relay,
        plugins,
        totals,
        events_per_second,
        batches,
        incidents,
        relays: _,
    } = after;
    let mut parts = Map::new();
    part(&mut parts, "version", &before.version, version)?;
    part(&mut parts, "trouble", &before.trouble, trouble)?;
    part(&mut parts, "own_relay", &before.own_relay, own_relay)?;
    part(&mut parts, "plugins", &before.plugins, plugins)?;
    part(&mut parts, "totals", &before.totals, totals)?;
    part(&mut parts, "events_per_second", &before.events_per_second, events_per_second)?;
    part(&mut parts, "batches", &before.batches, batches)?;
    part(&mut parts, "incidents", &before.incidents, incidents)?;
    if !parts.is_empty() {
        parts.insert("at".to_owned(), (*at).into());
    }
    Ok(parts)
}

fn part<T: PartialEq + Serialize>(
    parts: &mut Map<String, Value>,
    name: &str,
    before: &T,
    after: &T,
) -> Result<(), serde_json::Error> {
    if before != after {
        parts.insert(name.to_owned(), serde_json::to_value(after)?);
    }
    Ok(())
}
