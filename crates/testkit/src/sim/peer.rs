//! One connection: a link, the relay's end of it, and the wire between them, as `engine::driver` has them.

use std::collections::VecDeque;
use std::sync::Arc;

use nostr::event::EventId;
use sync_core::link::{CheckJob, LinkCommand, LinkConfig, LinkNotice, LinkOutput, RelayLink, RelayMemory};
use sync_core::manager::ManagerInput;
use sync_core::model::RelayUrl;
use sync_core::store::{EventStore, FeedSeq, StateWrite};
use sync_core::strategy::Direction;
use sync_core::transport::{Fault, FaultKind};

use super::queue::{Inner, Wire};
use super::shell::{Contact, SILENCE, Sim};
use crate::relay::{Outgoing, RelayConnection};

/// Frames that wait for checks before nothing more is read.
const MAX_BACKLOG: usize = 256;
/// Bytes that wait for the store before nothing more is read.
const MAX_BYTES: usize = 64 << 10;

/// A connection that is open, or ending.
pub(super) struct Peer {
    pub(super) wire: Wire,
    pub(super) link: RelayLink,
    relay: Option<RelayConnection>,
    arrived: VecDeque<String>,
    /// What we sent while the relay didn't read.
    unheard: Vec<String>,
    pub(super) jobs: VecDeque<CheckJob>,
    pub(super) offered: Vec<EventId>,
    pub(super) state: Vec<StateWrite>,
    pub(super) handing_over: bool,
    /// Of events with the checks or the store, or on their way there.
    pub(super) bytes_waiting: usize,
    pub(super) owed: usize,
    pub(super) ending: Option<Option<Fault>>,
    /// Half a message came: nothing that follows can be read.
    torn: bool,
    timer: (u64, Option<u64>),
    late_timers: u64,
    up_at: u64,
    down_at: u64,
    told_at: u64,
    command_at: u64,
}

impl Peer {
    /// When a command that is sent at `at` arrives: after those before it.
    pub(super) fn command_at(&mut self, at: u64) -> u64 {
        self.command_at = self.command_at.max(at);
        self.command_at
    }

    fn may_read(&self) -> bool {
        self.ending.is_none() && self.link.backlog() < MAX_BACKLOG && self.bytes_waiting < MAX_BYTES
    }
}

impl Sim {
    /// The connection is made.
    pub(super) fn open(&mut self, wire: Wire) {
        let plan = &self.plan.relays[wire.relay];
        let (relay, profile) = (plan.url.clone(), plan.profile.clone());
        let config = LinkConfig {
            relay: relay.clone(),
            profile: profile.clone(),
            strategies: self.strategies.clone(),
            direction: Direction::Down,
            dry_run: false,
            rate_limit_cooldown_ms: self.plan.manager.health.rate_limit_cooldown_ms,
            max_future_s: 900,
            keys: self.plan.climate.keys.clone(),
            memory: self.memory_of(&relay),
            seed: self.seed,
        };
        let peer = Peer {
            wire,
            link: RelayLink::new(config),
            relay: Some(plan.core.connect()),
            arrived: VecDeque::new(),
            unheard: Vec::new(),
            jobs: VecDeque::new(),
            offered: Vec::new(),
            state: Vec::new(),
            handing_over: false,
            bytes_waiting: 0,
            owed: 0,
            ending: None,
            torn: false,
            timer: (0, None),
            late_timers: 0,
            up_at: 0,
            down_at: 0,
            told_at: 0,
            command_at: 0,
        };
        self.summary.connections += 1;
        if let Some(process) = &mut self.process {
            process.contacts.insert(wire.relay, Contact::Open(Box::new(peer)));
        }
        self.relay_speaks(wire.relay);
        self.take(ManagerInput::Connected { relay, profile });
        self.attach_outbox(wire.relay);
    }

    /// What the store remembers of a relay.
    fn memory_of(&self, relay: &RelayUrl) -> RelayMemory {
        let prefix = RelayMemory::prefix(relay);
        let [coverage, remembered] =
            RelayMemory::TABLES.map(|table| self.store.read_state_of(table, &prefix).unwrap_or_default());
        let overlap = self.plan.manager.catch_up_overlap_ms / 1000;
        RelayMemory::restore(relay, coverage, remembered, overlap, self.unix())
    }

    pub(super) fn peer(&mut self, wire: Wire) -> Option<&mut Peer> {
        match self.process.as_mut()?.contacts.get_mut(&wire.relay)? {
            Contact::Open(peer) if peer.wire == wire => Some(peer),
            _ => None,
        }
    }

    /// Gives the link something, where the connection isn't ending; then does what it wants.
    pub(super) fn with_link(
        &mut self,
        wire: Wire,
        act: impl FnOnce(&mut RelayLink, &crate::store::MemoryStore, sync_core::Now),
    ) {
        let (now, store) = (self.now(), Arc::clone(&self.store));
        let Some(peer) = self.peer(wire) else { return };
        if peer.ending.is_none() {
            act(&mut peer.link, &store, now);
            self.work(wire);
        }
    }

