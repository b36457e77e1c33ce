//! What a seed stands for: the world, the relays and their lasting faults, the process's settings, and what happens when.

use std::collections::{BTreeSet, HashMap};

use nostr::event::{Event, EventId};
use sync_core::lifecycle::relay_key;
use sync_core::manager::ManagerConfig;
use sync_core::model::RelayUrl;
use sync_core::strategy::RelayProfile;
use sync_core::time::Jitter;
use sync_core::transport::FaultKind;

use super::own::OwnPlan;
use super::troubles::{self, Trouble};
use super::weather::{self, Climate, Loss};
use crate::relay::{Faults, RelayCore, RelayOptions};
use crate::world::{World, WorldSpec};

pub(super) const DOMAIN: &str = "git.sim.example";
pub(super) const MINUTE: u64 = 60_000;
pub(super) const HOUR: u64 = 60 * MINUTE;
/// Of a large system.
const REPOS_PER_RELAY: usize = 20;

/// What may be asked of a relay in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Honesty {
    /// Everything it holds is served to who asks well enough: it must end `Connected`, its events in the store.
    Whole,
    /// It keeps something back in a way that shows: it may end `ConnectedDegraded`, with a reason. `Connected` means
    /// that everything is in the store all the same.
    Named,
    /// It spoils what it serves, or is served, in a way that a client can't tell from the truth: no claim is made.
    Lossy,
}

/// One relay.
pub(super) struct RelayPlan {
    pub(super) url: RelayUrl,
    /// The key of its records.
    pub(super) key: Vec<u8>,
    pub(super) core: RelayCore,
    pub(super) lasting: Faults,
    pub(super) profile: RelayProfile,
    pub(super) honesty: Honesty,
    pub(super) latency: (u64, u64),
}

/// Something that happens in the world.
#[derive(Debug, Clone)]
pub(super) enum Happening {
    /// A relay gets into trouble, beside what is always wrong with it.
    Trouble(usize, Trouble),
    /// It is over.
    Mend(usize),
    /// All its connections break.
    Drop(usize),
    /// The process is killed; what was not committed is gone. It starts again after this many milliseconds.
    Crash(u64),
    /// The process is stopped in order, and starts again after this many milliseconds.
    Stop(u64),
    /// The store has no room.
    Full,
    /// It has room again.
    Room,
    /// The process's clock is this many seconds off from here on.
    Clock(i64),
    /// A relay is started again without a part of what it held.
    Lose(usize, Loss),
    /// These can't be reached: an attempt shows this, and without a network nothing is heard on open connections either.
    CutOff(Vec<usize>, FaultKind),
    /// These can be reached again.
    Joined(Vec<usize>),
    /// An event is published; which one depends on the number.
    Publish(u64),
    /// All troubles are over.
    Peace,
}

/// Everything.
pub(super) struct Plan {
    pub(super) world: World,
    pub(super) relays: Vec<RelayPlan>,
    pub(super) bootstrap: Vec<usize>,
    /// The place of an external own relay, where there is one.
    pub(super) own: Option<usize>,
    pub(super) manager: ManagerConfig,
    pub(super) happenings: Vec<(u64, Happening)>,
    pub(super) climate: Climate,
    /// When peace begins, milliseconds.
    pub(super) peace: u64,
    /// Unix time of the start.
    pub(super) start: u64,
    /// The slowest check and commit, milliseconds.
    pub(super) slow: u64,
    /// Steps of a run that isn't busy without end.
    pub(super) max_steps: u64,
    places: HashMap<RelayUrl, usize>,
}

