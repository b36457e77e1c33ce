//! Whether a session can be believed, and whether it ends.
//!
//! A plugin may be wrong, or lie. What it claims is held against what was asked and answered: a window can't be drained that
//! nobody asked for, and a session isn't complete while seconds of its window are neither drained nor named. What it asks is
//! bounded, and so is the time in which nothing is heard. A session that breaks a rule fails, and the next strategy has its turn.
//!
//! An input and an output cost a search among the windows that were asked for.

use std::collections::BTreeMap;

use sync_core::strategy::{CheckVerdict, Input, Message, Output, SessionOutcome, SessionRequest, SubId, Window};
use sync_core::{MonoMillis, Now};

/// Questions in a row that may bring nothing.
const MAX_IDLE: u32 = 1_000;
/// Questions of one session.
const MAX_QUESTIONS: u32 = 200_000;
/// Subscriptions of one session at once.
const MAX_OPEN: usize = 256;
/// How many times the patience of one answer nothing may be heard, and its bounds in milliseconds.
const SILENCES: u64 = 10;
const MIN_SILENCE_MS: u64 = 60_000;
const MAX_SILENCE_MS: u64 = 3_600_000;

/// The account of one session.
#[derive(Debug)]
pub(crate) struct Guard {
    /// What of the window the filter can match.
    matching: Option<Window>,
    subs: BTreeMap<SubId, Asked>,
    /// What was shown, as far as answers go.
    shown: Spans,
    /// What is drained, now or before, or named as dense.
    drained: Spans,
    silence_ms: u64,
    heard_at: MonoMillis,
    questions: u32,
    idle: u32,
    started: bool,
    ended: bool,
}

/// A question.
#[derive(Debug)]
struct Asked {
    window: Window,
    reconciles: bool,
    /// The oldest second that was shown of it.
    oldest: Option<u64>,
    ended: bool,
}

impl Guard {
    pub(crate) fn new(request: &SessionRequest, answer_timeout_ms: u64) -> Self {
        let Window { since, until } = request.window;
        let since = since.max(request.filter.since.map_or(0, |time| time.as_secs()));
        let until = until.min(request.filter.until.map_or(u64::MAX, |time| time.as_secs()));
        let (mut shown, mut drained) = (Spans::default(), Spans::default());
        for window in request.drained.iter().filter(|window| window.since <= window.until) {
            shown.add(*window);
            drained.add(*window);
        }
        Self {
            matching: (since <= until).then_some(Window { since, until }),
            subs: BTreeMap::new(),
            shown,
            drained,
            silence_ms: answer_timeout_ms.saturating_mul(SILENCES).clamp(MIN_SILENCE_MS, MAX_SILENCE_MS),
            heard_at: 0,
            questions: 0,
            idle: 0,
            started: false,
            ended: false,
        }
    }

    /// Takes note of what the session is told.
    pub(crate) fn input(&mut self, input: &Input<'_>, now: Now) {
        match input {
            Input::Timeout => return,
            Input::Start => {
                self.started = true;
                // What comes later is nobody's to claim.
                self.matching = self.matching.and_then(|Window { since, until }| {
                    let until = until.min(now.unix_s);
                    (since <= until).then_some(Window { since, until })
                });
            }
            Input::Event { sub, created_at, verdict, .. } => {
                if let Some(asked) = self.subs.get_mut(sub).filter(|_| !matches!(verdict, CheckVerdict::Bad(_))) {
                    asked.oldest = Some(asked.oldest.map_or(*created_at, |oldest| oldest.min(*created_at)));
                }
                if *verdict == CheckVerdict::New {
                    self.idle = 0;
                }
            }
            Input::Eose { sub, .. } => self.answered(*sub),
            Input::Closed { sub, .. } => {
                self.answered(*sub);
                // There is nothing left to close.
                self.subs.remove(sub);
            }
            Input::NegMsg { sub, .. } => {
                if let Some(asked) = self.subs.get(sub).filter(|asked| asked.reconciles) {
                    self.shown.add(asked.window);
                }
            }
            Input::NegErr { sub, .. } => {
                self.subs.remove(sub);
            }
            Input::Notice { .. } | Input::ConnectionLost => {}
        }
        self.heard_at = now.mono_ms;
    }

    /// A REQ has its whole answer.
    fn answered(&mut self, sub: SubId) {
        if let Some(asked) = self.subs.get_mut(&sub)
            && !std::mem::replace(&mut asked.ended, true)
            && !asked.reconciles
        {
            self.shown.add(asked.window);
        }
    }