    pub(super) fn command(&mut self, wire: Wire, command: LinkCommand) {
        self.tell(|| match &command {
            LinkCommand::Live(live) => format!("relay{} live {}", wire.relay, live.len()),
            LinkCommand::Batch(batch) => format!(
                "relay{} batch {} {:?} layer {} filters {} repos {} roots {}",
                wire.relay,
                batch.id,
                batch.reason,
                batch.layer.as_str(),
                batch.filters.len(),
                batch.items.repos.len(),
                batch.items.root_events.len()
            ),
            LinkCommand::Cancel(batch) => format!("relay{} cancel {batch}", wire.relay),
            LinkCommand::Retry => format!("relay{} retry", wire.relay),
        });
        self.with_link(wire, |link, store, now| link.command(command, store, now));
    }

    pub(super) fn link_timer(&mut self, wire: Wire, version: u64) {
        if self.peer(wire).is_some_and(|peer| peer.timer.0 == version) {
            self.with_link(wire, |link, store, now| link.timeout(store, now));
            let now = self.now();
            let Some(peer) = self.peer(wire) else { return };
            let due = peer.link.next_timeout();
            let late = due.is_some_and(|(at, _)| at <= now.mono_ms);
            peer.late_timers = if late { peer.late_timers + 1 } else { 0 };
            if peer.late_timers > 50 {
                self.broke(format!("relay{}: the link's timer is due again and again: {due:?}", wire.relay));
            }
        }
    }

    /// A frame of ours arrives at the relay.
    pub(super) fn up(&mut self, wire: Wire, text: String) {
        let (now, cut_off) = (self.true_now(), self.is_silenced(wire.relay));
        let Some(peer) = self.peer(wire) else { return };
        let Some(relay) = &mut peer.relay else { return };
        if cut_off || relay.is_half_open() {
            peer.unheard.push(text);
            return;
        }
        relay.receive(&text, now);
        self.tell(|| format!("relay{} <- {}", wire.relay, cut(&text)));
        let plan = &self.plan.relays[wire.relay];
        // Reconciliations have a name space of their own; the link counts them in, but for one request beside them.
        let (open, all) = plan.core.with_stats(|s| (s.subscriptions, s.subscriptions + s.reconciliations));
        if let Some(most) = plan.profile.max_subscriptions
            && (open > most as u64 || all > most as u64 + 1)
        {
            self.broke(format!("relay{}: {open} subscriptions are open, {most} may be: {}", wire.relay, cut(&text)));
        }
        self.relay_speaks(wire.relay);
    }

    /// Whether there is no network between us and the relay.
    fn is_silenced(&self, place: usize) -> bool {
        self.cut_off.get(&place) == Some(&FaultKind::Network)
    }

    /// The relay reads what it left unread.
    pub(super) fn hear_held(&mut self, place: usize) {
        let Some(wire) = self.wire_of(place) else { return };
        let unheard = self.peer(wire).map(|peer| std::mem::take(&mut peer.unheard)).unwrap_or_default();
        for text in unheard {
            self.up(wire, text);
        }
    }

    /// Whatever the relay has to say goes on its way.
    pub(super) fn relay_speaks(&mut self, place: usize) {
        let Some(wire) = self.wire_of(place).filter(|_| !self.is_silenced(place)) else { return };
        let (low, high) = self.plan.relays[place].latency;
        loop {
            let latency = self.dice.within(low, high);
            let ms = self.ms;
            let Some(peer) = self.peer(wire) else { return };
            let Some(said) = peer.relay.as_mut().and_then(RelayConnection::poll) else { return };
            peer.down_at = peer.down_at.max(ms + latency);
            let at = peer.down_at;
            match said {
                Outgoing::Text(text) => self.put(at, Inner::Down(wire, text)),
                Outgoing::Drip { text, piece, pause_ms } => {
                    peer.down_at += (text.len() / piece.max(1)) as u64 * pause_ms;
                    let at = peer.down_at;
                    self.put(at, Inner::Down(wire, text));
                }
                Outgoing::Half(_) => {
                    peer.torn = true;
                    self.put(at + SILENCE, Inner::Silent(wire));
                }
                Outgoing::Drop => {
                    let fault = Fault { kind: FaultKind::Network, text: "connection reset by peer".to_owned() };
                    peer.relay = None;
                    self.put(at, Inner::Cut(wire, Some(fault)));
                }
            }
        }
    }

    pub(super) fn silent(&mut self, wire: Wire) {
        let half_open = self.plan.relays[wire.relay].core.faults().half_open || self.is_silenced(wire.relay);
        if self.peer(wire).is_some_and(|peer| peer.torn) || half_open {
            self.end(wire, Some(Fault { kind: FaultKind::Silent, text: "nothing was heard for too long".to_owned() }));
        }
    }

    pub(super) fn down(&mut self, wire: Wire, text: String) {
        self.tell(|| format!("relay{} -> {}", wire.relay, cut(&text)));
        if let Some(peer) = self.peer(wire)
            && !peer.torn
        {
            peer.arrived.push_back(text);
            self.work(wire);
        }
    }