impl Plan {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice(Jitter::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed));
        let count = dice.below(4) + 2;
        let urls = urls(count);
        // Numbers of its own, so that the rest of a seed stays what it is.
        let mut weather = Dice(Jitter::new(seed.wrapping_mul(0xd134_2543_de82_ef95) ^ 0x3ea7));
        let mut climate = Climate::new(&mut weather, seed, count);
        let mut spec = WorldSpec {
            seed: seed % 64 + 1,
            repos: dice.below(6) + 2,
            authors: 6,
            roots_per_repo: dice.below(4),
            replies_per_root: dice.below(5),
            hops: dice.below(3) + 1,
            superseded: dice.below(3),
            chains: dice.below(2),
            withdrawn: dice.below(2),
            unlisted: dice.below(3),
            orphans: dice.below(4),
            deletions: dice.below(4),
            expiring: dice.below(3),
            ..WorldSpec::default()
        };
        if climate.is_cramped() {
            // An announcement that was kept out is forgotten with its row, and counts as a version no longer.
            spec.withdrawn = 0;
        }
        let start = spec.end() + 10_000;
        let world = World::generate(spec, &urls, DOMAIN);
        let mut relays = relays(&mut dice, &climate, &world, &urls);
        let mut bootstrap = vec![0];
        bootstrap.extend((1..count).filter(|_| dice.one_in(6)));
        let mut manager = settings(&mut dice, seed, bootstrap.iter().map(|place| urls[*place].clone()).collect());
        let peace = match dice.below(4) {
            0 => dice.within(2 * MINUTE, 20 * MINUTE),
            1 | 2 => dice.within(20 * MINUTE, 6 * HOUR),
            _ => dice.within(6 * HOUR, 40 * HOUR),
        };
        if climate.jumps || climate.is_cramped() || climate.weeks.is_some() {
            // What was missed by a wrong clock comes with the next full sync. So does what was forgotten: a row of the
            // rejected index after a week, and with it that a version was seen that supersedes what others serve.
            manager.daily_sync_ms = ManagerConfig::default().daily_sync_ms;
        }
        let peace = climate.weeks.unwrap_or(peace);
        let mut happenings = happenings(&mut dice, count, peace);
        happenings.extend(weather::happenings(&mut weather, &climate, count, peace));
        let mut urls = urls;
        let own = OwnPlan::new(seed).map(|mut own| {
            own.add(&mut relays, &mut bootstrap, &mut climate, &mut manager);
            urls.extend(relays.last().map(|relay| relay.url.clone()));
            happenings.extend(own.happenings(count, peace));
            count
        });
        // A stable order: what is due at one moment happens in the order of its making.
        happenings.sort_by_key(|(at, _)| *at);
        let slow = [5, 50, 1_500][dice.below(3)];
        let (max_steps, places) = (3_000_000, places(&urls));
        Self { world, relays, bootstrap, own, manager, happenings, climate, peace, start, slow, max_steps, places }
    }

    /// Hundreds of relays, each of them the home of twenty repositories, for an hour: what is wrong with the relays, and
    /// what happens to them, is of the same kinds.
    pub(super) fn large(seed: u64, count: usize) -> Self {
        let mut dice = Dice(Jitter::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1a26e));
        let urls = urls(count);
        let climate = Climate::mild(&mut dice, seed, count);
        let spec = WorldSpec {
            seed: seed % 64 + 1,
            repos: count * REPOS_PER_RELAY,
            authors: count * 4,
            roots_per_repo: 1,
            replies_per_root: 1,
            hops: 3,
            superseded: count / 4,
            chains: count / 4,
            withdrawn: count / 20,
            unlisted: count / 4,
            orphans: count / 4,
            deletions: count / 20,
            expiring: count / 20,
            ..WorldSpec::default()
        };
        let start = spec.end() + 10_000;
        let world = World::generate(spec, &urls, DOMAIN);
        let mut relays = relays(&mut dice, &climate, &world, &urls);
        // Where it keeps something back, whatever lies behind that is never heard of.
        relays[0].lasting = Faults::default();
        relays[0].core.set_faults(|faults| *faults = Faults::default());
        relays[0].honesty = Honesty::Whole;
        // Every repository is followed there: in twenty subscriptions they have no room.
        relays[0].profile = RelayProfile { max_subscriptions: Some(1_000), ..RelayProfile::default() };
        let bootstrap = vec![0];
        let bootstrap_relays = BTreeSet::from([urls[0].clone()]);
        let manager =
            ManagerConfig { domains: vec![DOMAIN.to_owned()], bootstrap_relays, seed, ..ManagerConfig::default() };
        let peace = HOUR;
        let mut happenings = happenings(&mut dice, count, peace);
        happenings.extend(weather::happenings(&mut dice, &climate, count, peace));
        happenings.sort_by_key(|(at, _)| *at);
        let (slow, max_steps, places) = (50, 1_000_000 * count as u64, places(&urls));
        let own = None;
        Self { world, relays, bootstrap, own, manager, happenings, climate, peace, start, slow, max_steps, places }
    }

    /// How long after the troubles everything must be complete: dead relays are tried once a day, and what was forgotten
    /// comes with a full sync, one link of a chain after the other.
    pub(super) fn patience(&self) -> u64 {
        if self.climate.is_cramped() { 240 * HOUR } else { 60 * HOUR }
    }

    /// A relay's place.
    pub(super) fn place(&self, url: &RelayUrl) -> Option<usize> {
        self.places.get(url).copied()
    }
}

fn urls(count: usize) -> Vec<RelayUrl> {
    (0..count).filter_map(|n| RelayUrl::parse(&format!("wss://relay{n}.sim.example")).ok()).collect()
}

fn places(urls: &[RelayUrl]) -> HashMap<RelayUrl, usize> {
    urls.iter().enumerate().map(|(place, url)| (url.clone(), place)).collect()
}

fn relays(dice: &mut Dice, climate: &Climate, world: &World, urls: &[RelayUrl]) -> Vec<RelayPlan> {
    let held = |place| world.events_for(place);
    urls.iter().enumerate().map(|(place, url)| relay(dice, climate, place, url.clone(), held(place))).collect()
}

