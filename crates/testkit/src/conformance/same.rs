//! The same inputs yield the same outputs: again, beside another session, with another clock, and later.

use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use sync_core::strategy::SyncStrategy;

use super::given::{Step, difference};
use super::host::{Conduct, play};
use super::player::Player;
use super::scene::Scene;
use super::{Case, ended};

/// Inputs before which it is waited, and for how long: a strategy that looks at a clock of its own sees another time. There is
/// no event to wait for.
const WAITS: usize = 40;
const WAIT: Duration = Duration::from_millis(1);
/// Waited once, so that seconds differ, too.
const LONG_WAIT: Duration = Duration::from_millis(1_100);
/// Cases of so many that wait for long.
const LONG_EVERY: u64 = 64;

/// The same scene twice, and two scenes in turns.
pub(super) fn again(strategy: &Arc<dyn SyncStrategy>, seed: u64) -> Case {
    let Some(scene) = Scene::new(seed, strategy) else { return Case::Skipped };
    let Some(other) = Scene::new(seed ^ 0xbe51de, strategy) else { return Case::Skipped };
    let once = play(strategy, &scene, &Conduct::default()).steps;
    let twice = play(strategy, &scene, &Conduct::default()).steps;
    if let Some(text) = difference(&once, &twice, 0) {
        return ended(Err(format!("run again, it did otherwise: {text}")), || scene.told());
    }
    let beside = play(strategy, &other, &Conduct::default()).steps;
    ended(in_turns(strategy, (&scene, &once), (&other, &beside)), || scene.told())
}

fn in_turns(
    strategy: &Arc<dyn SyncStrategy>,
    (scene, once): (&Scene, &[Step]),
    (other, beside): (&Scene, &[Step]),
) -> Result<(), String> {
    let (mut a, mut b) = (Player::new(strategy, &scene.request), Player::new(strategy, &other.request));
    for place in 0..once.len().max(beside.len()) {
        a.repeat(once.get(place..=place).unwrap_or_default(), 0);
        b.repeat(beside.get(place..=place).unwrap_or_default(), 0);
    }
    match difference(once, &a.steps, 0).or_else(|| difference(beside, &b.steps, 0)) {
        Some(text) => Err(format!("beside another session, it did otherwise: {text}")),
        None => Ok(()),
    }
}

/// The same inputs with another clock, and with time passing that nobody told of.
pub(super) fn time(strategy: &Arc<dyn SyncStrategy>, seed: u64) -> Case {
    let Some(scene) = Scene::new(seed, strategy) else { return Case::Skipped };
    let once = play(strategy, &scene, &Conduct::default()).steps;
    for shift_ms in [7, 1_000_000_000_000] {
        let mut player = Player::new(strategy, &scene.request);
        player.repeat(&once, shift_ms);
        if let Some(text) = difference(&once, &player.steps, shift_ms) {
            return ended(Err(format!("with a clock that shows {shift_ms} ms more: {text}")), || scene.told());
        }
    }
    let mut player = Player::new(strategy, &scene.request);
    for (place, step) in once.iter().enumerate() {
        if place == 1 && seed % LONG_EVERY == 1 {
            sleep(LONG_WAIT);
        } else if place < WAITS && seed.is_multiple_of(8) {
            sleep(WAIT);
        }
        player.repeat(std::slice::from_ref(step), 0);
    }
    let differs = difference(&once, &player.steps, 0);
    ended(differs.map_or(Ok(()), |text| Err(format!("when time passes outside: {text}"))), || scene.told())
}
