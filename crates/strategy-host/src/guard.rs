//! Whether a session can be believed, and whether it ends.
//!
//! A plugin may be wrong, or lie. What it claims is held against what was asked and answered: a window can't be drained that no
//! answer has shown, a second can't be dense at which no answer was cut, and a session isn't complete while seconds of its window
//! were not shown, or are neither drained nor named. What it asks and says is bounded, and so is the time in which nothing is
//! heard. A session that breaks a rule fails, and the next strategy has its turn.
//!
//! An input and an output cost a search among the windows that were asked for; see [`shown`] for what parts of a filter cost.

mod shown;
mod spans;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use sync_core::nostr::event::EventId;
use sync_core::nostr::filter::Filter;
use sync_core::response::{Meaning, Said};
use sync_core::strategy::{CheckVerdict, Input, Message, Output, SessionOutcome, SessionRequest, SubId, Window};
use sync_core::{MonoMillis, Now};

use crate::limits::MAX_ITEMS;
use shown::{Part, Shown};
use spans::Spans;

/// Questions, and deadlines that pass, in a row that may bring nothing.
const MAX_IDLE: u32 = 1_000;
/// Questions of one session, and deadlines that pass.
const MAX_QUESTIONS: u32 = 200_000;
/// Subscriptions of one session at once.
const MAX_OPEN: usize = 256;
/// Outputs of one session: so many, and so many for each question, event, and id that a payload may have named.
const OUTPUTS: u64 = 100_000;
const OUTPUTS_EACH: u64 = 8;
/// How often the ids of the set may be named as lacking.
const HAVES: u64 = 4;
/// Bytes that are kept of a relay for a strategy: what the link takes.
const MAX_REMEMBERED: usize = 4_096;
/// Bytes of a payload that is sent: what servers take of one message, and half of that since it goes as hex.
const MAX_PAYLOAD: usize = 512 << 10;
/// Bytes around payload or filter in their message.
const ENVELOPE: usize = 256;
/// A relay that says it takes less than this is not to be believed.
const MESSAGE_LEAST: usize = 16 << 10;
/// Bytes of a value in a filter: hex and quotes, or digits.
const BYTES_OF_ID: usize = 67;
const BYTES_OF_KIND: usize = 6;
/// How many times the patience of one answer nothing may be heard, and its bounds in milliseconds.
const SILENCES: u64 = 10;
const MIN_SILENCE_MS: u64 = 60_000;
const MAX_SILENCE_MS: u64 = 3_600_000;
/// How many silences a question may stay open, whatever is heard.
const LATE: u64 = 2;

/// The account of one session.
#[derive(Debug)]
pub(crate) struct Guard {
    filter: Filter,
    window: Window,
    /// Bytes of a message that the relay takes.
    message: usize,
    /// What of the window the filter can match.
    matching: Option<Window>,
    subs: BTreeMap<SubId, Asked>,
    /// What was shown, as far as answers go.
    shown: Shown,
    /// The oldest seconds of answers: where they may have been cut.
    edges: BTreeSet<u64>,
    /// What is drained, now or before, or named as dense.
    drained: Spans,
    silence_ms: u64,
    now: MonoMillis,
    heard_at: MonoMillis,
    questions: u32,
    idle: u32,
    outputs: u64,
    /// Events, and ids that payloads had room for.
    came: u64,
    needed: u64,
    lacking: u64,
    started: bool,
    ended: bool,
}

/// A question.
#[derive(Debug)]
struct Asked {
    window: Window,
    part: Part,
    kind: Kind,
    /// The oldest second that was shown of it.
    oldest: Option<u64>,
    at: MonoMillis,
    ended: bool,
}

#[derive(Debug)]
enum Kind {
    /// A REQ for `limit` events at most, and which came, as far as that is to be known.
    Req { limit: Option<usize>, came: HashSet<EventId> },
    /// A reconciliation, and whether it is the relay's turn.
    Neg { awaits: bool },
}

