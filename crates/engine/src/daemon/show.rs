//! What the daemon shows of itself: the status document, its health, the numbers that are no events.

use std::collections::HashSet;
use std::sync::Arc;

use sync_core::manager::{ManagerInput, OwnRelayReport, PluginState, StatusReport};
use sync_core::model::ConnectionStatus;
use sync_core::store::{OutboxState, StoreError};
use telemetry::metrics::Tier;
use tokio::sync::watch;

use super::Daemon;
use crate::local::blocking;
use crate::trouble::Trouble;

/// The embedded own relay, as it is shown.
#[derive(Debug, Clone)]
pub struct Serving {
    /// Its address.
    pub url: String,
    /// Says when it has ended.
    pub trouble: Trouble,
}

/// Whether the process can do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It can.
    Ok,
    /// It can't, and why.
    Failing(String),
}

impl Health {
    /// Why it can't work; empty where it can.
    fn trouble(&self) -> &str {
        match self {
            Self::Ok => "",
            Self::Failing(reason) => reason,
        }
    }
}

/// What the daemon shows while it runs.
pub struct Shown {
    /// The status document.
    pub status: watch::Sender<Arc<StatusReport>>,
    /// Whether it can work.
    pub health: watch::Sender<Health>,
}

impl Shown {
    /// Shows a health before there is a status document that has it, in both places.
    pub(super) fn tell(&self, health: Health) {
        self.status.send_modify(|report| Arc::make_mut(report).trouble = health.trouble().to_owned());
        self.health.send_replace(health);
    }
}

impl Daemon {
    /// Tells the manager how the outbox stands. What can't be read must not let a barrier pass: it counts as unanswered.
    pub(super) fn look_at_outbox(&mut self) {
        if self.outbox.is_none() {
            return;
        }
        let store = &self.shared.store;
        // In this order, so that the head covers whatever the own relay has answered by then.
        let read = blocking(|| Ok::<_, StoreError>((store.outbox_state()?, store.feed_head()?)));
        match read {
            Ok((state, feed_head)) => {
                self.shared.metrics.outbox(state.held);
                if self.shared.ingest.note_held(state.held) {
                    self.shared.metrics.limit_hit("max_outbox");
                    tracing::error!(
                        held = state.held,
                        limit = "max_outbox",
                        "limit hit: intake waits for the own relay"
                    );
                }
                self.take(ManagerInput::Outbox { state, feed_head });
            }
            Err(error) => {
                tracing::error!(%error, "can't read the outbox");
                // Whatever is done by now waits for an answer to everything; the next look tells the truth.
                let state = OutboxState { newest: u64::MAX, oldest_open: Some(0), ..OutboxState::default() };
                self.take(ManagerInput::Outbox { state, feed_head: 0 });
            }
        }
    }

    pub(super) fn show(&mut self) {
        let now = self.now();
        let mut report = self.manager.status(now);
        report.version.clone_from(&self.config.version);
        report.events_per_second = self.rates.take(self.shared.metrics.events_synced_total(), now.mono_ms);
        report.plugins = (self.config.plugins)();
        if let Some(Serving { url, trouble }) = &self.config.serving {
            let (up, reason) = (!trouble.is_raised(), trouble.text().unwrap_or_default());
            report.own_relay = Some(OwnRelayReport { embedded: true, url: url.clone(), up, reason, held: 0 });
        }
        let store = &self.shared.store;
        let metrics = &self.shared.metrics;
        let read = blocking(|| Ok::<_, StoreError>((store.event_count()?, store.rejected_count()?, store.size()?)));
        let read = match read {
            Ok((events, (hot, cold), size)) => {
                report.totals.store_events = events;
                metrics.store_events(events);
                metrics.rejected_index(Tier::Hot, hot);
                metrics.rejected_index(Tier::Cold, cold);
                if let Some(size) = size {
                    metrics.store_size(size.used, size.max);
                }
                None
            }
            Err(error) => Some(error.to_string()),
        };
        let others = || self.troubles.iter().find_map(Trouble::text);
        let away = || {
            let own = report.own_relay.as_ref().filter(|own| !own.up)?;
            Some(format!("the own relay {} can't be used: {}; {} events wait for it", own.url, own.reason, own.held))
        };
        let trouble = read.or_else(|| self.shared.ingest.trouble()).or_else(others).or_else(away);
        let health = trouble.map_or(Health::Ok, Health::Failing);
        health.trouble().clone_into(&mut report.trouble);
        self.shown.health.send_if_modified(|shown| std::mem::replace(shown, health.clone()) != health);
        self.measure(&report);
        self.shown.status.send_replace(Arc::new(report));
    }

    /// The numbers of the report.
    fn measure(&self, report: &StatusReport) {
        let (metrics, totals) = (&self.shared.metrics, &report.totals);
        let known: HashSet<&str> = report.relays.iter().map(|relay| relay.url.as_str()).collect();
        metrics.retain_relays(|relay| known.contains(relay));
        for relay in &report.relays {
            metrics.relay_status(relay.url.as_str(), relay.status as u8);
            metrics.relay_health(relay.url.as_str(), relay.health as u8);
        }
        for (url, life) in self.manager.relays() {
            metrics.relay_failures(url.as_str(), life.failures().into());
        }
        for status in ConnectionStatus::ALL {
            let relays = report.relays.iter().filter(|relay| relay.status == status).count();
            metrics.relays_in_status(status.as_str(), relays as u64);
        }
        metrics.relays(totals.relays, totals.connected, totals.dead);
        metrics.followed(totals.repos, totals.root_events, totals.pending_batches);
        if let Some(own) = &report.own_relay {
            metrics.own_up(own.up);
        }
        for state in PluginState::ALL {
            let plugins = report.plugins.iter().filter(|plugin| plugin.state == state).count();
            metrics.plugins(state.as_str(), plugins as u64);
        }
    }
}