    /// Takes note of what the session yields; `asked` is what of its window a question is for.
    ///
    /// # Errors
    /// What it must not.
    pub(crate) fn output(&mut self, output: &Output, asked: Option<Window>) -> Result<(), String> {
        if self.ended {
            return Err("went on after its end".to_owned());
        }
        match output {
            Output::Send(Message::Req { sub, .. }) => self.asks(*sub, asked, false)?,
            Output::Send(Message::NegOpen { sub, .. }) => self.asks(*sub, asked, true)?,
            Output::Send(Message::NegMsg { .. }) => self.question()?,
            Output::Send(Message::Close { sub } | Message::NegClose { sub }) => {
                // What was shown until then was shown.
                if let Some(Asked { window, oldest: Some(oldest), ended: false, .. }) = self.subs.remove(sub) {
                    self.shown.add(Window { since: oldest.clamp(window.since, window.until), ..window });
                }
            }
            Output::Need { ids, within } => {
                if within.since > within.until {
                    return Err(format!("needs ids of seconds {} to {}", within.since, within.until));
                }
                self.idle = if ids.is_empty() { self.idle } else { 0 };
            }
            Output::Drained(window) => self.claims(*window)?,
            Output::Dense { second, .. } => {
                self.drained.add(Window { since: *second, until: *second });
            }
            Output::Done(outcome) => {
                self.ended = true;
                if *outcome == SessionOutcome::Complete
                    && let Some(gap) = self.matching.and_then(|window| self.drained.gap(window))
                {
                    return Err(format!("claims to be complete, and second {gap} is neither drained nor named"));
                }
            }
            Output::Have(_) | Output::Shared { .. } | Output::Remember(_) | Output::Progress { .. } => {}
        }
        Ok(())
    }

