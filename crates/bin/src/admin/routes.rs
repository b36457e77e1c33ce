//! What each address of the admin endpoint answers.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::map_response;
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::get;
use sync_core::manager::StatusReport;
use telemetry::metrics;
use tokio_util::sync::CancellationToken;

use super::events::{self, Streams};
use super::{AdminState, Health, page};
use crate::process;

pub(super) fn router(state: AdminState, shutdown: CancellationToken) -> Router {
    let streams = Streams::new(state.status.clone(), shutdown);
    Router::new()
        .route("/", get(index))
        .route("/status", get(status))
        .route("/healthz", get(healthz))
        .route("/metrics", get(encoded_metrics))
        .with_state(state)
        .route("/events", get(events::events).with_state(streams))
        .layer(map_response(careful))
}

async fn index(State(state): State<AdminState>) -> Html<String> {
    let report = state.status.borrow().clone();
    let health = state.health.borrow().clone();
    Html(page::render(&report, &health))
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

async fn encoded_metrics(State(state): State<AdminState>) -> Response {
    // What changes by itself is looked at when somebody asks.
    state.metrics.process(process::measured());
    let is_healthy = *state.health.borrow() == Health::Ok;
    state.metrics.healthy(is_healthy);
    match state.metrics.encode() {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("metrics: {error}\n")).into_response(),
    }
}

/// What is shown is as old as its request, and carries words of strangers: nothing is kept, guessed at, or run.
async fn careful(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    );
    response
}
