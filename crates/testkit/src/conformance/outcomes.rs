//! Honest ends: silence and refusals are named for what they are, and are never the whole.

use std::sync::Arc;

use sync_core::model::FailureReason;
use sync_core::response::{Meaning, SaidIn, classify};
use sync_core::strategy::{Direction, SessionOutcome, SyncStrategy, Window};

use super::given::{Given, shown};
use super::host::{Conduct, Refusal, play};
use super::narrowing;
use super::player::Player;
use super::rules::Rule;
use super::scene::{BEGIN, Scene};
use super::{Case, ended};

/// Deadlines within which a session gives up a relay that says nothing.
const DEADLINES: usize = 100;
/// And virtual time: two days.
const PATIENCE_MS: u64 = 2 * 86_400_000;

/// What relays say against a question, at least one word for each meaning that an answer may have.
const REFUSALS: &[(&str, Option<u64>)] = &[
    ("ERROR: bad msg: negentropy disabled", None),
    ("unsupported: no such thing", None),
    ("blocked: too many query results", Some(500)),
    ("blocked: query matches too many records (2988225 > 1000000)", None),
    ("closed: unknown subscription handle", None),
    ("auth-required: this relay serves authenticated clients only", None),
    ("restricted: members only", None),
    ("rate-limited: slow down", None),
    ("error: too many concurrent REQs", None),
    ("blocked: you are not welcome", None),
    ("invalid: filter", None),
    ("error: could not connect to the database", None),
    ("duplicate: have this event", None),
    ("purgatory: waits for its git data", None),
    ("pow: 30 bits needed", None),
    ("lorem ipsum", None),
];

/// Refusals of the first question and of later ones, and silence.
pub(super) fn refusals(strategy: &Arc<dyn SyncStrategy>, seed: u64) -> Case {
    let Some(scene) = Scene::new(seed, strategy) else { return Case::Skipped };
    let mut scene = scene.plain();
    if is_nothing(&scene) {
        scene.request.window = Window::ALL;
    }
    if is_nothing(&scene) {
        return Case::Skipped;
    }
    let result = silence(strategy, &scene).and_then(|()| {
        for (text, cap) in REFUSALS {
            for place in [SaidIn::Closed, SaidIn::NegErr, SaidIn::Notice] {
                let cap = cap.filter(|_| place == SaidIn::NegErr);
                let refusal = Refusal { place, text, cap };
                refused(strategy, &scene, refusal, 0).map_err(|found| format!("{text} as {place:?}: {found}"))?;
            }
        }
        let later = REFUSALS[usize::try_from(seed).unwrap_or(0) % REFUSALS.len()];
        let places = [SaidIn::Closed, SaidIn::NegErr, SaidIn::Notice];
        let place = places[usize::try_from(seed / 16).unwrap_or(0) % places.len()];
        let refusal = Refusal { place, text: later.0, cap: later.1.filter(|_| place == SaidIn::NegErr) };
        refused(strategy, &scene, refusal, 1 + seed % 3)
            .map_err(|found| format!("{} as {place:?}, later: {found}", later.0))
    });
    ended(result, || scene.told())
}

/// Ends of all kinds, in scenes of all kinds.
pub(super) fn outcomes(strategy: &Arc<dyn SyncStrategy>, seed: u64) -> Case {
    let Some(scene) = Scene::new(seed, strategy) else { return Case::Skipped };
    let lost_at = seed.is_multiple_of(3).then(|| usize::try_from(seed % 50).unwrap_or(0));
    let player = play(strategy, &scene, &Conduct { lost_at, ..Conduct::default() });
    ended(player.keeps(&[Rule::Outcome]), || scene.told())
}

/// Whether there is nothing to ask.
fn is_nothing(scene: &Scene) -> bool {
    let bounds = narrowing::bounds(&scene.request.filter, scene.request.window);
    bounds.since > bounds.until || bounds.since > BEGIN.unix_s
}

