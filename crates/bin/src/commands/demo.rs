//! `demo`: a whole little world in one process, without a network (CONTRACT.md).
//!
//! Three scripted relays that differ, a generated NIP-34 world spread over them, and the daemon, which is told of the
//! first relay alone. What it prints at the end is compared with what the world's own reference accepts.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sync_core::admission::AdmissionConfig;
use sync_core::manager::StatusReport;
use sync_core::model::{ConnectionStatus, RelayUrl};
use sync_core::nostr::event::EventId;
use sync_core::nostr::filter::Filter;
use sync_core::store::EventStore;
use telemetry::Metrics;
use telemetry::spans::Tracer;
use testkit::relay::{DropAfter, NoNegentropy, RelayOptions, RunningRelay, ScriptedRelay};
use testkit::world::{World, WorldSpec};
use tokio_util::sync::CancellationToken;

use super::{Context, now, run};
use crate::cli::DemoArgs;
use crate::exit::{CliError, Exit};
use crate::output::{print, say};
use crate::process;
use crate::store::{self, Access};
use crate::wiring;

/// The service that the world's announcements list.
const DOMAIN: &str = "git.demo.example";
/// How long the world may take to be here.
const PATIENCE: Duration = Duration::from_secs(50);

/// Runs it. Exit 1 where the store doesn't end up as the reference says.
///
/// # Errors
/// It could not be begun, or a store is named: it has one of its own, for as long as it runs.
pub fn run(_: DemoArgs, mut context: Context) -> Result<Exit, CliError> {
    if let Some(store) = &context.common.store {
        let text = format!("--store {}: `demo` has a store of its own, in a folder that goes with it", store.display());
        return Err(CliError::Usage(text));
    }
    let metrics = process::metrics();
    let traces = wiring::install_telemetry(&context, &metrics)?;
    let folder = tempfile::tempdir().map_err(|error| CliError::Failed(format!("no folder for the store: {error}")))?;
    let config = &mut context.config;
    config.service.domain = vec![DOMAIN.to_owned()];
    config.admission = AdmissionConfig { domains: config.service.domain.clone(), ..AdmissionConfig::default() };
    // What is real is left alone.
    config.service.own_relay = None;
    config.service.keys = None;
    config.service.listen = None;
    config.store.path = folder.path().join("store");
    config.store.max_size = 1 << 30;
    config.limits.allow_private_addresses = true;
    config.sync.discover = true;
    config.sync.batch_window = Duration::from_millis(500);
    config.sync.relays.clear();
    config.health.base_backoff = Duration::from_millis(500);
    config.admin.listen = Some(([127, 0, 0, 1], 0).into());
    let runtime = wiring::runtime(context.config.limits.max_relays)?;
    let result = runtime.block_on(demonstrate(context, metrics, traces.tracer()));
    runtime.shutdown_timeout(Duration::from_secs(1));
    traces.finish(wiring::FLUSH);
    result
}

