//! What no relay would send and no link hand on: nothing panics, everything is bounded, and it ends.

use std::sync::Arc;

use nostr::event::EventId;
use sync_core::response::{Said, SaidIn, classify};
use sync_core::strategy::{BadEvent, CheckVerdict, Message, Output, SyncStrategy};
use sync_core::time::Jitter;

use super::given::Given;
use super::player::Player;
use super::rules::Rule;
use super::scene::{BEGIN, Scene};
use super::{Case, ended};
use crate::sim::Dice;

/// Inputs of a case.
const INPUTS: usize = 120;
/// Times that a session is told that its deadline has passed, when nothing else happens any more.
const TIMEOUTS: usize = 100;

const TEXTS: [&str; 8] = [
    "",
    "blocked: too many query results",
    "error: boom",
    "auth-required: who are you",
    "rate-limited: slow down",
    "ERROR: bad msg: negentropy disabled",
    "\u{0}\u{202e}\"[{ \u{fffd}",
    "closed: unknown subscription handle",
];

/// Random inputs, mostly to what is open.
pub(super) fn garbage(strategy: &Arc<dyn SyncStrategy>, seed: u64) -> Case {
    ended(run(strategy, seed, &[Rule::Bounds, Rule::Views, Rule::End]), String::new)
}

/// What is sent meanwhile is allowed all the same.
pub(super) fn messages(strategy: &Arc<dyn SyncStrategy>, seed: u64) -> Case {
    ended(run(strategy, seed, &[Rule::Messages]), String::new)
}

fn run(strategy: &Arc<dyn SyncStrategy>, seed: u64, rules: &[Rule]) -> Result<(), String> {
    let Some(scene) = Scene::new(seed, strategy) else { return Ok(()) };
    let mut dice = Dice(Jitter::new(seed.wrapping_mul(0xd134_2543_de82_ef95) ^ 0x6a6b));
    let (set, mut now) = (scene.set(), BEGIN);
    let mut player = Player::new(strategy, &scene.request);
    for _ in 0..if dice.one_in(4) { dice.below(4) } else { 0 } {
        let given = arbitrary(&mut dice, &player, &scene);
        player.give(given, now, &set);
    }
    if !player.is_over() {
        player.give(Given::Start, now, &set);
    }
    for _ in 0..INPUTS {
        if player.is_over() {
            break;
        }
        now = now.plus_ms(dice.within(0, 50));
        let given = arbitrary(&mut dice, &player, &scene);
        player.give(given, now, &set);
    }
    for _ in 0..TIMEOUTS {
        let Some(at) = player.deadline().filter(|_| !player.is_over()) else { break };
        now = now.plus_ms(at.saturating_sub(now.mono_ms));
        player.give(Given::Timeout, now, &set);
    }
    let endless = !player.is_over();
    if endless {
        player.give(Given::ConnectionLost, now, &set);
    }
    player.keeps(rules)?;
    match endless && rules.contains(&Rule::Bounds) {
        true => Err(format!("silence for {TIMEOUTS} deadlines, and no end")),
        false => Ok(()),
    }
}

/// An input of any kind but the start and the end of the connection.
pub(super) fn arbitrary(dice: &mut Dice, player: &Player, scene: &Scene) -> Given {
    let open: Vec<u32> = player.watch.open.keys().copied().collect();
    let sub = match open.get(dice.below(open.len().max(1))) {
        Some(sub) if !dice.one_in(5) => *sub,
        _ => [0, 1, 7, u32::MAX][dice.below(4)],
    };
    match dice.below(14) {
        0 => Given::Eose { sub, finished: [None, Some(true), Some(false)][dice.below(3)] },
        1 if dice.one_in(3) => Given::Closed { sub, said: said(dice, SaidIn::Closed) },
        2 if dice.one_in(3) => Given::NegErr { sub, said: said(dice, SaidIn::NegErr) },
        3 if dice.one_in(3) => Given::Notice { said: said(dice, SaidIn::Notice) },
        4 if dice.one_in(3) => Given::Timeout,
        5..=8 => Given::NegMsg { sub, payload: payload(dice, player) },
        _ => event(dice, scene, sub),
    }
}

