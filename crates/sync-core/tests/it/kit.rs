//! A manager on virtual time, with a feed that the test writes and relays that answer as it says.

use std::collections::BTreeMap;
use std::sync::Arc;

use sync_core::Now;
use sync_core::link::{LinkCommand, LinkNotice, LiveSubscription};
use sync_core::manager::{ManagerConfig, ManagerInput, ManagerOutput, RestoredState, SyncManager};
use sync_core::model::{
    BatchOutcome, BatchReport, BatchRequest, ConnectionStatus, Counts, Failure, FailureReason, RelayUrl, RepoAddress,
    SyncMethod, kinds,
};
use sync_core::nostr::event::{Event, EventId, Kind, Signature, Tag};
use sync_core::nostr::key::PublicKey;
use sync_core::nostr::types::Timestamp;
use sync_core::store::{FeedChange, FeedEntry, FeedPage, FeedSeq, StateTable, StateWrite};
use sync_core::strategy::RelayProfile;
use sync_core::transport::{Fault, FaultKind};

pub(crate) const MINUTE: u64 = 60_000;
pub(crate) const HOUR: u64 = 60 * MINUTE;
pub(crate) const START: Now = Now { mono_ms: 1_000_000, unix_s: 1_800_000_000 };

pub(crate) fn relay(name: &str) -> RelayUrl {
    RelayUrl::parse(&format!("wss://{name}.example")).expect("valid")
}

pub(crate) fn repo(name: &str) -> RepoAddress {
    RepoAddress::new(PublicKey::from_slice(&[7; 32]).expect("32 bytes"), name)
}

/// An event whose id is made of its number.
pub(crate) fn event(number: u64, kind: u16, created_at: u64, tags: &[&[&str]]) -> Event {
    Event::new(
        id(number),
        PublicKey::from_slice(&[7; 32]).expect("32 bytes"),
        Timestamp::from_secs(created_at),
        Kind::from_u16(kind),
        tags.iter().map(|tag| Tag::parse(tag.iter().copied()).expect("a tag has a name")),
        "",
        Signature::from_byte_array([0; 64]),
    )
}

pub(crate) fn id(number: u64) -> EventId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    EventId::from_byte_array(bytes)
}

pub(crate) fn announcement(number: u64, name: &str, relays: &[&str]) -> FeedChange {
    let urls: Vec<String> = relays.iter().map(|name| relay(name).to_string()).collect();
    let mut tag = vec!["relays"];
    tag.extend(urls.iter().map(String::as_str));
    accepted(event(number, kinds::ANNOUNCEMENT, number, &[&["d", name], &tag]))
}

pub(crate) fn issue(number: u64, name: &str) -> FeedChange {
    accepted(event(number, kinds::ISSUE, number, &[&["a", &repo(name).to_string()]]))
}

pub(crate) fn accepted(event: Event) -> FeedChange {
    FeedChange::Accepted(Arc::new(event))
}

pub(crate) fn removed(number: u64, kind: u16, name: Option<&str>) -> FeedChange {
    FeedChange::Removed { id: id(number), kind, address: name.map(repo) }
}

pub(crate) fn wanted(number: u64, relays: &[&str]) -> FeedChange {
    FeedChange::Wanted { id: id(number), relays: relays.iter().map(|name| relay(name)).collect() }
}

pub(crate) fn fault(kind: FaultKind) -> Fault {
    Fault { kind, text: format!("{kind:?} happened") }
}

pub(crate) fn bootstrap(name: &str) -> ManagerConfig {
    ManagerConfig { bootstrap_relays: [relay(name)].into(), ..ManagerConfig::default() }
}

/// A manager, the time, and what it said since it was last asked.
pub(crate) struct Rig {
    pub(crate) manager: SyncManager,
    pub(crate) now: Now,
    pub(crate) seq: FeedSeq,
    pub(crate) said: Vec<ManagerOutput>,
    pub(crate) table: BTreeMap<(StateTable, Vec<u8>), Vec<u8>>,
}

impl Rig {
    pub(crate) fn new(config: ManagerConfig) -> Self {
        Self::restored(config, BTreeMap::new(), START)
    }

    pub(crate) fn restored(config: ManagerConfig, table: BTreeMap<(StateTable, Vec<u8>), Vec<u8>>, now: Now) -> Self {
        let rows = |which: StateTable| {
            let rows = table.iter().filter(|((table, _), _)| *table == which);
            rows.map(|((_, key), value)| (key.clone(), value.clone())).collect()
        };
        let state =
            RestoredState::from_rows(rows(StateTable::Relay), rows(StateTable::Failed), rows(StateTable::Health));
        assert_eq!(state.problems, Vec::<String>::new());
        let manager = SyncManager::new(config, state, now);
        let mut rig = Self { manager, now, seq: 0, said: Vec::new(), table };
        rig.drain();
        rig
    }

    pub(crate) fn give(&mut self, input: ManagerInput) {
        self.manager.handle(input, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.manager.poll() {
            if let ManagerOutput::Persist(writes) = &output {
                for StateWrite { table, key, value, .. } in writes.clone() {
                    match value {
                        Some(value) => drop(self.table.insert((table, key), value)),
                        None => drop(self.table.remove(&(table, key))),
                    }
                }
            }
            self.said.push(output);
        }
    }

    /// Lets time pass, giving each timeout at its moment.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end = self.now.plus_ms(ms);
        let mut steps = 0;
        while let Some((at, why)) = self.manager.next_timeout().filter(|(at, _)| *at <= end.mono_ms) {
            let at = at.max(self.now.mono_ms);
            self.now = Now { mono_ms: at, unix_s: START.unix_s + (at - START.mono_ms) / 1000 };
            self.give(ManagerInput::Timeout);
            steps += 1;
            assert!(steps < 10_000, "timeouts don't move time: {why} at {at}");
        }
        self.now = end;
    }