fn silence(strategy: &Arc<dyn SyncStrategy>, scene: &Scene) -> Result<(), String> {
    for proven in [false, true] {
        let mut request = scene.request.clone();
        request.proven = proven;
        request.direction = Direction::Down;
        let mut player = Player::new(strategy, &request);
        player.give(Given::Start, BEGIN, &scene.set());
        let outcome = wait(&mut player, scene)?;
        let stalled = matches!(
            outcome,
            SessionOutcome::Failed { reason: FailureReason::Timeout, .. }
                | SessionOutcome::Incomplete { reason: FailureReason::Timeout, .. }
        );
        let unknown = matches!(outcome, SessionOutcome::Unsupported { .. }) && !proven;
        if !stalled && !unknown {
            return Err(format!(
                "no answer, to one that was answered before: {proven}; and the end is {}",
                shown(&outcome)
            ));
        }
    }
    Ok(())
}

/// Waits until a session has given up.
fn wait(player: &mut Player, scene: &Scene) -> Result<SessionOutcome, String> {
    for _ in 0..DEADLINES {
        if player.is_over() {
            break;
        }
        let Some(at) = player.deadline() else { break };
        if at > BEGIN.mono_ms + PATIENCE_MS {
            break;
        }
        player.give(Given::Timeout, BEGIN.plus_ms(at.saturating_sub(BEGIN.mono_ms)), &scene.set());
    }
    let error = player.steps.last().and_then(|step| step.error.clone());
    let failed = error.map(|text| SessionOutcome::Failed { reason: FailureReason::Protocol, text });
    let end = player.watch.done.clone().or(failed);
    end.ok_or_else(|| {
        format!("no answer, and no end within {DEADLINES} deadlines or two days: {:?}", player.watch.broken)
    })
}

/// Question `at` is refused, and so is whatever follows.
fn refused(strategy: &Arc<dyn SyncStrategy>, scene: &Scene, refusal: Refusal, at: u64) -> Result<(), String> {
    let mut scene = scene.clone();
    scene.request.direction = Direction::Down;
    let said = classify(refusal.place, refusal.text, refusal.cap);
    // A NOTICE that says nothing isn't handed on.
    let nothing = [Meaning::Unknown, Meaning::Duplicate, Meaning::Purgatory, Meaning::Pow].contains(&said.meaning);
    if refusal.place == SaidIn::Notice && nothing {
        return Ok(());
    }
    let player = play(strategy, &scene, &Conduct { refusal: Some((at, refusal)), ..Conduct::default() });
    if player.watch.questions <= at {
        // It came to its end before.
        return Ok(());
    }
    let Some(outcome) = &player.watch.done else {
        return if player.watch.is_over() { Ok(()) } else { Err(format!("no end: {:?}", player.watch.broken)) };
    };
    // A REQ that is closed without an event and without a word that is known has ended, as far as anybody can tell.
    if at > 0 && said.meaning == Meaning::Unknown {
        return Ok(());
    }
    sensible(outcome, &said.meaning, said.cap).map_err(|what| format!("{what}: {}", shown(outcome)))
}

/// Whether an end fits to what the relay said.
fn sensible(outcome: &SessionOutcome, meaning: &Meaning, cap: Option<u64>) -> Result<(), &'static str> {
    let names =
        |reason: &FailureReason| matches!(reason, FailureReason::Refused { prefix } if prefix == meaning.as_str());
    let silent = |reason: &FailureReason| *reason == FailureReason::Timeout;
    match (meaning, outcome) {
        (_, SessionOutcome::Complete) => Err("complete, and it was refused"),
        (Meaning::TooBig, SessionOutcome::TooBig { cap: told, .. }) if cap.is_none() || *told == cap => Ok(()),
        (Meaning::TooBig, SessionOutcome::TooBig { .. }) => Err("the cap isn't handed on"),
        (_, SessionOutcome::TooBig { .. }) => Err("nobody spoke of size"),
        // These say when to ask, or as whom: the link acts on the word.
        (Meaning::RateLimited | Meaning::TooManyAtOnce | Meaning::AuthRequired, outcome) => match outcome {
            SessionOutcome::Failed { reason, .. } | SessionOutcome::Incomplete { reason, .. }
                if names(reason) || silent(reason) =>
            {
                Ok(())
            }
            _ => Err("the link needs the word, which isn't handed on"),
        },
        (Meaning::TooBig | Meaning::Restricted, SessionOutcome::Unsupported { .. }) => {
            Err("this says nothing about support")
        }
        (_, SessionOutcome::Failed { reason: FailureReason::Refused { prefix }, .. }) if prefix != meaning.as_str() => {
            Err("another word than the relay's")
        }
        _ => Ok(()),
    }
}
