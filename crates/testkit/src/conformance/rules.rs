//! What must hold after every input, whatever the relay does: looked at step by step, by what went in and came out.

use std::collections::BTreeMap;

use sync_core::model::FailureReason;
use sync_core::strategy::{Message, Output, SessionOutcome, SessionRequest, SubId, Window};

use super::given::{Given, Step, shown};
use super::narrowing;
use super::view::Looks;

/// Outputs of one input, beyond one for each item that was looked at and each byte that came in.
const OUTPUTS: u64 = 1_024;
/// Questions open at once.
const OPEN: usize = 64;
/// Questions of one session, however long the relay answers.
pub(super) const QUESTIONS: u64 = 120_000;
/// Bytes of a payload that is sent: what servers take of one message, and half of that since it goes as hex.
const PAYLOAD: usize = 512 << 10;
/// Bytes around a payload in its message.
const ENVELOPE: usize = 256;
/// A relay that says it takes less than this is not to be believed.
const MESSAGE_LEAST: usize = 16 << 10;
/// How far off a deadline may be, milliseconds: two days.
const DEADLINE_MS: u64 = 2 * 86_400_000;
/// Bytes to be remembered: what the link keeps.
const REMEMBERED: usize = 4_096;
/// Bytes of what an outcome says.
const TEXT: usize = 4_096;
/// Passes over the local set for one input, and items beyond that.
const PASSES: u64 = 16;
/// Looks at the local set for one input, beyond [`PASSES`] for each item and each byte that came in.
const LOOKS: u64 = 4_096;

/// What a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    /// What is sent.
    Messages,
    /// The end of a session, and what comes after it.
    End,
    /// How much there is of anything, and for how long.
    Bounds,
    /// What a session ends with.
    Outcome,
    /// What is said of times and ids.
    Claims,
    /// How the local set is looked at.
    Views,
}

/// One session, watched.
#[derive(Debug)]
pub(super) struct Watch {
    request: SessionRequest,
    started: bool,
    lost: bool,
    pub(super) done: Option<SessionOutcome>,
    /// The session returned an error: it is over, too.
    failed: bool,
    /// What is open; whether it is a reconciliation.
    pub(super) open: BTreeMap<SubId, bool>,
    pub(super) questions: u64,
    /// Ids that came in: one for each event, and as many as fit into the payloads.
    came: u64,
    named: u64,
    looked_at: u64,
    /// The first breach of each rule.
    pub(super) broken: BTreeMap<Rule, String>,
}

impl Watch {
    pub(super) fn new(request: SessionRequest) -> Self {
        Self {
            request,
            started: false,
            lost: false,
            done: None,
            failed: false,
            open: BTreeMap::new(),
            questions: 0,
            came: 0,
            named: 0,
            looked_at: 0,
            broken: BTreeMap::new(),
        }
    }

    /// Whether the session has ended, well or not.
    pub(super) fn is_over(&self) -> bool {
        self.done.is_some() || self.failed
    }

    /// Takes note of a breach.
    pub(super) fn breach(&mut self, rule: Rule, text: impl FnOnce() -> String) {
        self.broken.entry(rule).or_insert_with(text);
    }

