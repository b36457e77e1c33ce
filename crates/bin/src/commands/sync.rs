//! `sync`: one historic sync with each relay that the command line names (CONTRACT.md).

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::once::{self, SyncRequest, SyncResult};
use serde::Serialize;
use std::collections::BTreeMap;
use sync_core::model::{Failure, Fallback, FilterCoverage, RelayUrl, SyncMethod};
use sync_core::store::EventStore;
use sync_core::strategy::Window;
use sync_core::transport::Target;
use telemetry::Metrics;
use telemetry::spans::Tracer;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Context, now};
use crate::cli::SyncArgs;
use crate::exit::{CliError, Exit};
use crate::output::{plain, print, progress, say};
use crate::store::{self, Access};
use crate::wiring;

/// How often the progress bar looks at the store.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How one relay's sync ended: a line of `--json`.
#[derive(Debug, Serialize)]
struct Line {
    relay: RelayUrl,
    strategy: String,
    status: Status,
    reason: String,
    local_before: u64,
    have: u64,
    need: u64,
    received: u64,
    stored: u64,
    duplicate: u64,
    rejected: BTreeMap<String, u64>,
    uploaded: u64,
    upload_refused: BTreeMap<String, u64>,
    rounds: u64,
    bytes_up: u64,
    bytes_down: u64,
    elapsed_ms: u64,
    fallbacks: Vec<Fallback>,
    windows: u64,
    coverage: Vec<FilterCoverage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Complete,
    Degraded,
    Failed,
}

/// The sums of a run: the last line of `--json`.
#[derive(Debug, Default, Serialize)]
struct Summary {
    relays: u64,
    complete: u64,
    degraded: u64,
    failed: u64,
    received: u64,
    stored: u64,
    duplicate: u64,
    rejected: u64,
    uploaded: u64,
    upload_refused: u64,
    bytes_up: u64,
    bytes_down: u64,
    elapsed_ms: u64,
}

/// Runs it. Exit 3 where some relay ended degraded or failed.
///
/// # Errors
/// It could not be begun: usage, store.
pub fn run(args: SyncArgs, context: Context) -> Result<Exit, CliError> {
    let filters = args.filters(now())?;
    let metrics = Metrics::new();
    let traces = wiring::install_telemetry(&context, &metrics)?;
    let exit = synced(&args, &context, filters, metrics, traces.tracer());
    traces.finish(wiring::FLUSH);
    exit
}

/// From the opening of the store to its closing.
fn synced(
    args: &SyncArgs,
    context: &Context,
    filters: Vec<sync_core::nostr::filter::Filter>,
    metrics: Metrics,
    tracer: Tracer,
) -> Result<Exit, CliError> {
    let store = Arc::new(store::open(&context.config, Access::Write, Some(metrics.clone()))?);
    let runtime = wiring::runtime(args.relays.len())?;
    let exit = runtime.block_on(sync_all(args, context, filters, store.clone(), metrics, tracer));
    runtime.shutdown_timeout(Duration::from_secs(1));
    store.close()?;
    exit
}

async fn sync_all(
    args: &SyncArgs,
    context: &Context,
    filters: Vec<sync_core::nostr::filter::Filter>,
    store: Arc<store_lmdb::LmdbStore>,
    metrics: Metrics,
    tracer: Tracer,
) -> Result<Exit, CliError> {
    let mut relays = args.relays.clone();
    relays.sort_unstable();
    relays.dedup();
    let mut config = context.config.clone();
    // The bound is on what announcements bring; all of these were named by a person.
    config.limits.max_connections_per_host = config.limits.max_connections_per_host.max(relays.len());
    let config = &config;
    let connector = wiring::connector(config)?;
    let shared = wiring::shared(config, store.clone(), metrics, tracer)?;
    let cancel = CancellationToken::new();
    wiring::stop_on_signal(cancel.clone())?;
    let started = Instant::now();
    let mut running = JoinSet::new();
    for relay in relays {
        let names: &[SyncMethod] =
            if args.strategies.is_empty() { config.strategies_for(&relay) } else { &args.strategies };
        let request = SyncRequest {
            target: Target { relay: relay.clone(), named: true },
            filters: filters.clone(),
            direction: args.direction.into(),
            dry_run: args.dry_run,
            strategies: context.strategies.order(names),
            rate_limit_cooldown: config.health.rate_limit_cooldown,
            max_future_s: config.limits.max_future.as_secs(),
            keys: config.service.keys.clone(),
            overlap: config.sync.catch_up_overlap,
            seed: wiring::seed(),
        };
        let (connector, shared, cancel) = (Arc::clone(&connector), shared.clone(), cancel.clone());
        let local_before = local_count(&*store, &filters, &relay);
        running.spawn(async move {
            let started = Instant::now();
            let result = once::sync(connector, shared, request, cancel).await;
            line(relay, local_before, result, started.elapsed())
        });
    }

    let bar = progress(None, context.common.quiet || args.json);
    let before = store.event_count()?;
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut summary = Summary::default();
    loop {
        tokio::select! {
            ended = running.join_next() => match ended {
                Some(Ok(line)) => {
                    summary.add(&line);
                    bar.suspend(|| tell(args, &line))?;
                }
                Some(Err(error)) => return Err(CliError::Failed(format!("a sync ended badly: {error}"))),
                None => break,
            },
            _ = look.tick(), if !bar.is_hidden() => {
                let stored = store.event_count()?.saturating_sub(before);
                bar.set_message(format!("{stored} new events, {} relays to go", running.len()));
            }
        }
    }
    bar.finish_and_clear();
    summary.elapsed_ms = millis(started.elapsed());
    if args.json {
        print(&format!("{}\n", serde_json::json!({ "summary": summary })))?;
    } else if summary.relays > 1 {
        say(format_args!(
            "{} relays: {} complete, {} degraded, {} failed",
            summary.relays, summary.complete, summary.degraded, summary.failed
        ));
    }
    Ok(if summary.complete == summary.relays { Exit::Done } else { Exit::Incomplete })
}