fn settings(dice: &mut Dice, seed: u64, bootstrap: BTreeSet<RelayUrl>) -> ManagerConfig {
    ManagerConfig {
        domains: vec![DOMAIN.to_owned()],
        bootstrap_relays: bootstrap,
        chunk_size: [1, 2, 5, 100][dice.below(4)],
        consolidation_threshold: [4, 20, 70][dice.below(3)],
        batch_window_ms: [5_000, 500][dice.below(2)],
        settle_ms: [0, 6_000][dice.below(2)],
        daily_sync_ms: if dice.one_in(5) { None } else { Some((23 * HOUR, 25 * HOUR)) },
        seed,
        ..ManagerConfig::default()
    }
}

fn relay(dice: &mut Dice, climate: &Climate, place: usize, url: RelayUrl, events: Vec<Event>) -> RelayPlan {
    let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
    let limit = [500, 500, 100, 20, 7][dice.below(5)];
    let options = RelayOptions {
        name: url.host().to_owned(),
        events,
        verify: false,
        default_limit: limit,
        max_limit: limit,
        frame_limit: [60_000, 4_096][dice.below(2)],
        eose_hint: dice.one_in(4),
        require_auth: climate.asks[place],
        ..RelayOptions::default()
    };
    let mut lasting = Faults::default();
    let mut honesty = Honesty::Whole;
    for _ in 0..[0, 0, 1, 1, 2, 3][dice.below(6)] {
        match troubles::lasting(dice, &mut lasting, &ids) {
            Honesty::Lossy => honesty = Honesty::Lossy,
            Honesty::Named if honesty == Honesty::Whole => honesty = Honesty::Named,
            _ => {}
        }
    }
    let mut profile = RelayProfile { supported_nips: vec![1, 11, 77], ..RelayProfile::default() };
    if !dice.one_in(3) {
        profile.max_limit = Some(limit);
    }
    if !dice.one_in(3) {
        profile.max_subscriptions = lasting.max_subscriptions;
    }
    if dice.one_in(6) {
        // Few filters in a subscription, and chunks of few items: more subscriptions than there may be.
        profile.max_filters = Some(dice.below(4) + 1);
        honesty = if honesty == Honesty::Whole { Honesty::Named } else { honesty };
    }
    if climate.asks[place] && climate.keys.is_none() {
        honesty = if honesty == Honesty::Whole { Honesty::Named } else { honesty };
    }
    let core = RelayCore::new(options);
    core.set_faults(|faults| *faults = lasting.clone());
    let slowest = [2, 40, 400, 3_000][dice.below(4)];
    let key = relay_key(&url).into_bytes();
    RelayPlan { url, key, core, lasting, profile, honesty, latency: (1, slowest) }
}

fn happenings(dice: &mut Dice, relays: usize, peace: u64) -> Vec<(u64, Happening)> {
    let mut all = Vec::new();
    for relay in 0..relays {
        let mut at = dice.within(0, peace / 2);
        while at < peace && !dice.one_in(4) {
            let lasts = match dice.below(3) {
                0 => dice.within(1_000, 2 * MINUTE),
                1 => dice.within(2 * MINUTE, 40 * MINUTE),
                _ => dice.within(40 * MINUTE, 5 * HOUR),
            };
            all.push((at, Happening::Trouble(relay, troubles::passing(dice))));
            all.push((at + lasts, Happening::Mend(relay)));
            at += lasts + dice.within(1_000, (peace / 3).max(2_000));
        }
        for _ in 0..dice.below(5) {
            all.push((dice.within(0, peace), Happening::Drop(relay)));
        }
    }
    for _ in 0..dice.below(4) {
        let away = if dice.one_in(2) { dice.within(10, MINUTE) } else { dice.within(MINUTE, 2 * HOUR) };
        let at = if dice.one_in(3) { dice.within(0, MINUTE) } else { dice.within(0, peace) };
        all.push((at, if dice.one_in(4) { Happening::Stop(away) } else { Happening::Crash(away) }));
    }
    if dice.one_in(5) {
        let at = dice.within(0, peace);
        all.push((at, Happening::Full));
        all.push((at + dice.within(1_000, 30 * MINUTE), Happening::Room));
    }
    for number in 0..dice.below(20) as u64 {
        all.push((dice.within(0, peace), Happening::Publish(number)));
    }
    all.retain(|(at, _)| *at < peace);
    all.push((peace, Happening::Peace));
    all
}

/// Random numbers, as a plan wants them.
#[derive(Debug, Clone)]
pub(crate) struct Dice(pub(crate) Jitter);

impl Dice {
    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.0.between(0, end.max(1) as u64 - 1)).unwrap_or_default()
    }

    pub(crate) fn within(&mut self, low: u64, high: u64) -> u64 {
        self.0.between(low, high.max(low))
    }

    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}