    /// Drains the link, reads what may be read, and so on until neither does anything.
    pub(super) fn work(&mut self, wire: Wire) {
        let (now, store) = (self.now(), Arc::clone(&self.store));
        loop {
            while let Some(output) = self.peer(wire).and_then(|peer| peer.link.poll()) {
                self.carry(wire, output);
            }
            let Some(peer) = self.peer(wire) else { return };
            if !peer.may_read() {
                break;
            }
            let Some(frame) = peer.arrived.pop_front() else { break };
            peer.link.frame(frame, &*store, now);
        }
        self.watch_the_memory(wire);
        self.hand_on(wire);
        let Some(peer) = self.peer(wire) else { return };
        let backlog = peer.link.backlog();
        let due = peer.link.next_timeout().map(|(at, _)| at).filter(|_| peer.ending.is_none());
        let due = due.map(|at| self.at(at));
        if backlog > MAX_BACKLOG {
            self.broke(format!("relay{}: {backlog} frames wait", wire.relay));
        }
        let ms = self.ms;
        let Some(peer) = self.peer(wire) else { return };
        if peer.timer.1 != due || due.is_some_and(|at| at <= ms) {
            peer.timer = (peer.timer.0 + 1, due);
            let version = peer.timer.0;
            if let Some(at) = due {
                self.put(at, Inner::LinkTimer(wire, version));
            }
        }
    }

    fn carry(&mut self, wire: Wire, output: LinkOutput) {
        let relay = self.plan.relays[wire.relay].url.clone();
        match output {
            LinkOutput::Send(text) => {
                self.watch_what_is_sent(wire.relay, &text);
                let (low, high) = self.plan.relays[wire.relay].latency;
                let at = self.ms + self.dice.within(low, high);
                let Some(peer) = self.peer(wire) else { return };
                peer.up_at = peer.up_at.max(at);
                let at = peer.up_at;
                self.put(at, Inner::Up(wire, text));
            }
            LinkOutput::Check(job) => {
                let Some(peer) = self.peer(wire) else { return };
                peer.bytes_waiting += job.json.len();
                peer.jobs.push_back(job);
            }
            LinkOutput::Offered(ids) => {
                let Some(peer) = self.peer(wire) else { return };
                peer.offered.extend(ids);
            }
            LinkOutput::Persist(writes) => {
                let Some(peer) = self.peer(wire) else { return };
                peer.state.extend(writes);
            }
            LinkOutput::Published(verdict) => self.own_relay_said(verdict),
            LinkOutput::BatchDone(report) => {
                let feed_head = self.store.feed_head().unwrap_or(FeedSeq::MAX);
                self.report(wire, ManagerInput::BatchDone { relay, report, feed_head });
            }
            LinkOutput::Notice(notice) => {
                if matches!(notice, LinkNotice::RateLimited { .. }) {
                    self.judge.backoff.limited(wire.relay, self.ms);
                }
                self.report(wire, ManagerInput::Notice { relay, notice });
            }
            LinkOutput::Close(reason) => {
                self.put(self.ms, Inner::Cut(wire, Some(reason)));
            }
            _ => {}
        }
    }

    /// Tells the manager, after what was told before.
    pub(super) fn report(&mut self, wire: Wire, input: ManagerInput) {
        let at = self.told_at(wire);
        self.put(at, Inner::ToManager(input));
    }

    fn told_at(&mut self, wire: Wire) -> u64 {
        let at = self.later(10);
        let Some(peer) = self.peer(wire) else { return at };
        peer.told_at = peer.told_at.max(at);
        peer.told_at
    }

    /// The connection is over; what the store has in hand of it is waited for.
    pub(super) fn end(&mut self, wire: Wire, fault: Option<Fault>) {
        let Some(peer) = self.peer(wire) else { return };
        if peer.ending.is_some() {
            return;
        }
        peer.ending = Some(fault);
        peer.relay = None;
        peer.arrived.clear();
        self.finish(wire);
    }

    pub(super) fn finish(&mut self, wire: Wire) {
        let Some(peer) = self.peer(wire) else { return };
        if peer.owed > 0 {
            return;
        }
        let Some(fault) = peer.ending.clone() else { return };
        let reason = fault.as_ref().map_or_else(|| "closed by us".to_owned(), |fault| fault.text.clone());
        let (now, store) = (self.now(), Arc::clone(&self.store));
        let Some(peer) = self.peer(wire) else { return };
        peer.link.lost(&reason, &*store, now);
        self.work(wire);
        let state = self.peer(wire).map(|peer| std::mem::take(&mut peer.state)).unwrap_or_default();
        // What a full store doesn't take costs time alone.
        let _ = store.write_state(state);
        let at = self.told_at(wire);
        self.put(at, Inner::Ended(wire, fault));
    }
}

fn cut(text: &str) -> String {
    text.chars().take(220).collect()
}
