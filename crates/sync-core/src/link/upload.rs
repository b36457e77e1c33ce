//! Uploading: several events in flight, paced by the relay's answers, every refusal counted by its reason.

use nostr::event::EventId;

use super::machine::RelayLink;
use super::piece::At;
use super::wire;
use crate::model::FailureReason;
use crate::response::{Meaning, SaidIn, classify};
use crate::store::LocalSets;
use crate::time::{MonoMillis, Now};

/// Uploads without an answer at once.
const MAX_UPLOADS: usize = 64;
/// Uploads in a row that may stay without an answer before no more are sent for a filter.
const MAX_UNANSWERED: usize = MAX_UPLOADS;
/// Uploads for one filter that are remembered as such: what a probe shows beyond them is taken for left out.
const MAX_UPLOADED: usize = 100_000;
/// Uploads that the relay had already, and that are remembered as such.
const MAX_DUPLICATES: usize = 64;
/// Why a relay may refuse an event (NIP-01).
const OK_PREFIXES: [&str; 8] =
    ["auth-required", "blocked", "error", "invalid", "pow", "purgatory", "rate-limited", "restricted"];

/// An upload in flight.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) at: At,
    pub(super) deadline: MonoMillis,
}

impl RelayLink {
    /// Sends events that are to go up, within the window.
    pub(super) fn start_uploads(&mut self, local: &dyn LocalSets, now: Now) {
        if self.probing.is_some() {
            return;
        }
        for at in self.places() {
            while self.uploads.len() < MAX_UPLOADS {
                let Some(id) = self.piece(at).and_then(|piece| piece.offers.pop_front()) else { break };
                self.touch();
                // Also on its way for another filter: that answer counts.
                if self.uploads.contains_key(&id) {
                    continue;
                }
                match local.event(&id) {
                    Ok(Some(event)) => {
                        let deadline = self.answer_deadline(at, now);
                        self.uploads.insert(id, Upload { at, deadline });
                        if let Some(piece) = self.piece(at) {
                            piece.uploads += 1;
                        }
                        self.send(wire::event(&event), Some(at.batch));
                        self.owes(now);
                    }
                    // Gone since: superseded or deleted, so there is nothing to offer.
                    Ok(None) => {}
                    Err(error) => self.fail_upload(at, FailureReason::Local, error.to_string()),
                }
            }
        }
    }

    /// Something of a piece didn't go up: its window is not done with.
    fn fail_upload(&mut self, at: At, reason: FailureReason, text: String) {
        let Some(part) = self.part(at) else { return };
        let window = part.pieces.get_mut(&at.piece).map(|piece| {
            piece.broken = true;
            piece.failed = true;
            piece.span.window
        });
        part.fail_once(window, reason, text);
    }

    pub(super) fn upload_answered(&mut self, id: EventId, accepted: bool, text: &str, now: Now) {
        let Some(upload) = self.uploads.remove(&id) else { return };
        self.touch();
        let said = classify(SaidIn::Ok, text, None);
        self.heed(&said, now);
        let may_wait = match said.meaning {
            Meaning::RateLimited => self.may_wait(upload.at),
            Meaning::AuthRequired => self.auth_may_help() && self.may_ask_again(upload.at),
            _ => false,
        };
        let at = upload.at;
        let Some(carried) = self.batches.get_mut(&at.batch) else { return };
        let part = &mut carried.parts[at.part];
        part.unanswered = 0;
        if let Some(piece) = part.pieces.get_mut(&at.piece) {
            piece.uploads -= 1;
            let had_it = said.meaning == Meaning::Duplicate;
            if had_it && piece.duplicates.len() < MAX_DUPLICATES {
                piece.duplicates.insert(id);
            } else if accepted && !had_it && part.uploaded.len() < MAX_UPLOADED {
                part.uploaded.insert(id);
            }
            if may_wait {
                piece.offers.push_back(id);
                return;
            }
        }
        if accepted || said.meaning == Meaning::Duplicate {
            carried.counts.uploaded += 1;
            return;
        }
        // Counted under the prefixes of NIP-01 alone: a relay's own words could be as many as the uploads.
        let prefix = text.split_once(':').map_or("", |(prefix, _)| prefix);
        let reason = OK_PREFIXES.iter().find(|known| **known == prefix).unwrap_or(&"other");
        *carried.counts.upload_refused.entry((*reason).to_owned()).or_default() += 1;
        let refused = FailureReason::Refused { prefix: (*reason).to_owned() };
        self.fail_upload(at, refused, format!("uploads refused: {}", said.text));
    }

    /// Ends uploads that were not answered in time.
    pub(super) fn upload_timeouts(&mut self, now: Now) {
        let late: Vec<EventId> =
            self.uploads.iter().filter(|(_, upload)| upload.deadline <= now.mono_ms).map(|(id, _)| *id).collect();
        for id in late {
            let Some(upload) = self.uploads.remove(&id) else { continue };
            self.touch();
            self.fail_upload(upload.at, FailureReason::Timeout, "an upload was not answered in time".to_owned());
            let Some(part) = self.part(upload.at) else { continue };
            part.unanswered += 1;
            let gives_up = part.unanswered >= MAX_UNANSWERED;
            if let Some(piece) = part.pieces.get_mut(&upload.at.piece) {
                piece.uploads -= 1;
                if gives_up {
                    piece.offers.clear();
                }
            }
        }
    }
}