    fn must(&mut self, rule: Rule, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            self.breach(rule, text);
        }
    }

    /// Looks at a step. `looks`: how the local set was looked at in it.
    pub(super) fn step(&mut self, step: &Step, looks: Looks) {
        let was_over = self.is_over();
        match &step.given {
            Given::Start => self.started = true,
            Given::Closed { sub, .. } => {
                self.open.remove(sub);
            }
            Given::NegErr { sub, .. } if self.open.get(sub) == Some(&true) => {
                self.open.remove(sub);
            }
            Given::Event { .. } => self.came += 1,
            Given::NegMsg { payload, .. } => self.came += payload.len() as u64 / 32,
            Given::ConnectionLost => self.lost = true,
            _ => {}
        }
        self.looked_at += looks.items;
        self.amounts(step, looks);
        for output in &step.outputs {
            self.output(output, step);
        }
        if let Some(error) = &step.error {
            let again = matches!(step.given, Given::Start);
            self.must(Rule::End, !was_over || again, || {
                format!("an error after the end, by {}: {error}", shown(&step.given))
            });
            self.failed = true;
        }
        self.must(Rule::End, !self.lost || self.is_over(), || {
            format!("the connection is lost, and it goes on: {}", shown(&step.outputs))
        });
        self.deadline(step);
    }

    fn amounts(&mut self, step: &Step, looks: Looks) {
        let (bytes, outputs) = (step.given.payload_len() as u64, step.outputs.len() as u64);
        let most = OUTPUTS + looks.items + bytes;
        self.must(Rule::Bounds, outputs <= most, || format!("{outputs} outputs or more of {}", shown(&step.given)));
        let (len, most) = (looks.len, PASSES * looks.len + OUTPUTS);
        self.must(Rule::Views, looks.items <= most, || {
            format!("{} items visited of a set of {len}, by {}", looks.items, shown(&step.given))
        });
        let most = LOOKS + PASSES * (len + bytes);
        self.must(Rule::Views, looks.calls <= most, || {
            format!("the set of {len} looked at {} times, by {}", looks.calls, shown(&step.given))
        });
    }

    fn deadline(&mut self, step: &Step) {
        let now = step.now.mono_ms;
        match step.deadline {
            Some((at, what)) => {
                self.must(Rule::End, !self.is_over(), || format!("a deadline after the end: {what} at {at}"));
                self.must(Rule::Bounds, at <= now.saturating_add(DEADLINE_MS), || {
                    format!("a deadline more than two days off: {what} at {at}, and it is {now}")
                });
                let stuck = matches!(step.given, Given::Timeout) && at <= now;
                self.must(Rule::Bounds, !stuck, || {
                    format!("nothing done about a deadline that has passed: {what} at {at}")
                });
            }
            None => {
                let (waits, open) = (self.started && !self.is_over(), self.open.clone());
                self.must(Rule::Bounds, !waits, || {
                    format!("it waits, and there is no deadline, after {}; open are {open:?}", shown(&step.given))
                });
            }
        }
    }

    fn output(&mut self, output: &Output, step: &Step) {
        self.must(Rule::End, !self.is_over(), || {
            format!("after the end, by {}: {}", shown(&step.given), shown(output))
        });
        self.must(Rule::End, self.started || self.lost, || format!("before the start: {}", shown(output)));
        match output {
            Output::Send(message) => {
                self.must(Rule::End, !self.lost, || format!("sent after the connection was lost: {}", shown(message)));
                if let Err(text) = self.message(message) {
                    self.breach(Rule::Messages, || text);
                }
            }
            Output::Need { ids, within } => {
                self.named += ids.len() as u64;
                let (named, came) = (self.named, self.came);
                self.must(Rule::Bounds, named <= came, || {
                    format!("{named} ids needed, and {came} can have been named")
                });
                self.within(*within, "ids are needed within");
            }
            Output::Have(ids) => {
                let most = 4 * self.looked_at;
                self.must(Rule::Bounds, ids.len() as u64 <= most, || format!("{} ids said to be lacked", ids.len()));
            }
            Output::Dense { second, .. } => self.within(Window { since: *second, until: *second }, "dense is"),
            Output::Drained(window) => {
                self.within(*window, "drained is");
                let open_end = self.request.window.until == u64::MAX;
                self.must(Rule::Claims, !open_end || window.until <= step.now.unix_s, || {
                    format!("{window:?} is claimed, and it is {}: what is to come can't be drained", step.now.unix_s)
                });
            }
            Output::Remember(bytes) => {
                self.must(Rule::Bounds, bytes.len() <= REMEMBERED, || format!("{} bytes to remember", bytes.len()));
            }
            Output::Done(outcome) => self.outcome(outcome, step),
            Output::Shared { .. } | Output::Progress { .. } => {}
        }
    }

    fn within(&mut self, window: Window, what: &str) {
        let all = self.request.window;
        let inside = all.since <= window.since && window.since <= window.until && window.until <= all.until;
        self.must(Rule::Claims, inside, || format!("{what} {window:?}, the session is for {all:?}"));
    }

    fn outcome(&mut self, outcome: &SessionOutcome, step: &Step) {
        let complete = *outcome == SessionOutcome::Complete;
        self.must(Rule::Outcome, !complete || !self.lost, || "complete, where the connection was lost".to_owned());
        let bounds = narrowing::bounds(&self.request.filter, self.request.window);
        let open = bounds.since <= bounds.until && !bounds.without(self.request.drained.iter().copied()).is_empty();
        self.must(Rule::Outcome, !(complete && open && self.questions == 0), || {
            "complete, and nothing was asked".to_owned()
        });
        if self.lost {
            let said = matches!(outcome, SessionOutcome::Failed { reason: FailureReason::ConnectionLost, .. })
                || !matches!(step.given, Given::ConnectionLost);
            self.must(Rule::Outcome, said, || format!("{}, where the connection was lost", shown(outcome)));
        }
        let text = match outcome {
            SessionOutcome::Complete => "",
            SessionOutcome::Incomplete { text, .. }
            | SessionOutcome::TooBig { text, .. }
            | SessionOutcome::Unsupported { text }
            | SessionOutcome::Failed { text, .. } => text,
        };
        self.must(Rule::Bounds, text.len() <= TEXT, || format!("{} bytes of words about the outcome", text.len()));
        self.must(Rule::Outcome, complete || !text.is_empty(), || {
            format!("an outcome without words: {}", shown(outcome))
        });
        self.done.get_or_insert_with(|| outcome.clone());
    }

    /// # Errors
    /// What is wrong with it.
    fn message(&mut self, message: &Message) -> Result<(), String> {
        match message {
            Message::Req { sub, filter } => self.ask(*sub, filter, false),
            Message::NegOpen { sub, filter, payload } => {
                self.ask(*sub, filter, true)?;
                self.payload(payload)
            }
            Message::NegMsg { sub, payload } => {
                self.questions += 1;
                if self.open.get(sub) != Some(&true) {
                    return Err(format!("NEG-MSG for {sub}, and no such reconciliation is open"));
                }
                self.payload(payload)
            }
            Message::Close { sub } => match self.open.remove(sub) {
                Some(false) => Ok(()),
                _ => Err(format!("CLOSE for {sub}, and no such REQ is open")),
            },
            Message::NegClose { sub } => match self.open.remove(sub) {
                Some(true) => Ok(()),
                _ => Err(format!("NEG-CLOSE for {sub}, and no such reconciliation is open")),
            },
        }
    }

    fn ask(&mut self, sub: SubId, filter: &nostr::filter::Filter, neg: bool) -> Result<(), String> {
        self.questions += 1;
        let questions = self.questions;
        self.must(Rule::Bounds, questions <= QUESTIONS, || format!("{questions} questions, and no end"));
        let reused = self.open.insert(sub, neg).is_some();
        let open = self.open.len();
        self.must(Rule::Bounds, open <= OPEN, || format!("{open} questions at once"));
        if reused {
            return Err(format!("{sub} is asked by again while it is open"));
        }
        narrowing::check(filter, &self.request.filter, self.request.window)
            .map_err(|text| format!("{text}: {}", serde_json::to_string(filter).unwrap_or_default()))
    }

    fn payload(&mut self, payload: &[u8]) -> Result<(), String> {
        let told = self.request.profile.max_message_length.filter(|most| *most >= MESSAGE_LEAST);
        let most = told.map_or(PAYLOAD, |most| ((most - ENVELOPE) / 2).min(PAYLOAD));
        let bytes = payload.len();
        self.must(Rule::Bounds, bytes <= most, || format!("a payload of {bytes} bytes, where {most} are taken"));
        if payload.is_empty() { Err("an empty payload".to_owned()) } else { Ok(()) }
    }
}