fn said(dice: &mut Dice, place: SaidIn) -> Said {
    classify(place, TEXTS[dice.below(TEXTS.len())], dice.one_in(3).then(|| dice.within(0, 50)))
}

fn event(dice: &mut Dice, scene: &Scene, sub: u32) -> Given {
    let bad = [BadEvent::Malformed, BadEvent::TooLarge, BadEvent::WrongId, BadEvent::NotAsked, BadEvent::BadSignature];
    match scene.remote.get(dice.below(scene.remote.len().max(1))) {
        Some(event) if dice.one_in(2) => {
            let verdict = if dice.one_in(2) { CheckVerdict::New } else { CheckVerdict::Known };
            Given::Event { sub, id: event.id, created_at: event.created_at.as_secs(), verdict }
        }
        _ => {
            let id = EventId::from_byte_array(array(dice));
            let verdict = match dice.below(3) {
                0 => CheckVerdict::Bad(bad[dice.below(bad.len())]),
                1 => CheckVerdict::Known,
                _ => CheckVerdict::New,
            };
            let window = scene.request.window;
            let created_at = match (verdict, dice.below(4)) {
                (CheckVerdict::Bad(_), _) | (_, 0) => 0,
                (_, 1) => u64::MAX - dice.within(0, 1),
                (_, 2) => window.since.saturating_sub(dice.within(0, 2)),
                _ => window.until.saturating_add(dice.within(0, 2)).saturating_sub(dice.within(0, 40)),
            };
            Given::Event { sub, id, created_at, verdict }
        }
    }
}

/// Bytes that begin as a payload does, more often than not; or what was sent, bent.
fn payload(dice: &mut Dice, player: &Player) -> Vec<u8> {
    let mut sent = player.steps.iter().flat_map(|step| &step.outputs).filter_map(|output| match output {
        Output::Send(Message::NegOpen { payload, .. } | Message::NegMsg { payload, .. }) => Some(payload),
        _ => None,
    });
    match (sent.next_back(), dice.below(5)) {
        (Some(sent), 0 | 1) => {
            let mut bytes = sent.clone();
            for _ in 0..dice.below(3) {
                if let Some(byte) = bytes.get_mut(dice.below(sent.len())) {
                    *byte = dice.within(0, 255) as u8;
                }
            }
            bytes.truncate(if dice.one_in(3) { dice.below(bytes.len() + 1) } else { bytes.len() });
            bytes
        }
        (_, 2) => one_id(dice),
        (_, kind) => {
            let mut bytes = if kind == 3 { Vec::new() } else { vec![0x61] };
            let len = dice.below(80);
            bytes.extend((0..len).map(|_| dice.within(0, 255) as u8));
            bytes
        }
    }
}

/// NIP-77: up to a random second one id that nobody has, and a fingerprint that nobody shares for the rest.
pub(super) fn one_id(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = vec![0x61];
    bytes.extend(varint(dice.within(1, 1_700_000_000)));
    bytes.extend([0, 2, 1]);
    bytes.extend(array(dice));
    bytes.extend(fingerprint_of_nobody(dice));
    bytes
}

/// NIP-77: a fingerprint that nobody shares, from the last bound to the end of time.
pub(super) fn fingerprint_of_nobody(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = vec![0, 0, 1];
    bytes.extend(&array(dice)[..16]);
    bytes
}

fn varint(number: u64) -> Vec<u8> {
    let groups = (64 - number.leading_zeros()).div_ceil(7).max(1);
    (0..groups).rev().map(|group| ((number >> (group * 7)) & 0x7f) as u8 | if group == 0 { 0 } else { 0x80 }).collect()
}

pub(super) fn array(dice: &mut Dice) -> [u8; 32] {
    let mut bytes = [0; 32];
    for part in bytes.as_chunks_mut::<8>().0 {
        *part = dice.within(0, u64::MAX).to_be_bytes();
    }
    bytes
}
