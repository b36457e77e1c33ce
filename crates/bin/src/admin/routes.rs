//! What each address of the admin endpoint answers.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{from_fn, map_response};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::get;
use sync_core::manager::StatusReport;
use telemetry::metrics::Format;
use tokio_util::sync::CancellationToken;

use super::events::{self, Streams};
use super::{AdminState, Health, host, page};
use crate::process;

pub(super) fn router(state: AdminState, shutdown: CancellationToken) -> Router {
    let streams = Streams::new(state.status.clone(), shutdown);
    let mut router = Router::new()
        .route("/", get(index))
        .route("/status", get(status))
        .route("/healthz", get(healthz))
        .route("/metrics", get(encoded_metrics))
        .with_state(state)
        .route("/events", get(events::events).with_state(streams));
    for (path, media_type, text) in page::ASSETS {
        router = router.route(path, get(move || async move { ([(CONTENT_TYPE, media_type)], text) }));
    }
    router.layer(from_fn(host::guard)).layer(map_response(careful))
}

async fn index(State(state): State<AdminState>) -> Html<String> {
    let report = state.status.borrow().clone();
    Html(page::render(&report))
}

async fn status(State(state): State<AdminState>) -> Json<Arc<StatusReport>> {
    Json(state.status.borrow().clone())
}

async fn healthz(State(state): State<AdminState>) -> (StatusCode, String) {
    let health = state.health.borrow().clone();
    match health {
        Health::Ok => (StatusCode::OK, "ok\n".to_owned()),
        Health::Failing(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason + "\n"),
    }
}

async fn encoded_metrics(State(state): State<AdminState>, headers: HeaderMap) -> Response {
    // What changes by itself is looked at when somebody asks.
    state.metrics.process(process::measured());
    let is_healthy = *state.health.borrow() == Health::Ok;
    state.metrics.healthy(is_healthy);
    // A scraper says in several lines what it takes, or in one.
    let accepted: Vec<_> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = Format::accepted(&accepted.join(","));
    match state.metrics.encode(format) {
        Ok(text) => ([(CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("metrics: {error}\n")).into_response(),
    }
}

/// What is shown is as old as its request, and carries words of strangers: nothing is kept, guessed at, run, framed, or told
/// to whoever a link leads to.
async fn careful(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, page::POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
