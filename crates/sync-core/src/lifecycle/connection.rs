//! How a connection begins and ends, and what each beginning runs (SPEC §6).

use super::{ConnectCase, Env, GIVEN_UP, RelayLife, latest_retry};
use crate::filters::ChunkLimits;
use crate::manager::{Cause, ManagerOutput};
use crate::model::{BatchReason, ConnectionStatus, FailureReason, PendingItems};
use crate::strategy::RelayProfile;
use crate::transport::{Fault, FaultKind, Target};

impl RelayLife {
    /// `check_reconnects` decided: connect. Only from `Disconnected`.
    pub fn connect(&mut self, env: &mut Env<'_>) {
        if self.status() != ConnectionStatus::Disconnected {
            return;
        }
        self.set_status(ConnectionStatus::Connecting, "an attempt is under way".to_owned(), env);
        self.give_up_at = Some(env.now.mono_ms.saturating_add(env.config.connect_timeout_ms.saturating_mul(2)));
        env.out.push_back(ManagerOutput::Connect(Target { relay: self.url.clone(), named: self.named }));
    }

    /// Asks for the end of the connection or attempt; the status changes when that is answered.
    pub fn close(&mut self, reason: &str, env: &mut Env<'_>) {
        if self.status() == ConnectionStatus::Disconnected || self.closing {
            return;
        }
        self.closing = true;
        env.out.push_back(ManagerOutput::Disconnect { relay: self.url.clone(), reason: reason.to_owned() });
    }

    /// The one entry for a first connection and for every later one (SPEC §6).
    pub fn handle_connect_or_reconnect(&mut self, profile: &RelayProfile, env: &mut Env<'_>) {
        if self.status() != ConnectionStatus::Connecting || self.closing {
            return;
        }
        self.give_up_at = None;
        self.health.on_connected(env.now);
        self.health_dirty = true;
        self.book.fit(ChunkLimits::new(env.config.chunk_size, profile));
        self.failed.make_due(|group| group.failures.iter().all(|f| f.reason == FailureReason::ConnectionLost));
        self.failed.clamp(latest_retry(env));

        let case = ConnectCase::of(&self.state, env.now.unix_s, env.config.quick_reconnect_window_ms / 1000);
        self.set_status(ConnectionStatus::Syncing, format!("{}: historic sync in progress", case.as_str()), env);
        match case {
            ConnectCase::FreshStart => self.start_over(BatchReason::InitialConnect, env),
            ConnectCase::StaleReconnect => self.start_over(BatchReason::StaleReconnect, env),
            ConnectCase::QuickReconnect => {
                self.run = BatchReason::QuickReconnect;
                let heard = if self.heard_at > 0 { self.heard_at } else { u64::MAX };
                self.miss_from(self.state.last_connected.min(heard), env);
                self.start_catch_up(env);
                self.retry_due(env);
            }
        }
        self.state.last_connected = env.now.unix_s;
        self.heard_at = env.now.unix_s;
        self.state.disconnected_at = None;
        self.head_dirty = true;
        self.live_dirty = true;
        self.set_daily(env);
        self.plan_everything(env);
    }

    /// The connection or the attempt ended; what was in flight is forgotten here and nowhere later.
    pub fn handle_disconnect(&mut self, fault: Option<&Fault>, env: &mut Env<'_>) {
        if self.status() == ConnectionStatus::Disconnected {
            return;
        }
        if self.status().is_connected() {
            self.state.last_connected = env.now.unix_s;
            // A relay that says nothing is away, whatever keeps the connection alive.
            let mute = fault.is_some_and(|fault| fault.kind == FaultKind::Mute) && self.heard_at > 0;
            let away_since = if mute { self.heard_at.min(env.now.unix_s) } else { env.now.unix_s };
            self.state.disconnected_at = Some(away_since);
        }
        self.forget_pending(env);
        self.closing = false;
        let given_up = Fault { kind: FaultKind::Timeout, text: GIVEN_UP.to_owned() };
        let fault = fault.or(std::mem::take(&mut self.given_up).then_some(&given_up));
        self.give_up_at = None;
        self.daily_at = None;
        self.consolidate_by = None;
        self.live_keys.clear();
        self.live_refused.clear();
        self.failed.stop_retrying();
        self.head_dirty = true;
        self.health_dirty = true;
        let reason = match fault {
            Some(fault) => {
                if self.health.on_failure(fault, env.jitter, env.now) {
                    let text = format!("a lasting fault, not warned of again for a while: {fault}");
                    self.warn(Cause::LastingFault(fault.kind), text, env);
                }
                fault.to_string()
            }
            None => {
                self.health.on_closed(env.now);
                "closed by us".to_owned()
            }
        };
        self.set_status(ConnectionStatus::Disconnected, reason, env);
    }

