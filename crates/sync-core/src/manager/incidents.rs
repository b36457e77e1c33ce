//! What went wrong lately, for the operator: fallbacks and failures, the newest few, the same thing once.
//!
//! Texts are strangers' words. The list is bounded in all and for each relay, so that one that fails again and again, each time
//! in other words, doesn't push out what happened to the others.

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ManagerInput, SyncManager};
use crate::link::LinkNotice;
use crate::model::{BatchOutcome, BatchReason, BatchReport, RelayUrl};

/// A fallback or a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// When it happened last, unix seconds.
    pub at: u64,
    /// With which relay.
    pub relay: RelayUrl,
    /// What kind of incident.
    pub kind: IncidentKind,
    /// What it concerns: the two strategies of a fallback, the reason of a batch; else empty.
    pub subject: String,
    /// Why; at most [`Incident::MAX_TEXT`] characters, the last of them `…` where more was said.
    pub reason: String,
    /// How often the same happened.
    pub count: u64,
}

impl Incident {
    /// How many are remembered.
    pub const MAX: usize = 50;
    /// How many of those may be of one relay.
    pub const MAX_PER_RELAY: usize = 5;
    /// How much of a reason is remembered, characters.
    pub const MAX_TEXT: usize = 400;

    fn is_same(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.relay == other.relay
            && self.subject == other.subject
            && self.reason == other.reason
    }
}

/// What kind of incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum IncidentKind {
    /// A strategy gave up, and the next one took over, or none was left.
    Fallback,
    /// A batch ended with something missing.
    BatchFailed,
    /// An attempt to connect failed.
    ConnectFailed,
    /// A connection ended, and not because we closed it.
    ConnectionLost,
    /// The relay asked us to slow down.
    RateLimited,
    /// The relay refused a live subscription.
    LiveRefused,
    /// The relay doesn't accept our authentication.
    AuthRefused,
    /// A kind that this version doesn't know, in a document of a later one.
    #[serde(other)]
    Other,
}

impl IncidentKind {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fallback => "fallback",
            Self::BatchFailed => "batch failed",
            Self::ConnectFailed => "connect failed",
            Self::ConnectionLost => "connection lost",
            Self::RateLimited => "rate limited",
            Self::LiveRefused => "live refused",
            Self::AuthRefused => "auth refused",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for IncidentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl SyncManager {
    /// What of an input an operator is to see for a while. Before it is handled: the batch is still in flight.
    pub(super) fn note_incidents(&mut self, input: &ManagerInput, at: u64) {
        let incidents = &mut self.incidents;
        let known = |relay: &RelayUrl| self.relays.get(relay);
        match input {
            ManagerInput::ConnectFailed { relay, fault } if known(relay).is_some() => {
                incidents.note(at, relay, IncidentKind::ConnectFailed, String::new(), &fault.text);
            }
            ManagerInput::Disconnected { relay, fault: Some(fault) } if known(relay).is_some() => {
                incidents.note(at, relay, IncidentKind::ConnectionLost, String::new(), &fault.text);
            }
            ManagerInput::BatchDone { relay, report, .. } => {
                if let Some(batch) = known(relay).and_then(|life| life.in_flight().get(&report.id)) {
                    incidents.batch(at, relay, batch.reason, report);
                }
            }
            ManagerInput::Notice { relay, notice } if known(relay).is_some_and(|life| life.status().is_connected()) => {
                incidents.notice(at, relay, notice);
            }
            _ => {}
        }
    }
}

/// The newest incidents.
#[derive(Debug, Clone, Default)]
pub(super) struct Incidents {
    /// Oldest first.
    entries: VecDeque<Incident>,
}

impl Incidents {
    /// Newest first.
    pub(super) fn report(&self) -> Vec<Incident> {
        self.entries.iter().rev().cloned().collect()
    }

    /// A batch of `relay` has ended; `why` is the reason for which it was made.
    pub(super) fn batch(&mut self, at: u64, relay: &RelayUrl, why: BatchReason, report: &BatchReport) {
        // The end of a connection is an incident by itself.
        let BatchOutcome::Failed(failures) = &report.outcome else { return };
        if report.is_cut_off() {
            return;
        }
        let first = failures.first().map_or_else(|| "nothing is named".to_owned(), |failure| failure.line());
        let more = failures.len().saturating_sub(1);
        let text = if more > 0 { format!("{} (and {more} more)", cut(&first)) } else { first };
        self.note(at, relay, IncidentKind::BatchFailed, why.as_str().to_owned(), &text);
    }

