//! One end, once, and nothing after it; and a connection that is lost between any two inputs.

use std::sync::Arc;

use sync_core::strategy::SyncStrategy;
use sync_core::time::Jitter;

use super::garbage::arbitrary;
use super::given::Given;
use super::honest::judged;
use super::host::{Conduct, play};
use super::player::Player;
use super::rules::Rule;
use super::scene::{BEGIN, Scene};
use super::{Case, ended};
use crate::sim::Dice;

/// Inputs that follow the end.
const AFTER: usize = 12;
/// Places at which a connection is lost: all, or so many of them.
const CUTS: usize = 24;

/// Exactly one end, and what comes after it changes nothing.
pub(super) fn once(strategy: &Arc<dyn SyncStrategy>, seed: u64) -> Case {
    let Some(scene) = Scene::new(seed, strategy) else { return Case::Skipped };
    let scene = if seed.is_multiple_of(3) { scene.dishonest() } else { scene };
    let mut dice = Dice(Jitter::new(seed ^ 0xe4d));
    let lost_at = dice.one_in(4).then(|| dice.below(40));
    let mut player = play(strategy, &scene, &Conduct { lost_at, ..Conduct::default() });
    let (last, set) = (player.steps.last().map_or(BEGIN, |step| step.now), scene.set());
    let refused = player.watch.done.is_none();
    if !refused {
        player.give(Given::Start, last, &set);
    }
    for place in 0..if refused { 0 } else { AFTER } {
        let given = arbitrary(&mut dice, &player, &scene);
        player.give(given, last.plus_ms(place as u64 * 40_000), &set);
    }
    ended(player.keeps(&[Rule::End]).and_then(|()| start_twice(strategy, &scene)), || scene.told())
}

/// A second start is an error, or does nothing.
fn start_twice(strategy: &Arc<dyn SyncStrategy>, scene: &Scene) -> Result<(), String> {
    let mut player = Player::new(strategy, &scene.request);
    player.give(Given::Start, BEGIN, &scene.set());
    if player.is_over() {
        return Ok(());
    }
    let deadline = player.deadline();
    let again = player.give(Given::Start, BEGIN.plus_ms(5), &scene.set());
    if again.error.is_some() {
        return Ok(());
    }
    if !again.outputs.is_empty() || player.deadline() != deadline {
        return Err("started twice, it begins again".to_owned());
    }
    Ok(())
}

/// The connection is lost, or the session dropped, before each of its inputs.
pub(super) fn cut(strategy: &Arc<dyn SyncStrategy>, seed: u64) -> Case {
    let Some(scene) = Scene::new(seed, strategy) else { return Case::Skipped };
    let steps = play(strategy, &scene, &Conduct::default()).steps;
    let every = steps.len().div_ceil(CUTS).max(1);
    for place in (0..steps.len()).filter(|place| place % every == seed as usize % every) {
        let mut player = Player::new(strategy, &scene.request);
        player.repeat(&steps[..place], 0);
        let (now, set) = (steps[place].now, &steps[place].set);
        player.give(Given::ConnectionLost, now, set);
        let result = player.keeps(&[Rule::End, Rule::Outcome]).and_then(|()| judged(&scene, &player));
        let result =
            result.map_err(|text| format!("the connection is lost at input {place} of {}: {text}", steps.len()));
        if result.is_err() {
            return ended(result, || scene.told());
        }
        let mut dropped = Player::new(strategy, &scene.request);
        dropped.repeat(&steps[..place], 0);
    }
    // Those that went before have left nothing behind.
    let mut player = Player::new(strategy, &scene.request);
    player.repeat(&steps, 0);
    let differs = super::given::difference(&steps, &player.steps, 0);
    ended(differs.map_or(Ok(()), |text| Err(format!("after sessions that were cut off: {text}"))), || scene.told())
}
