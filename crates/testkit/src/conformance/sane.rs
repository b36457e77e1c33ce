//! What a strategy says of itself, and whether it bears with what relays say of themselves.

use std::sync::Arc;

use nostr::event::Kind;
use nostr::filter::Filter;
use nostr::key::PublicKey;
use sync_core::strategy::{RelayProfile, SessionHints, StrategyDescriptor, Suitability, SyncStrategy};

use super::host::{Conduct, play};
use super::rules::Rule;
use super::scene::Scene;
use super::{Case, ended};

/// How long a strategy may have the link wait for an answer, milliseconds: a day.
const ANSWER_MS: u64 = 86_400_000;
/// Sessions at once, and ids in a request, that make sense.
const MOST_AT_ONCE: usize = 1_024;
const MOST_IDS: usize = 100_000;

/// Name, hints and suitability; and sessions with relays that say strange things of themselves.
pub(super) fn sane(strategy: &Arc<dyn SyncStrategy>, seed: u64) -> Case {
    let result = descriptor(strategy.descriptor(), strategy.descriptor())
        .and_then(|()| hints(strategy.hints(), strategy.hints()))
        .and_then(|()| suits_something(strategy));
    if result.is_err() {
        return ended(result, String::new);
    }
    let Some(mut scene) = Scene::new(seed, strategy) else { return Case::Skipped };
    let result = by_nips(strategy, &scene.request.profile, &scene.request.filter).and_then(|()| {
        scene.request.profile = strange(seed);
        let player = play(strategy, &scene, &Conduct::default());
        player.keeps(&[Rule::Bounds, Rule::End, Rule::Messages])
    });
    ended(result, || scene.told())
}

fn descriptor(once: &StrategyDescriptor, again: &StrategyDescriptor) -> Result<(), String> {
    let told = |descriptor: &StrategyDescriptor| {
        let StrategyDescriptor { name, version, compares_sets, probes_alone } = descriptor;
        (name.to_string(), version.clone(), *compares_sets, *probes_alone)
    };
    let (name, version, ..) = told(once);
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        return Err(format!("the name {name:?}: 1 to 64 of a-z, 0-9, - and _ are allowed"));
    }
    if version.is_empty() || version.len() > 64 || version.chars().any(char::is_control) {
        return Err(format!("the version {version:?}: 1 to 64 characters that can be read"));
    }
    if told(once) != told(again) {
        return Err("it describes itself otherwise the second time".to_owned());
    }
    Ok(())
}

fn hints(once: SessionHints, again: SessionHints) -> Result<(), String> {
    let SessionHints { concurrency, fetch_chunk, answer_timeout_ms } = once;
    let in_range = (1..=MOST_AT_ONCE).contains(&concurrency)
        && (1..=MOST_IDS).contains(&fetch_chunk)
        && (1..=ANSWER_MS).contains(&answer_timeout_ms);
    if !in_range {
        return Err(format!(
            "{once:?}: allowed are 1 to {MOST_AT_ONCE} sessions, 1 to {MOST_IDS} ids, 1 to {ANSWER_MS} ms"
        ));
    }
    if once != again { Err("it hints otherwise the second time".to_owned()) } else { Ok(()) }
}

/// One that narrows by kinds and authors may want both.
fn suits_something(strategy: &Arc<dyn SyncStrategy>) -> Result<(), String> {
    let narrow = Filter::new().kinds([Kind::from_u16(1)]).authors([PublicKey::from_byte_array([1; 32])]);
    let suits = |filter: &Filter| strategy.suits(&RelayProfile::default(), filter) == Suitability::Suits;
    match suits(&Filter::new()) || suits(&narrow) {
        true => Ok(()),
        false => Err("it suits neither everything nor one kind of one author".to_owned()),
    }
}

/// What a relay claims to know rules nothing out by itself, in either direction (WIRE.md).
fn by_nips(strategy: &Arc<dyn SyncStrategy>, profile: &RelayProfile, filter: &Filter) -> Result<(), String> {
    for supported_nips in [vec![], vec![1], vec![1, 11, 77], vec![u16::MAX]] {
        let profile = RelayProfile { supported_nips, software: "x".repeat(300), ..profile.clone() };
        let (once, again) = (strategy.suits(&profile, filter), strategy.suits(&profile, filter));
        if once != again {
            return Err(format!("the same relay and filter: {once:?} and then {again:?}"));
        }
        if let Suitability::No(reason) = once {
            return Err(format!("NIP-11 alone rules it out, with {:?}: {reason}", profile.supported_nips));
        }
    }
    Ok(())
}

fn strange(seed: u64) -> RelayProfile {
    let number = [0, 1, 2, usize::MAX][usize::try_from(seed).unwrap_or(0) % 4];
    let other = [None, Some(0), Some(1), Some(usize::MAX)][usize::try_from(seed / 4).unwrap_or(0) % 4];
    RelayProfile {
        supported_nips: vec![u16::MAX; 3],
        software: "\u{0}\u{202e}".repeat(20),
        max_subscriptions: other,
        max_filters: Some(number),
        max_limit: Some(number),
        max_message_length: other,
        max_subid_length: Some(number),
    }
}