    /// Something happened on the connection to `relay`, which may be nothing to tell.
    pub(super) fn notice(&mut self, at: u64, relay: &RelayUrl, notice: &LinkNotice) {
        match notice {
            LinkNotice::FellBack { from, to, reason, .. } => {
                let to = if to.is_empty() { "none left" } else { to };
                self.note(at, relay, IncidentKind::Fallback, format!("{from} → {to}"), reason);
            }
            LinkNotice::RateLimited { text } => {
                self.note(at, relay, IncidentKind::RateLimited, String::new(), text);
            }
            LinkNotice::LiveRefused { text, .. } => {
                self.note(at, relay, IncidentKind::LiveRefused, String::new(), text);
            }
            LinkNotice::AuthRefused { text } => {
                self.note(at, relay, IncidentKind::AuthRefused, String::new(), text);
            }
            _ => {}
        }
    }

    /// Takes note of an incident.
    pub(super) fn note(&mut self, at: u64, relay: &RelayUrl, kind: IncidentKind, subject: String, reason: &str) {
        let mut new = Incident { at, relay: relay.clone(), kind, subject, reason: cut(reason), count: 1 };
        if let Some(old) =
            self.entries.iter().position(|known| known.is_same(&new)).and_then(|i| self.entries.remove(i))
        {
            new.count = old.count.saturating_add(1);
        }
        self.entries.push_back(new);
        if self.entries.iter().filter(|known| known.relay == *relay).count() > Incident::MAX_PER_RELAY
            && let Some(oldest) = self.entries.iter().position(|known| known.relay == *relay)
        {
            self.entries.remove(oldest);
        }
        if self.entries.len() > Incident::MAX {
            self.entries.pop_front();
        }
    }
}

/// As much of a text as is remembered.
fn cut(text: &str) -> String {
    match text.char_indices().nth(Incident::MAX_TEXT) {
        None => text.to_owned(),
        Some(_) => text.chars().take(Incident::MAX_TEXT - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(name: &str) -> RelayUrl {
        RelayUrl::parse(&format!("wss://{name}.example")).expect("valid")
    }

    fn lost(incidents: &mut Incidents, at: u64, relay: &str, reason: &str) {
        incidents.note(at, &url(relay), IncidentKind::ConnectionLost, String::new(), reason);
    }

    #[test]
    fn the_same_thing_is_told_once_with_how_often_it_happened() {
        let mut incidents = Incidents::default();
        lost(&mut incidents, 1, "a", "reset");
        lost(&mut incidents, 2, "b", "reset");
        lost(&mut incidents, 3, "a", "reset");
        let told: Vec<_> =
            incidents.report().into_iter().map(|told| (told.at, told.relay.to_string(), told.count)).collect();
        assert_eq!(told, [(3, "wss://a.example".to_owned(), 2), (2, "wss://b.example".to_owned(), 1)]);
    }

    #[test]
    fn one_relay_pushes_out_its_own_incidents_only() {
        let mut incidents = Incidents::default();
        lost(&mut incidents, 0, "quiet", "reset");
        for at in 1..1_000 {
            lost(&mut incidents, at, "loud", &format!("reason {at}"));
        }
        let report = incidents.report();
        assert_eq!(report.len(), Incident::MAX_PER_RELAY + 1);
        assert_eq!((report[0].reason.as_str(), report[0].count), ("reason 999", 1));
        assert_eq!(report[Incident::MAX_PER_RELAY].relay, url("quiet"));
    }

    #[test]
    fn many_relays_together_are_bounded_too() {
        let mut incidents = Incidents::default();
        for at in 0..200 {
            lost(&mut incidents, at, &format!("r{at}"), "reset");
        }
        let report = incidents.report();
        assert_eq!((report.len(), report[0].at), (Incident::MAX, 199));
    }

    #[test]
    fn long_words_are_cut_between_characters() {
        let mut incidents = Incidents::default();
        lost(&mut incidents, 1, "a", &"ü".repeat(Incident::MAX_TEXT));
        lost(&mut incidents, 2, "a", &"ü".repeat(Incident::MAX_TEXT + 1));
        let lengths: Vec<_> = incidents.report().iter().map(|told| told.reason.chars().count()).collect();
        assert_eq!(lengths, [Incident::MAX_TEXT, Incident::MAX_TEXT]);
        assert!(incidents.report()[0].reason.ends_with('…'));
    }
}
