//! Answering a relay that asks who we are (NIP-42), with the service's key.
//!
//! A challenge is answered at once, and nothing is asked until the relay has said what it makes of that: what it refused
//! before is asked again then. One that doesn't accept the answer, or says nothing of it, is answered again later, more and
//! more rarely: our clock may have been wrong, or the relay's list of members, or the network. Without a key nothing is
//! answered, and `auth-required` is a reason like any other.

use nostr::event::{Event, EventId, Kind, Tag, Tags};
use nostr::key::Keys;
use nostr::types::Timestamp;
use secp256k1::Secp256k1;

use super::machine::RelayLink;
use super::piece::At;
use super::{LinkNotice, LinkOutput, wire};
use crate::response::Said;
use crate::time::{MonoMillis, Now};

/// How long the relay's word is waited for, milliseconds.
const ANSWER_MS: u64 = 10_000;
/// The wait before the same challenge is answered once more, milliseconds; it doubles up to the longest.
const AGAIN_MS: u64 = 300_000;
const MAX_AGAIN_MS: u64 = 3_600_000;
/// Challenges that are answered on one connection: each costs a signature.
const MAX_CHALLENGES: u32 = 8;
/// Requests by id and uploads of one part that are repeated because the relay didn't know us.
const MAX_ASKED_AGAIN: u32 = 64;
/// The longest challenge that is answered, bytes: it comes back in our event.
const MAX_CHALLENGE: usize = 1_024;

/// How far a relay has come to know us.
#[derive(Debug, Default)]
pub(super) struct Auth {
    challenges: u32,
    /// The last one, where it can be answered.
    challenge: String,
    /// The last answer, while the relay has said nothing of it.
    asked: Option<EventId>,
    /// Until when nothing else is asked, so that it can.
    waits_until: Option<MonoMillis>,
    /// The relay knows us.
    accepted: bool,
    /// It doesn't want to.
    refused: bool,
    /// Answers that were of no use.
    refusals: u32,
    /// The first refusal was told.
    told_refused: bool,
    /// When the next answer is due.
    again_at: Option<MonoMillis>,
}

impl RelayLink {
    pub(super) fn challenged(&mut self, challenge: &str, now: Now) {
        self.auth.challenges = self.auth.challenges.saturating_add(1);
        if self.auth.challenges == 1 {
            let challenge = challenge.chars().take(Said::MAX_TEXT).collect();
            let answered = self.config.keys.is_some();
            self.out.push_back(LinkOutput::Notice(LinkNotice::AuthRequired { challenge, answered }));
        }
        if self.auth.challenges > MAX_CHALLENGES || challenge.len() > MAX_CHALLENGE {
            return self.rubbish("challenges");
        }
        challenge.clone_into(&mut self.auth.challenge);
        self.answer_challenge(now);
    }

    fn answer_challenge(&mut self, now: Now) {
        let Some(keys) = self.config.keys.clone() else { return };
        let mut aux = [0; 32];
        aux.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&self.jitter.next_u64().to_be_bytes()));
        let event = answer(&keys, self.config.relay.as_str(), &self.auth.challenge, now.unix_s, &aux);
        self.auth.again_at = None;
        self.auth.asked = Some(event.id);
        self.auth.waits_until = Some(now.mono_ms.saturating_add(ANSWER_MS));
        self.send(wire::auth(&event), None);
    }

    /// Takes an `OK`, if it is one to our answer, however late.
    pub(super) fn auth_answered(&mut self, id: EventId, accepted: bool, text: &str, now: Now) -> bool {
        if self.auth.asked != Some(id) {
            return false;
        }
        self.auth.asked = None;
        let in_time = self.auth.waits_until.take().is_some();
        (self.auth.accepted, self.auth.refused) = (accepted, !accepted);
        if accepted {
            self.auth.again_at = None;
            self.live_again(now);
        } else {
            if !std::mem::replace(&mut self.auth.told_refused, true) {
                let text = text.chars().take(Said::MAX_TEXT).collect();
                self.out.push_back(LinkOutput::Notice(LinkNotice::AuthRefused { text }));
            }
            // The wait for a late word has counted already.
            if in_time {
                self.answer_again_later(now);
            }
        }
        self.touch();
        true
    }

    fn answer_again_later(&mut self, now: Now) {
        let wait = AGAIN_MS.saturating_mul(1 << self.auth.refusals.min(16)).min(MAX_AGAIN_MS);
        self.auth.again_at = Some(now.mono_ms.saturating_add(wait));
        self.auth.refusals = self.auth.refusals.saturating_add(1);
    }

    /// A relay that says nothing of our answer is asked all the same, and answered again, as is one that didn't accept it.
    pub(super) fn auth_timeout(&mut self, now: Now) {
        if self.auth.waits_until.is_some_and(|until| until <= now.mono_ms) {
            self.auth.waits_until = None;
            self.answer_again_later(now);
            self.live_again(now);
            self.touch();
        }
        if self.auth.again_at.is_some_and(|at| at <= now.mono_ms) {
            self.answer_challenge(now);
        }
    }

    pub(super) fn auth_deadline(&self) -> Option<MonoMillis> {
        [self.auth.waits_until, self.auth.again_at].into_iter().flatten().min()
    }

    /// Whether the relay asks who we are, and we can't say.
    pub(super) fn is_unknown(&self) -> bool {
        self.config.keys.is_none() && self.auth.challenges > 0
    }

    /// Whether the relay is about to say whether it knows us: nothing is asked meanwhile.
    pub(super) fn auth_pending(&self) -> bool {
        self.auth.waits_until.is_some()
    }

    /// Whether something of a part may be asked once more that was refused with `auth-required`: a relay that accepts us and
    /// serves us nothing can't keep a batch alive.
    pub(super) fn may_ask_again(&mut self, at: At) -> bool {
        self.part(at).is_some_and(|part| {
            part.asked_again += 1;
            part.asked_again <= MAX_ASKED_AGAIN
        })
    }

    /// Whether what was refused with `auth-required` is worth asking again: the relay knows us now, or is about to. One that
    /// never asked who we are can't be answered.
    pub(super) fn auth_may_help(&self) -> bool {
        self.config.keys.is_some() && self.auth.challenges > 0 && !self.auth.refused
    }
}

/// The event that answers a challenge.
fn answer(keys: &Keys, relay: &str, challenge: &str, now: u64, aux: &[u8; 32]) -> Event {
    let tag = |name: &str, value: &str| Tag::custom(name, [value.to_owned()]);
    let tags = Tags::from_list(vec![tag("relay", relay), tag("challenge", challenge)]);
    let (author, created_at, kind) = (keys.public_key(), Timestamp::from_secs(now), Kind::from_u16(22_242));
    let id = EventId::compute(&author, &created_at, &kind, &tags, "");
    let signature = keys.sign_schnorr_with_aux_rand(&Secp256k1::signing_only(), id.as_bytes(), aux);
    Event::new(id, author, created_at, kind, tags, String::new(), signature)
}