async fn demonstrate(mut context: Context, metrics: Metrics, tracer: Tracer) -> Result<Exit, CliError> {
    let started = Instant::now();
    let relays = start_relays().await.map_err(|error| CliError::Failed(format!("can't start the relays: {error}")))?;
    let urls: Vec<RelayUrl> = relays.iter().map(|relay| relay.url().clone()).collect();
    let world = World::generate(WorldSpec { repos: 24, ..WorldSpec::default() }, &urls, DOMAIN);
    for (index, relay) in relays.iter().enumerate() {
        for event in world.events_for(index) {
            relay.publish(event);
        }
    }
    print(&format!(
        "A world of {} events in {} repositories, spread over three relays:\n  {}  speaks NIP-77; the only one that the daemon \
         is told of\n  {}  has no NIP-77\n  {}  drops its connections\n\n",
        world.events().len(),
        world.repos().count(),
        urls[0],
        urls[1],
        urls[2]
    ))?;

    context.config.sync.bootstrap_relays = vec![urls[0].clone()];
    let store = Arc::new(store::open(&context.config, Access::Judge, Some(metrics.clone()))?);
    let shown = run::shown();
    let mut status = shown.status.subscribe();
    let cancel = CancellationToken::new();
    let serving = {
        let (store, cancel) = (Arc::clone(&store), cancel.clone());
        tokio::spawn(async move { run::serve(&context, store, metrics, tracer, shown, cancel).await })
    };

    let mut expected = world.accepted_ids();
    let mut told = BTreeMap::new();
    let whole = tokio::time::timeout(PATIENCE, async {
        let mut published = false;
        while status.changed().await.is_ok() {
            let report = Arc::clone(&status.borrow_and_update());
            tell(&report, &mut told, started)?;
            let complete = report.relays.iter().filter(|relay| relay.status == ConnectionStatus::Connected).count();
            if complete < urls.len() || stored(&*store)? != expected {
                continue;
            }
            if published {
                break;
            }
            // Everything is here: one more, to see live sync at work.
            published = true;
            let (relay, event) = world.live_issue(1, now());
            expected.insert(event.id);
            print(&format!(
                "{:>6.1} s  a new issue is published on {}\n",
                started.elapsed().as_secs_f64(),
                urls[relay]
            ))?;
            relays[relay].publish(event);
        }
        Ok::<_, CliError>(())
    })
    .await;
    let report = Arc::clone(&status.borrow());
    cancel.cancel();
    serving.await.map_err(|error| CliError::Failed(format!("the daemon ended badly: {error}")))??;
    if let Ok(result) = whole {
        result?;
    }
    let here = stored(&*store)?;
    summarise(&report, &relays, &here, &expected, started)?;
    store.close()?;
    Ok(if here == expected { Exit::Done } else { Exit::Failed })
}

/// Three relays: with NIP-77, without, and one that drops connections a few times.
async fn start_relays() -> std::io::Result<Vec<RunningRelay>> {
    let mut relays = Vec::new();
    for name in ["one", "two", "three"] {
        relays.push(ScriptedRelay::start(RelayOptions { name: name.to_owned(), ..RelayOptions::default() }).await?);
    }
    relays[1].set_faults(|faults| faults.no_negentropy = Some(NoNegentropy::NoticeUnknownCommand));
    relays[2].set_faults(|faults| faults.drop_after = Some(DropAfter { frames: 40, times: Some(2) }));
    Ok(relays)
}

/// Prints what changed.
fn tell(
    report: &StatusReport,
    told: &mut BTreeMap<RelayUrl, ConnectionStatus>,
    started: Instant,
) -> Result<(), CliError> {
    for relay in &report.relays {
        if told.insert(relay.url.clone(), relay.status) != Some(relay.status) {
            let strategy = if relay.strategy.is_empty() { String::new() } else { format!("  by {}", relay.strategy) };
            print(&format!("{:>6.1} s  {}  {}{strategy}\n", started.elapsed().as_secs_f64(), relay.url, relay.status))?;
        }
    }
    Ok(())
}

fn stored(store: &dyn EventStore) -> Result<BTreeSet<EventId>, CliError> {
    let mut ids = BTreeSet::new();
    store.query(&[Filter::new()], now(), &mut |event| {
        ids.insert(event.id);
        ControlFlow::Continue(())
    })?;
    Ok(ids)
}

fn summarise(
    report: &StatusReport,
    relays: &[RunningRelay],
    here: &BTreeSet<EventId>,
    expected: &BTreeSet<EventId>,
    started: Instant,
) -> Result<(), CliError> {
    print("\nrelay                     status             by                   events stored  connections\n")?;
    for relay in &report.relays {
        let connections =
            relays.iter().find(|scripted| *scripted.url() == relay.url).map_or(0, |relay| relay.stats().connections);
        print(&format!(
            "{:<25} {:<18} {:<20} {:>13} {:>12}\n",
            relay.url.as_str(),
            relay.status.to_string(),
            relay.strategy,
            relay.events_stored,
            connections
        ))?;
        if !relay.reason.is_empty() {
            say(format_args!("  {}", crate::output::plain(&relay.reason)));
        }
    }
    let missing = expected.difference(here).count();
    let extra = here.difference(expected).count();
    print(&format!(
        "\n{} events in the store, {} that admission accepts of all that the relays hold: {missing} missing, {extra} too many. {}\n{:.1} s\n",
        here.len(),
        expected.len(),
        if missing + extra == 0 { "Equal." } else { "NOT equal." },
        started.elapsed().as_secs_f64()
    ))
}
