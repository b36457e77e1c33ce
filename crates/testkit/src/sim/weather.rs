//! What surrounds all relays of a seed: the process's clock, the network, relays that lose what they held or ask who we
//! are, small bounds, and how long all of it lasts.

use nostr::key::Keys;
use sync_core::intake::IntakeConfig;
use sync_core::transport::FaultKind;

use super::plan::{Dice, HOUR, Happening, MINUTE};
use crate::world::keys;

const DAY: u64 = 24 * HOUR;

/// The person of the world whose keys the service has.
const SERVICE: u64 = 2_000_000;

/// What a relay has after it lost something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// Nothing.
    Everything,
    /// What it held at the start.
    Backup,
    /// The older part of what it holds: so many of a hundred.
    Newest(u64),
}

/// What stays as it is.
pub(super) struct Climate {
    /// The service's keys (NIP-42).
    pub(super) keys: Option<Keys>,
    /// Which relays ask who we are, by place.
    pub(super) asks: Vec<bool>,
    /// The bounds of the rejected index.
    pub(super) intake: IntakeConfig,
    /// How many milliseconds of troubles there are, where it is weeks of them.
    pub(super) weeks: Option<u64>,
    /// The process's clock jumps.
    pub(super) jumps: bool,
    /// How far the process's clock is off when all troubles are over, seconds.
    pub(super) skew: i64,
}

impl Climate {
    pub(super) fn new(dice: &mut Dice, seed: u64, relays: usize) -> Self {
        let asked = dice.one_in(4);
        let asks = (0..relays).map(|_| asked && dice.one_in(2)).collect();
        let has_keys = dice.below(3) > 0;
        let mut intake = IntakeConfig::default();
        if dice.one_in(6) {
            intake.max_rejected = dice.within(4, 40);
        }
        let weeks = dice.one_in(12).then(|| dice.within(14 * DAY, 35 * DAY));
        let jumps = dice.one_in(4);
        let skew = if jumps && dice.one_in(3) { signed(dice, 10 * 60) } else { 0 };
        Self { keys: has_keys.then(|| keys(seed, SERVICE)), asks, intake, weeks, jumps, skew }
    }

    /// Keys and relays that ask for them, and nothing else.
    pub(super) fn mild(dice: &mut Dice, seed: u64, relays: usize) -> Self {
        let asks = (0..relays).map(|_| dice.one_in(8)).collect();
        let keys = Some(keys(seed, SERVICE));
        Self { keys, asks, intake: IntakeConfig::default(), weeks: None, jumps: false, skew: 0 }
    }

    /// Whether rows of the rejected index are let go of because there are too many.
    pub(super) fn is_cramped(&self) -> bool {
        self.intake.max_rejected != IntakeConfig::default().max_rejected
    }
}

/// What happens to the clock, the network, and the relays' disks before `peace`.
pub(super) fn happenings(dice: &mut Dice, climate: &Climate, relays: usize, peace: u64) -> Vec<(u64, Happening)> {
    let mut all = Vec::new();
    if climate.jumps {
        for _ in 0..dice.below(3) + 1 {
            let most = [20 * 60, 6 * 3_600, 4 * 86_400][dice.below(3)];
            let (at, off) = (dice.within(0, peace), signed(dice, most));
            all.push((at, Happening::Clock(off)));
            if dice.one_in(2) {
                all.push((at + dice.within(1_000, DAY), Happening::Clock(0)));
            }
        }
    }
    if dice.one_in(4) {
        for _ in 0..dice.below(2) + 1 {
            let loss = match dice.below(3) {
                0 => Loss::Everything,
                1 => Loss::Backup,
                _ => Loss::Newest(dice.within(10, 90)),
            };
            all.push((dice.within(0, peace), Happening::Lose(dice.below(relays), loss)));
        }
    }
    if dice.one_in(4) {
        for _ in 0..dice.below(2) + 1 {
            let everybody = dice.one_in(2);
            let places: Vec<usize> = (0..relays).filter(|_| everybody || dice.one_in(2)).collect();
            let lasts = [dice.within(MINUTE, HOUR), dice.within(HOUR, DAY)][dice.below(2)];
            let (at, kind) = (dice.within(0, peace), [FaultKind::Network, FaultKind::Dns][dice.below(2)]);
            all.push((at, Happening::CutOff(places.clone(), kind)));
            all.push((at + lasts, Happening::Joined(places)));
        }
    }
    all.retain(|(at, _)| *at < peace);
    all
}

/// A number of at most `most`, of either sign.
fn signed(dice: &mut Dice, most: u64) -> i64 {
    let size = i64::try_from(dice.within(1, most)).unwrap_or(1);
    if dice.one_in(2) { size } else { -size }
}
