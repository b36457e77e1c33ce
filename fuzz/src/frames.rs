//! A relay that says anything.

use std::sync::Arc;

use sync_core::Now;
use sync_core::check::{Candidate, EventLimits};
use sync_core::intake::IntakeConfig;
use sync_core::link::{LinkCommand, LinkConfig, LinkOutput, LiveSubscription, RelayLink, RelayMemory};
use sync_core::model::{BatchReason, BatchRequest, Layer, PendingItems, RelayUrl};
use sync_core::nostr::filter::Filter;
use sync_core::store::LocalSets;
use sync_core::strategy::{Direction, RelayProfile, StrategyConfig, StrategyOrder};
use testkit::store::MemoryStore;

/// Frames that are taken from one input.
const MAX_FRAMES: usize = 2_000;
/// What one frame may lead to.
const MAX_OUTPUTS: usize = 20_000;

/// One frame a line. `@n` stands for the wire id of the n-th subscription that was opened, `+` alone lets time pass until the
/// next deadline. Nothing may panic, nothing may grow without bound, and the end of the connection ends every batch.
pub fn frames(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut bench = Bench::new();
    for line in text.lines().take(MAX_FRAMES) {
        match line {
            "+" => bench.pass(),
            line => bench.frame(line),
        }
    }
    bench.link.lost("the end", &bench.store, bench.now);
    bench.drain();
    assert_eq!(bench.reports, 1, "the batch ends once");
}

struct Bench {
    link: RelayLink,
    store: MemoryStore,
    now: Now,
    wires: Vec<String>,
    reports: u32,
}

impl Bench {
    fn new() -> Self {
        let nothing = StrategyConfig::Object(serde_json::Map::new());
        let strategies: StrategyOrder = vec![
            Arc::new(strategy_negentropy::NegentropyStrategy::from_config(&nothing).expect("defaults")),
            Arc::new(strategy_req::ReqStrategy::from_config(&nothing).expect("defaults")),
        ];
        let link = RelayLink::new(LinkConfig {
            relay: RelayUrl::parse("wss://relay.example").expect("valid"),
            profile: RelayProfile::default(),
            strategies,
            direction: Direction::Both,
            dry_run: false,
            rate_limit_cooldown_ms: 65_000,
            max_future_s: 900,
            keys: None,
            memory: RelayMemory::default(),
            seed: 1,
        });
        let store = MemoryStore::new(None, IntakeConfig::default());
        let now = Now { mono_ms: 1_000, unix_s: 1_700_000_000 };
        let mut bench = Self { link, store, now, wires: Vec::new(), reports: 0 };
        let live = LiveSubscription { key: 1, filters: vec![Filter::new()] };
        bench.command(LinkCommand::Live(vec![live]));
        bench.command(LinkCommand::Batch(BatchRequest {
            id: 1,
            reason: BatchReason::NewItems,
            layer: Layer::Repositories,
            filters: vec![Filter::new()],
            items: PendingItems::default(),
            caused_by: None,
            strategies: None,
            run_since: Some(1_600_000_000),
        }));
        bench
    }

    fn command(&mut self, command: LinkCommand) {
        self.link.command(command, &self.store, self.now);
        self.drain();
    }

    fn frame(&mut self, line: &str) {
        let mut frame = line.to_owned();
        for (number, wire) in self.wires.iter().enumerate().rev().take(64) {
            frame = frame.replace(&format!("@{number}"), wire);
        }
        self.link.frame(frame, &self.store, self.now);
        self.drain();
    }

    fn pass(&mut self) {
        let Some((at, _)) = self.link.next_timeout() else { return };
        self.now = self.now.plus_ms(at.saturating_sub(self.now.mono_ms).max(1));
        self.link.timeout(&self.store, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        let limits = EventLimits { max_event_size: 65_536, max_tags: 100 };
        for _ in 0..MAX_OUTPUTS {
            match self.link.poll() {
                None => return,
                Some(LinkOutput::Send(frame)) => {
                    let sent: serde_json::Value = serde_json::from_str(&frame).expect("what is sent is JSON");
                    if matches!(sent[0].as_str(), Some("REQ" | "NEG-OPEN")) {
                        self.wires.push(sent[1].as_str().expect("an id").to_owned());
                    }
                }
                Some(LinkOutput::Check(job)) => {
                    let candidate = Candidate::parse(&job.json, &limits);
                    let known = self.store.known(&[candidate.id()]).expect("in memory").pop().flatten();
                    // A fuzzer can't sign.
                    let (checked, event) = candidate.check(&job, known, |_| true);
                    self.link.checked(checked, &self.store, self.now);
                    if let Some(event) = event {
                        let outcome = self.store.take(&event, None, self.now.unix_s);
                        self.link.settled(checked.token, event.id, &outcome, &self.store, self.now);
                    }
                }
                Some(LinkOutput::BatchDone(_)) => self.reports += 1,
                Some(_) => {}
            }
        }
        panic!("more than {MAX_OUTPUTS} outputs of one frame");
    }
}
