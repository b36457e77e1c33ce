//! What was drained and remembered comes back: sessions that are cut off and taken up again come to an end, and what comes
//! back from nobody knows where does no harm.

use std::sync::Arc;

use sync_core::strategy::{Output, SessionOutcome, SyncStrategy};
use sync_core::time::Jitter;

use super::host::{Conduct, play};
use super::model::Model;
use super::player::Player;
use super::rules::Rule;
use super::scene::Scene;
use super::{Case, ended};
use crate::sim::Dice;

/// Sessions that are cut off before one that isn't.
const CUTS: usize = 12;

/// Sessions that are cut off, each with what those before it drained and asked to remember.
pub(super) fn resumed(strategy: &Arc<dyn SyncStrategy>, seed: u64) -> Case {
    let Some(scene) = Scene::new(seed, strategy) else { return Case::Skipped };
    let mut scene = scene.plain();
    let fresh = play(strategy, &scene, &Conduct::default());
    let mut dice = Dice(Jitter::new(seed ^ 0x5e5));
    let mut model = Model::default();
    let result = (|| {
        for _ in 0..=dice.below(CUTS) {
            let lost_at = Some(1 + dice.below(fresh.steps.len() + 2));
            let player = play(strategy, &scene, &Conduct { lost_at, ..Conduct::default() });
            player.keeps(&[Rule::Claims])?;
            model.judge(&scene, &player.steps)?;
            take_up(&mut scene, &model, &player);
        }
        let last = play(strategy, &scene, &Conduct::default());
        last.keeps(&[Rule::Claims, Rule::Outcome])?;
        model.judge(&scene, &last.steps)?;
        same_end(&fresh, &last)
    })();
    ended(result, || scene.told())
}

/// What the next session is given.
fn take_up(scene: &mut Scene, model: &Model, player: &Player) {
    // What is drained in both directions is known at the end alone.
    if !scene.up() {
        scene.request.drained.clone_from(&model.drained);
    }
    let mut told = player.steps.iter().flat_map(|step| &step.outputs).filter_map(|output| match output {
        Output::Remember(bytes) => Some(bytes),
        _ => None,
    });
    if let Some(bytes) = told.next_back() {
        scene.request.remembered.clone_from(bytes);
    }
    // What came is stored.
    let here: Vec<_> = scene.remote.iter().filter(|event| model.shown.contains(&event.id)).cloned().collect();
    scene.local.extend(here);
    scene.local.sort();
    scene.local.dedup_by_key(|event| event.id);
}

fn same_end(fresh: &Player, last: &Player) -> Result<(), String> {
    let complete = |player: &Player| player.watch.done == Some(SessionOutcome::Complete);
    if complete(fresh) && !complete(last) {
        return Err(format!("from the start it is complete, and with what is remembered: {:?}", last.watch.done));
    }
    Ok(())
}

/// Bytes to remember that nobody asked for.
pub(super) fn forged(strategy: &Arc<dyn SyncStrategy>, seed: u64) -> Case {
    let Some(scene) = Scene::new(seed, strategy) else { return Case::Skipped };
    let mut scene = scene.plain();
    let fresh = play(strategy, &scene, &Conduct::default());
    let mut dice = Dice(Jitter::new(seed ^ 0xf04e));
    let cut = Conduct { lost_at: Some(1 + dice.below(fresh.steps.len() + 2)), ..Conduct::default() };
    let known =
        play(strategy, &scene, &cut).steps.into_iter().flat_map(|step| step.outputs).find_map(|output| match output {
            Output::Remember(bytes) => Some(bytes),
            _ => None,
        });
    let result = (0..4).try_for_each(|_| {
        let own = known.as_deref().filter(|_| dice.one_in(2));
        scene.request.remembered = match own {
            Some(own) => bent(&mut dice, own),
            None => random(&mut dice),
        };
        let player = play(strategy, &scene, &Conduct::default());
        player.keeps(&[Rule::Bounds, Rule::End, Rule::Outcome])?;
        same_end(&fresh, &player)?;
        // What it wrote itself, and what says something else in the same form, it may believe.
        if own.is_some() {
            return Ok(());
        }
        player.keeps(&[Rule::Claims])?;
        Model::default().judge(&scene, &player.steps)
    });
    let result = result.map_err(|text| format!("with {} bytes of nobody's: {text}", scene.request.remembered.len()));
    ended(result, || scene.told())
}

fn random(dice: &mut Dice) -> Vec<u8> {
    let (len, first) = ([0, 1, 17, 34, 40, 4_096][dice.below(6)], dice.within(0, 4) as u8);
    (0..len).map(|place| if place == 0 { first } else { dice.within(0, 255) as u8 }).collect()
}

fn bent(dice: &mut Dice, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=dice.below(3) {
        let place = dice.below(bytes.len().max(1));
        if let Some(byte) = bytes.get_mut(place) {
            *byte = dice.within(0, 255) as u8;
        }
    }
    bytes
}
