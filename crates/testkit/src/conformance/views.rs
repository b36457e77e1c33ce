//! The local set as it is lent: it may answer otherwise in the next call, and may not be read again and again.

use std::sync::Arc;

use sync_core::strategy::SyncStrategy;

use super::host::{Conduct, play};
use super::rules::Rule;
use super::scene::{Scene, Sets};
use super::{Case, ended};

/// Another set in every call.
pub(super) fn shifting(strategy: &Arc<dyn SyncStrategy>, seed: u64) -> Case {
    let Some(mut scene) = Scene::new(seed, strategy) else { return Case::Skipped };
    scene.sets = if seed.is_multiple_of(4) { Sets::Still } else { Sets::Shifts };
    let player = play(strategy, &scene, &Conduct::default());
    let rules = [Rule::Views, Rule::Bounds, Rule::End, Rule::Messages, Rule::Claims];
    ended(player.keeps(&rules), || scene.told())
}
