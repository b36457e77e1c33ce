//! Sessions and whole histories with relays that are limited, slow or broken, and don't lie: what is claimed is true, and what
//! is missing is named.

use std::sync::Arc;

use sync_core::strategy::SyncStrategy;

use super::host::{Conduct, play};
use super::model::Model;
use super::player::Player;
use super::rules::Rule;
use super::scene::Scene;
use super::{Case, ended};
use crate::history::{self, Promise};

/// One session to its end.
pub(super) fn correct(strategy: &Arc<dyn SyncStrategy>, seed: u64) -> Case {
    let Some(scene) = Scene::new(seed, strategy) else { return Case::Skipped };
    let player = play(strategy, &scene, &Conduct::default());
    ended(judged(&scene, &player), || scene.told())
}

/// What a session claimed is true, and well formed.
pub(super) fn judged(scene: &Scene, player: &Player) -> Result<(), String> {
    player.keeps(&[Rule::Claims])?;
    Model::default().judge(scene, &player.steps)
}

/// A whole sync through the link: the strategy alone.
pub(super) fn alone(strategy: &Arc<dyn SyncStrategy>, seed: u64) -> Case {
    let result = history::run_with(seed, &vec![Arc::clone(strategy)], Promise::Named, false);
    ended(result.map(|_| ()).map_err(|broken| broken.text), String::new)
}

/// A whole sync through the link: the strategy, and behind it one that reads everything.
pub(super) fn with_fallback(strategy: &Arc<dyn SyncStrategy>, seed: u64) -> Case {
    let nothing = serde_json::Value::Object(serde_json::Map::new());
    let reader = match strategy_req::ReqStrategy::from_config(&nothing) {
        Ok(reader) => Arc::new(reader),
        Err(error) => return Case::Broken(error.to_string()),
    };
    let result = history::run_with(seed, &vec![Arc::clone(strategy), reader], Promise::Whole, false);
    ended(result.map(|_| ()).map_err(|broken| broken.text), String::new)
}

/// Everything that is sent is allowed, with relays that lie, too.
pub(super) fn messages(strategy: &Arc<dyn SyncStrategy>, seed: u64) -> Case {
    let Some(scene) = Scene::new(seed, strategy) else { return Case::Skipped };
    let scene = if seed.is_multiple_of(2) { scene.dishonest() } else { scene };
    let player = play(strategy, &scene, &Conduct::default());
    ended(player.keeps(&[Rule::Messages]), || scene.told())
}