    /// Tells a piece of the feed, which the window keeps waiting.
    pub(crate) fn feed(&mut self, changes: impl IntoIterator<Item = FeedChange>) {
        let entries: Vec<FeedEntry> = changes
            .into_iter()
            .map(|change| {
                self.seq += 1;
                FeedEntry { seq: self.seq, change }
            })
            .collect();
        self.give(ManagerInput::Feed(FeedPage { entries, upto: self.seq, head: self.seq }));
    }

    /// Tells a piece of the feed and lets the window close.
    pub(crate) fn fold(&mut self, changes: impl IntoIterator<Item = FeedChange>) {
        self.feed(changes);
        self.pass(5_000);
    }

    pub(crate) fn connected(&mut self, name: &str) {
        self.connected_as(name, RelayProfile::default());
    }

    pub(crate) fn connected_as(&mut self, name: &str, profile: RelayProfile) {
        self.give(ManagerInput::Connected { relay: relay(name), profile });
    }

    pub(crate) fn lost(&mut self, name: &str) {
        self.give(ManagerInput::Disconnected { relay: relay(name), fault: Some(fault(FaultKind::Closed)) });
    }

    pub(crate) fn notice(&mut self, name: &str, notice: LinkNotice) {
        self.give(ManagerInput::Notice { relay: relay(name), notice });
    }

    /// The relay was last heard at `at`, unix seconds.
    pub(crate) fn heard(&mut self, name: &str, at: u64) {
        self.notice(name, LinkNotice::Heard { at });
    }

    pub(crate) fn done(&mut self, name: &str, batch: &BatchRequest, outcome: BatchOutcome) {
        let report = BatchReport {
            id: batch.id,
            outcome,
            methods: vec![SyncMethod::new("negentropy")],
            counts: Counts::default(),
            fallbacks: Vec::new(),
            coverage: Vec::new(),
        };
        self.give(ManagerInput::BatchDone { relay: relay(name), report: Box::new(report), feed_head: self.seq });
    }

    /// Confirms the batches that were sent since they were last asked for, and those that follow, until none does.
    pub(crate) fn confirm_all(&mut self, name: &str) -> Vec<BatchRequest> {
        let mut all = Vec::new();
        loop {
            let batches = self.batches(name);
            if batches.is_empty() {
                return all;
            }
            for batch in batches {
                self.done(name, &batch, BatchOutcome::Confirmed);
                all.push(batch);
            }
        }
    }

    pub(crate) fn fail_all(&mut self, name: &str, reason: FailureReason) -> Vec<BatchRequest> {
        let batches = self.batches(name);
        for batch in &batches {
            let filter = serde_json::to_string(&batch.filters[0]).expect("json");
            let failure = Failure { filter, window: None, reason: reason.clone(), text: "silence".to_owned() };
            self.done(name, batch, BatchOutcome::Failed(vec![failure]));
        }
        batches
    }

    /// The batches that were sent to a relay and weren't asked for before.
    pub(crate) fn batches(&mut self, name: &str) -> Vec<BatchRequest> {
        let url = relay(name);
        let mut batches = Vec::new();
        self.said.retain(|output| match output {
            ManagerOutput::Link { relay, command: LinkCommand::Batch(batch) } if *relay == url => {
                batches.push(batch.clone());
                false
            }
            _ => true,
        });
        batches
    }

    /// The last live subscriptions that a relay was given since this was last asked.
    pub(crate) fn live(&mut self, name: &str) -> Option<Vec<LiveSubscription>> {
        let url = relay(name);
        let mut live = None;
        self.said.retain(|output| match output {
            ManagerOutput::Link { relay, command: LinkCommand::Live(subs) } if *relay == url => {
                live = Some(subs.clone());
                false
            }
            _ => true,
        });
        live
    }

    /// How often the relay was to be connected since this was last asked, and whether as named by the operator.
    pub(crate) fn connects(&mut self, name: &str) -> Vec<bool> {
        let url = relay(name);
        let mut connects = Vec::new();
        self.said.retain(|output| match output {
            ManagerOutput::Connect(target) if target.relay == url => {
                connects.push(target.named);
                false
            }
            _ => true,
        });
        connects
    }

    pub(crate) fn disconnects(&mut self, name: &str) -> usize {
        let url = relay(name);
        let before = self.said.len();
        self.said.retain(|output| !matches!(output, ManagerOutput::Disconnect { relay, .. } if *relay == url));
        before - self.said.len()
    }

    pub(crate) fn limits(&self, key: &str) -> usize {
        self.said
            .iter()
            .filter(|output| matches!(output, ManagerOutput::LimitHit { limit, .. } if *limit == key))
            .count()
    }

    pub(crate) fn status(&self, name: &str) -> ConnectionStatus {
        self.manager.relays().get(&relay(name)).map_or(ConnectionStatus::Disconnected, |life| life.status())
    }

    pub(crate) fn reason(&self, name: &str) -> String {
        let report = self.manager.status(self.now);
        report.relays.into_iter().find(|r| r.url == relay(name)).map(|r| r.reason).unwrap_or_default()
    }

    /// A bootstrap relay that listed one repository with one issue, synced.
    pub(crate) fn synced() -> Self {
        let mut rig = Self::new(bootstrap("a"));
        rig.fold([announcement(1, "r", &["a"]), issue(2, "r")]);
        rig.connected("a");
        rig.confirm_all("a");
        assert_eq!(rig.status("a"), ConnectionStatus::Connected);
        rig.said.clear();
        rig
    }
}