impl Guard {
    pub(crate) fn new(request: &SessionRequest, answer_timeout_ms: u64) -> Self {
        let Window { since, until } = request.window;
        let since = since.max(request.filter.since.map_or(0, |time| time.as_secs()));
        let until = until.min(request.filter.until.map_or(u64::MAX, |time| time.as_secs()));
        let (mut shown, mut drained) = (Shown::new(&request.filter), Spans::default());
        for window in request.drained.iter().filter(|window| window.since <= window.until) {
            shown.add(&Part::Whole, *window);
            drained.add(*window);
        }
        let told = request.profile.max_message_length.filter(|most| *most >= MESSAGE_LEAST);
        Self {
            filter: request.filter.clone(),
            window: request.window,
            message: told.map_or(2 * MAX_PAYLOAD, |most| most - ENVELOPE),
            matching: (since <= until).then_some(Window { since, until }),
            subs: BTreeMap::new(),
            shown,
            edges: BTreeSet::new(),
            drained,
            silence_ms: answer_timeout_ms.saturating_mul(SILENCES).clamp(MIN_SILENCE_MS, MAX_SILENCE_MS),
            now: 0,
            heard_at: 0,
            questions: 0,
            idle: 0,
            outputs: 0,
            came: 0,
            needed: 0,
            lacking: 0,
            started: false,
            ended: false,
        }
    }

    /// Takes note of what the session is told.
    pub(crate) fn input(&mut self, input: &Input<'_>, now: Now) {
        self.now = self.now.max(now.mono_ms);
        let heard = match input {
            Input::Timeout | Input::ConnectionLost => false,
            Input::Start => {
                self.started = true;
                // What comes later is nobody's to claim.
                self.matching = self.matching.and_then(|Window { since, until }| {
                    let until = until.min(now.unix_s);
                    (since <= until).then_some(Window { since, until })
                });
                true
            }
            Input::Event { sub, id, created_at, verdict } => {
                self.came += 1;
                if *verdict == CheckVerdict::New {
                    self.idle = 0;
                }
                self.event(*sub, *id, *created_at, *verdict)
            }
            Input::Eose { sub, finished } => self.answered(*sub, *finished),
            Input::Closed { sub, said } => self.closed(*sub, said),
            Input::NegMsg { sub, payload } => {
                self.came += payload.len() as u64 / 32;
                let asked = self.subs.get_mut(sub);
                match asked {
                    Some(Asked { kind: Kind::Neg { awaits }, part, window, .. }) => {
                        self.shown.add(part, *window);
                        std::mem::take(awaits)
                    }
                    _ => false,
                }
            }
            Input::NegErr { sub, .. } => self.subs.remove(sub).is_some(),
            Input::Notice { .. } => self.subs.values().any(Asked::is_open),
        };
        // What comes of questions that are answered keeps nobody waiting.
        if heard {
            self.heard_at = self.now;
        }
    }

    fn event(&mut self, sub: SubId, id: EventId, created_at: u64, verdict: CheckVerdict) -> bool {
        let Some(asked) = self.subs.get_mut(&sub).filter(|asked| asked.is_open()) else { return false };
        if !matches!(verdict, CheckVerdict::Bad(_)) {
            asked.oldest = Some(asked.oldest.map_or(created_at, |oldest| oldest.min(created_at)));
            if let Kind::Req { limit: Some(limit), came } = &mut asked.kind
                && came.len() < *limit
            {
                came.insert(id);
            }
        }
        true
    }

    /// A REQ has its answer: whole, unless it has as many events as were asked for, or the relay says that there are more (NIP-67).
    fn answered(&mut self, sub: SubId, finished: Option<bool>) -> bool {
        let Some(asked) = self.subs.get_mut(&sub).filter(|asked| asked.is_open()) else { return false };
        let Kind::Req { limit, came } = &asked.kind else { return false };
        // Who asks by ids may know that it has them all.
        let full = limit.is_some_and(|limit| came.len() >= limit) && self.filter.ids.is_none();
        asked.ended = true;
        if finished.unwrap_or(!full) {
            self.shown.add(&asked.part, asked.window);
        }
        self.seen(sub);
        true
    }

    /// The relay ended a question. It takes the place of EOSE where it gives no reason.
    fn closed(&mut self, sub: SubId, said: &Said) -> bool {
        let came = self.subs.get(&sub).is_some_and(|asked| asked.oldest.is_some());
        let open = if said.meaning == Meaning::Unknown && (said.text.is_empty() || came) {
            self.answered(sub, None)
        } else {
            self.seen(sub)
        };
        // There is nothing left to close.
        self.subs.remove(&sub).is_some() && open
    }