    fn asks(&mut self, sub: SubId, asked: Option<Window>, reconciles: bool) -> Result<(), String> {
        self.question()?;
        let Some(window) = asked else { return Err("asks for nothing".to_owned()) };
        let asked = Asked { window, reconciles, oldest: None, ended: false };
        if self.subs.insert(sub, asked).is_some_and(|before| !before.ended) {
            return Err(format!("asks by number {sub}, which is open"));
        }
        if self.subs.len() > MAX_OPEN {
            return Err(format!("has more than {MAX_OPEN} subscriptions open"));
        }
        Ok(())
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

    fn claims(&mut self, window: Window) -> Result<(), String> {
        if window.since > window.until {
            return Err(format!("claims seconds {} to {}", window.since, window.until));
        }
        // Of an answer that is not over, what was shown is known.
        for asked in self.subs.values().filter(|asked| !asked.ended) {
            if let Some(oldest) = asked.oldest {
                self.shown.add(Window { since: oldest.clamp(asked.window.since, asked.window.until), ..asked.window });
            }
        }
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

    /// To be asked when its outputs are drained: whether it still waits for anything.
    ///
    /// # Errors
    /// It doesn't, and isn't at its end.
    pub(crate) fn waits(&self, has_deadline: bool) -> Result<(), String> {
        if !self.started || self.ended || has_deadline || self.subs.values().any(|asked| !asked.ended) {
            return Ok(());
        }
        Err("waits for nothing and does not end".to_owned())
    }

    /// When nothing was heard for too long.
    pub(crate) fn deadline(&self) -> MonoMillis {
        self.heard_at.saturating_add(self.silence_ms)
    }
}

/// Seconds, as spans that don't touch.
#[derive(Debug, Default)]
struct Spans(BTreeMap<u64, u64>);

impl Spans {
    /// Adds a span; whether anything of it was not there.
    fn add(&mut self, Window { since, until }: Window) -> bool {
        if self.gap(Window { since, until }).is_none() {
            return false;
        }
        let (mut low, mut high) = (since, until);
        // What it touches becomes part of it.
        while let Some((&first, &last)) = self.0.range(..=high.saturating_add(1)).next_back() {
            if last.saturating_add(1) < low {
                break;
            }
            (low, high) = (low.min(first), high.max(last));
            self.0.remove(&first);
        }
        self.0.insert(low, high);
        true
    }

    /// The first second of a window that isn't in it.
    fn gap(&self, Window { since, until }: Window) -> Option<u64> {
        match self.0.range(..=since).next_back() {
            Some((_, last)) if *last >= until => None,
            Some((_, last)) if *last >= since => Some(last + 1),
            _ => Some(since),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use sync_core::nostr::event::EventId;
    use sync_core::nostr::filter::Filter;
    use sync_core::strategy::{Direction, RelayProfile};
    use sync_core::time::Jitter;

    use super::*;

    const NOW: Now = Now { mono_ms: 5, unix_s: 1_000 };

    fn guard(drained: &[Window]) -> Guard {
        let request = SessionRequest {
            filter: Filter::new(),
            window: Window { since: 100, until: u64::MAX },
            drained: drained.to_vec(),
            remembered: Vec::new(),
            profile: RelayProfile::default(),
            direction: Direction::Down,
            proven: false,
            seed: 1,
        };
        let mut guard = Guard::new(&request, 1_000);
        guard.input(&Input::Start, NOW);
        guard
    }

    fn window(since: u64, until: u64) -> Window {
        Window { since, until }
    }

    fn req(sub: SubId) -> Output {
        Output::Send(Message::Req { sub, filter: Box::new(Filter::new()) })
    }

    fn event(sub: SubId, created_at: u64) -> Input<'static> {
        Input::Event { sub, id: EventId::from_byte_array([1; 32]), created_at, verdict: CheckVerdict::New }
    }

    const COMPLETE: Output = Output::Done(SessionOutcome::Complete);

    #[test]
    fn spans_are_what_a_set_of_seconds_is() {
        let mut jitter = Jitter::new(7);
        let (mut spans, mut plain) = (Spans::default(), BTreeSet::new());
        for _ in 0..2_000 {
            let since = jitter.between(0, 300);
            let span = window(since, since + jitter.between(0, 4));
            let fresh = (span.since..=span.until).find(|second| !plain.contains(second));
            assert_eq!(spans.gap(span), fresh, "{span:?} in {spans:?}");
            if jitter.between(0, 3) == 0 {
                assert_eq!(spans.add(span), fresh.is_some());
                plain.extend(span.since..=span.until);
            }
        }
        let mut all = Spans::default();
        assert!(all.add(Window::ALL) && !all.add(window(5, u64::MAX)));
        assert_eq!(all.gap(Window::ALL), None);
    }

    #[test]
    fn what_nobody_asked_for_is_not_drained() {
        let mut guard = guard(&[]);
        assert!(guard.output(&Output::Drained(window(100, 200)), None).is_err());
        guard.output(&req(1), Some(window(100, 500))).expect("a question");
        assert!(guard.output(&Output::Drained(window(100, 500)), None).is_err(), "nothing was shown");
        guard.input(&event(1, 300), NOW);
        guard.output(&Output::Drained(window(300, 500)), None).expect("was shown");
        assert!(guard.output(&Output::Drained(window(299, 500)), None).is_err());
        guard.input(&Input::Eose { sub: 1, finished: None }, NOW);
        guard.output(&Output::Drained(window(100, 500)), None).expect("was answered");
        assert!(guard.output(&COMPLETE, None).is_err(), "501 to now");
    }

    #[test]
    fn complete_is_what_is_drained_or_named() {
        let mut guard = guard(&[window(0, 400)]);
        guard.output(&req(1), Some(window(400, u64::MAX))).expect("a question");
        guard.input(&Input::Eose { sub: 1, finished: None }, NOW);
        for drained in [window(401, 500), window(502, u64::MAX)] {
            guard.output(&Output::Drained(drained), None).expect("was answered");
        }
        guard.output(&Output::Dense { second: 501, shown: 3, certain: true }, None).expect("named");
        guard.output(&COMPLETE, None).expect("it is");
        assert!(guard.output(&COMPLETE, None).is_err(), "it has ended");
    }

    #[test]
    fn questions_that_bring_nothing_end() {
        let mut guard = guard(&[]);
        let mut ask = |sub| {
            guard.output(&req(sub), Some(window(100, 200)))?;
            guard.input(&Input::Eose { sub, finished: None }, NOW);
            Ok::<_, String>(())
        };
        let asked = (0..).take_while(|sub| ask(*sub).is_ok()).count();
        assert!(asked <= MAX_OPEN, "they are never closed: {asked}");
    }

    #[test]
    fn what_the_relay_closed_is_not_open() {
        let mut guard = guard(&[]);
        let (meaning, text) = (sync_core::response::Meaning::Unknown, String::new());
        let said = sync_core::response::Said { meaning, text, cap: None, names_negentropy: false };
        for sub in 0..900 {
            guard.output(&req(sub), Some(window(100, 200))).expect("few are open");
            guard.input(&Input::Closed { sub, said: &said }, NOW);
        }
        guard.output(&Output::Drained(window(100, 200)), None).expect("was answered");
    }

    #[test]
    fn whoever_waits_for_nothing_is_found() {
        let mut guard = guard(&[]);
        assert!(guard.waits(false).is_err() && guard.waits(true).is_ok());
        guard.output(&req(1), Some(window(100, 200))).expect("a question");
        assert!(guard.waits(false).is_ok());
        assert_eq!(guard.deadline(), NOW.mono_ms + MIN_SILENCE_MS, "silence ends");
    }
}