    /// Reads everything anew: confirmed state cleared, layer 1 first, then what [`crate::plan::compute_actions`] says.
    pub(super) fn start_over(&mut self, reason: BatchReason, env: &mut Env<'_>) {
        self.forget_pending(env);
        self.run = reason;
        self.state.repos.clear();
        self.state.root_events.clear();
        self.state.announcements_synced = false;
        self.state.historic_sync_completed = false;
        self.catch_up_from = None;
        self.full_sync_at = env.now.unix_s;
        self.layer_1 = Some(None);
        self.book.touch_all();
        self.head_dirty = true;
        self.ask_again = self.failed.take_due(env.now.unix_s).ids;
        if !self.live_refused.is_empty() {
            self.miss_from(env.now.unix_s, env);
        }
    }

    /// Something published at or after `second` may have been missed by live sync.
    pub(super) fn miss_from(&mut self, second: u64, env: &Env<'_>) {
        let since = second.saturating_sub(env.config.catch_up_overlap_ms / 1000);
        self.catch_up_from = Some(self.catch_up_from.map_or(since, |from| from.min(since)));
        self.head_dirty = true;
    }

    /// Asks again what is confirmed or in flight, from [`RelayLife::catch_up_from`] on: a batch in flight may have read an
    /// item before what was missed was published. A layer 1 that was never read whole is read whole.
    pub(super) fn start_catch_up(&mut self, env: &Env<'_>) {
        self.catching_up = true;
        self.layer_1 = if self.state.announcements_synced {
            Some(self.catch_up_from)
        } else if self.failed.holds_announcements(env.now.unix_s) || self.asks_announcements() {
            self.layer_1
        } else {
            Some(None)
        };
        self.catch_up.repos.extend(self.state.repos.iter().cloned());
        self.catch_up.root_events.extend(&self.state.root_events);
        for batch in self.in_flight.values() {
            self.catch_up.repos.extend(batch.items.repos.iter().cloned());
            self.catch_up.root_events.extend(&batch.items.root_events);
        }
    }

    pub(super) fn retry_due(&mut self, env: &Env<'_>) {
        let due = self.failed.take_due(env.now.unix_s);
        self.ask_again.extend(due.ids);
        if due.announcements && !self.asks_announcements() {
            self.layer_1 = Some(None);
        }
    }

    pub(super) fn set_daily(&mut self, env: &mut Env<'_>) {
        self.daily_at = env.config.daily_sync_ms.map(|(low, high)| {
            let since = env.now.unix_s.saturating_sub(self.full_sync_at).saturating_mul(1000);
            env.now.mono_ms.saturating_add(env.jitter.between(low, high).saturating_sub(since))
        });
    }

    pub(super) fn check_daily(&mut self, env: &mut Env<'_>) {
        if self.status() == ConnectionStatus::Syncing || self.daily_at.is_none_or(|at| at > env.now.mono_ms) {
            return;
        }
        self.cancel_in_flight(env);
        self.book.rebuild(self.book.limits());
        self.live_dirty = true;
        self.failed.make_due(|_| true);
        self.set_status(ConnectionStatus::Syncing, "daily sync: historic sync in progress".to_owned(), env);
        self.start_over(BatchReason::DailySync, env);
        self.set_daily(env);
        self.plan_everything(env);
    }

    pub(super) fn forget_pending(&mut self, env: &mut Env<'_>) {
        self.layer_1 = None;
        self.catch_up = PendingItems::default();
        self.planned = PendingItems::default();
        self.in_flight.clear();
        self.covers.clear();
        self.underway.clear();
        env.wanted.give_back(std::mem::take(&mut self.asked).into_values().flatten());
        self.ask_again.clear();
        self.caused_by = None;
        self.catching_up = false;
    }
}