    /// What was shown by an answer is shown, whether it has ended or not: from its oldest second on. Whether it was open.
    fn seen(&mut self, sub: SubId) -> bool {
        let Some(asked) = self.subs.get(&sub) else { return false };
        if let (Some(oldest), Kind::Req { .. }) = (asked.oldest, &asked.kind) {
            let since = oldest.clamp(asked.window.since, asked.window.until);
            self.shown.add(&asked.part, Window { since, ..asked.window });
            self.edges.insert(oldest);
        }
        asked.is_open()
    }

    /// A deadline of the session has passed, and it is told.
    ///
    /// # Errors
    /// That happens too often.
    pub(crate) fn passed(&mut self) -> Result<(), String> {
        self.question()
    }

    /// Takes note of what the session yields; `asked` is what of its window a question is for. `held` tells how many items the set
    /// has.
    ///
    /// # Errors
    /// What it must not.
    pub(crate) fn output(
        &mut self,
        output: &Output,
        asked: Option<Window>,
        held: &mut dyn FnMut() -> u64,
    ) -> Result<(), String> {
        if self.ended {
            return Err("went on after its end".to_owned());
        }
        self.outputs += 1;
        let most = OUTPUTS + OUTPUTS_EACH.saturating_mul(self.came + u64::from(self.questions));
        if self.outputs > most {
            return Err(format!("has said {most} things of {} that came", self.came));
        }
        match output {
            Output::Send(message) => self.message(message, asked)?,
            Output::Need { ids, within } => {
                self.within(*within, "needs ids of")?;
                self.needed += ids.len() as u64;
                if self.needed > self.came {
                    return Err(format!("needs {} ids, and {} can have been named", self.needed, self.came));
                }
                self.idle = if ids.is_empty() { self.idle } else { 0 };
            }
            Output::Have(ids) => {
                self.lacking += ids.len() as u64;
                let held = held();
                if self.lacking > HAVES * held {
                    return Err(format!("names {} ids as lacking, of {held}", self.lacking));
                }
            }
            Output::Shared { count, oldest } => {
                if *count > MAX_ITEMS {
                    return Err(format!("shares {count} items; {MAX_ITEMS} can be compared"));
                }
                if let Some(oldest) = *oldest {
                    self.within(Window { since: oldest, until: oldest }, "shares items of")?;
                }
            }
            Output::Drained(window) => self.claims(*window)?,
            Output::Dense { second, .. } => self.dense(*second)?,
            Output::Remember(bytes) if bytes.len() > MAX_REMEMBERED => {
                return Err(format!("wants {} bytes remembered; {MAX_REMEMBERED} are kept", bytes.len()));
            }
            Output::Remember(_) | Output::Progress { .. } => {}
            Output::Done(outcome) => {
                self.ended = true;
                if let (SessionOutcome::Complete, Some(window)) = (outcome, self.matching) {
                    self.look();
                    if let Some(gap) = self.shown.gap(window) {
                        return Err(format!("claims to be complete, and no answer has shown second {gap}"));
                    }
                    if let Some(gap) = self.drained.gap(window) {
                        return Err(format!("claims to be complete, and second {gap} is neither drained nor named"));
                    }
                }
            }
        }
        Ok(())
    }

    fn message(&mut self, message: &Message, asked: Option<Window>) -> Result<(), String> {
        match message {
            Message::Req { sub, filter } => {
                let kind = Kind::Req { limit: filter.limit, came: HashSet::new() };
                self.asks(*sub, filter, asked, kind)
            }
            Message::NegOpen { sub, filter, payload } => {
                self.asks(*sub, filter, asked, Kind::Neg { awaits: true })?;
                self.payload(payload)
            }
            Message::NegMsg { sub, payload } => {
                self.question()?;
                let now = self.now;
                match self.subs.get_mut(sub) {
                    Some(Asked { kind: Kind::Neg { awaits: awaits @ false }, at, .. }) => (*awaits, *at) = (true, now),
                    Some(Asked { kind: Kind::Neg { .. }, .. }) => {
                        return Err(format!("goes on with reconciliation {sub} before the relay has answered"));
                    }
                    _ => return Err(format!("goes on with reconciliation {sub}, which isn't open")),
                }
                self.payload(payload)
            }
            Message::Close { sub } | Message::NegClose { sub } => {
                self.seen(*sub);
                self.subs.remove(sub);
                Ok(())
            }
        }
    }