/// What we have, or don't want, of what is asked for.
fn local_count(store: &dyn EventStore, filters: &[sync_core::nostr::filter::Filter], relay: &RelayUrl) -> u64 {
    filters.iter().map(|filter| store.view(filter, Window::ALL, relay).count(sync_core::strategy::KeyRange::ALL)).sum()
}

fn line(relay: RelayUrl, local_before: u64, result: SyncResult, took: Duration) -> Line {
    let status = match (result.failures.is_empty(), result.connected) {
        (true, _) => Status::Complete,
        (false, true) => Status::Degraded,
        (false, false) => Status::Failed,
    };
    let reasons: Vec<String> = result.failures.iter().map(Failure::line).collect();
    let counts = result.counts;
    Line {
        relay,
        strategy: result.methods.iter().map(SyncMethod::as_str).collect::<Vec<_>>().join(","),
        status,
        reason: reasons.join("; "),
        local_before,
        have: counts.have,
        need: counts.need,
        received: counts.received,
        stored: counts.stored,
        duplicate: counts.duplicate,
        rejected: counts.rejected,
        uploaded: counts.uploaded,
        upload_refused: counts.upload_refused,
        rounds: counts.rounds,
        bytes_up: counts.bytes_up,
        bytes_down: counts.bytes_down,
        elapsed_ms: millis(took),
        fallbacks: result.fallbacks,
        windows: counts.windows,
        coverage: result.coverage,
    }
}

impl Summary {
    fn add(&mut self, line: &Line) {
        self.relays += 1;
        match line.status {
            Status::Complete => self.complete += 1,
            Status::Degraded => self.degraded += 1,
            Status::Failed => self.failed += 1,
        }
        self.received += line.received;
        self.stored += line.stored;
        self.duplicate += line.duplicate;
        self.rejected += line.rejected.values().sum::<u64>();
        self.uploaded += line.uploaded;
        self.upload_refused += line.upload_refused.values().sum::<u64>();
        self.bytes_up += line.bytes_up;
        self.bytes_down += line.bytes_down;
    }
}

fn tell(args: &SyncArgs, line: &Line) -> Result<(), CliError> {
    if args.json {
        let text = serde_json::to_string(line).map_err(|error| CliError::Failed(error.to_string()))?;
        return print(&format!("{text}\n"));
    }
    for Fallback { from, to, reason } in &line.fallbacks {
        let next = if to.is_empty() { "nothing is left to try" } else { &format!("going on by {to}") };
        say(format_args!("{}: {from} gave up, {next}: {}", line.relay, plain(reason)));
    }
    let status = match line.status {
        Status::Complete => "complete",
        Status::Degraded => "degraded",
        Status::Failed => "failed",
    };
    let mut text = format!(
        "{} {status} by {}: {} needed, {} received, {} stored, {} duplicate",
        line.relay,
        if line.strategy.is_empty() { "nothing" } else { &line.strategy },
        line.need,
        line.received,
        line.stored,
        line.duplicate
    );
    for (what, counts) in [("rejected", &line.rejected), ("refused", &line.upload_refused)] {
        for (reason, count) in counts {
            text.push_str(&format!(", {count} {what} ({reason})"));
        }
    }
    if line.have > 0 || line.uploaded > 0 {
        text.push_str(&format!(", {} to offer, {} uploaded", line.have, line.uploaded));
    }
    text.push_str(&format!(", {} ms", line.elapsed_ms));
    if !line.reason.is_empty() {
        text.push_str(&format!(": {}", plain(&line.reason)));
    }
    print(&format!("{text}\n"))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