    fn asks(&mut self, sub: SubId, filter: &Filter, asked: Option<Window>, kind: Kind) -> Result<(), String> {
        self.question()?;
        let Some(window) = asked else { return Err("asks for nothing".to_owned()) };
        let (bytes, most) = (bytes_of(filter), self.message.max(bytes_of(&self.filter)));
        if bytes > most {
            return Err(format!("asks for values of about {bytes} bytes, and {most} are taken"));
        }
        let part = self.shown.part(filter);
        let asked = Asked { window, part, kind, oldest: None, at: self.now, ended: false };
        if self.subs.insert(sub, asked).is_some_and(|before| before.is_open()) {
            return Err(format!("asks by number {sub}, which is open"));
        }
        if self.subs.len() > MAX_OPEN {
            return Err(format!("has more than {MAX_OPEN} subscriptions open"));
        }
        Ok(())
    }

    fn payload(&self, payload: &[u8]) -> Result<(), String> {
        let (bytes, most) = (payload.len(), MAX_PAYLOAD.min(self.message / 2));
        match bytes {
            0 => Err("sends an empty payload".to_owned()),
            _ if bytes > most => Err(format!("sends a payload of {bytes} bytes, and {most} are taken")),
            _ => Ok(()),
        }
    }

    fn question(&mut self) -> Result<(), String> {
        self.questions += 1;
        self.idle += 1;
        if self.questions > MAX_QUESTIONS {
            return Err(format!("asked {MAX_QUESTIONS} questions and did not end"));
        }
        if self.idle > MAX_IDLE {
            return Err(format!("asked {MAX_IDLE} questions that brought nothing"));
        }
        Ok(())
    }

    fn within(&self, Window { since, until }: Window, what: &str) -> Result<(), String> {
        let all = self.window;
        if all.since <= since && since <= until && until <= all.until {
            return Ok(());
        }
        Err(format!("{what} seconds {since} to {until} in a session of {} to {}", all.since, all.until))
    }

    /// Of answers that are not over, what was shown is known.
    fn look(&mut self) {
        let open: Vec<SubId> = self.subs.iter().filter(|(_, asked)| asked.is_open()).map(|(sub, _)| *sub).collect();
        for sub in open {
            self.seen(sub);
        }
    }

    fn claims(&mut self, window: Window) -> Result<(), String> {
        self.within(window, "claims")?;
        self.look();
        let claimed = self.matching.and_then(|matching| {
            let (since, until) = (matching.since.max(window.since), matching.until.min(window.until));
            (since <= until).then_some(Window { since, until })
        });
        if let Some(gap) = claimed.and_then(|claimed| self.shown.gap(claimed)) {
            return Err(format!("claims second {gap}, and no answer has shown it"));
        }
        if self.drained.add(window) {
            self.idle = 0;
        }
        Ok(())
    }

    fn dense(&mut self, second: u64) -> Result<(), String> {
        let window = Window { since: second, until: second };
        self.within(window, "names as dense")?;
        self.look();
        if !self.edges.contains(&second) {
            return Err(format!("names second {second} as dense, and no answer ends there"));
        }
        self.drained.add(window);
        Ok(())
    }

    /// To be asked when its outputs are drained: whether it still waits for anything.
    ///
    /// # Errors
    /// It doesn't, and isn't at its end.
    pub(crate) fn waits(&self, has_deadline: bool) -> Result<(), String> {
        if !self.started || self.ended || has_deadline || self.subs.values().any(Asked::is_open) {
            return Ok(());
        }
        Err("waits for nothing and does not end".to_owned())
    }

    /// When nothing was heard for too long, or a question is open for too long.
    pub(crate) fn deadline(&self) -> MonoMillis {
        let late = self.subs.values().filter(|asked| asked.is_open()).map(|asked| asked.at).min();
        let late = late.map_or(u64::MAX, |at| at.saturating_add(self.silence_ms.saturating_mul(LATE)));
        self.heard_at.saturating_add(self.silence_ms).min(late)
    }
}

impl Asked {
    /// Whether the relay is to say something.
    fn is_open(&self) -> bool {
        !self.ended && !matches!(self.kind, Kind::Neg { awaits: false })
    }
}

/// About how long the lists of a filter are in a message.
fn bytes_of(filter: &Filter) -> usize {
    let ids = filter.ids.as_ref().map_or(0, BTreeSet::len) + filter.authors.as_ref().map_or(0, BTreeSet::len);
    ids * BYTES_OF_ID + filter.kinds.as_ref().map_or(0, BTreeSet::len) * BYTES_OF_KIND
}

#[cfg(test)]
mod tests;
