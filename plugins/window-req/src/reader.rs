//! Which window is next, what is drained, what can't be shown.
//!
//! What is to be read lies on a stack of spans, the newest on top; a span is read from its end down, a window at a time. An
//! answer may be whole or cut (see the crate's head); either way what lies between the oldest second it showed and the start
//! of its window is read again as the end of the next window.

use strategy_abi::req::{Answer, Claims, Second, Sizes};
use strategy_abi::{Output, Window};

/// Questions of one session: less than the host allows.
const MAX_QUESTIONS: u32 = 100_000;
/// Answers of invalid events alone that a session puts up with.
const MAX_INVALID: u32 = 500;

pub(crate) struct Reader {
    claims: Claims,
    sizes: Sizes,
    /// How wide windows are.
    width: u64,
    todo: Vec<Span>,
    /// The span that the open question is for; it begins where that was asked from.
    open: Option<Span>,
    questions: u32,
    invalid: u32,
    /// All of a span was asked for, for want of a valid event.
    widened: bool,
}

/// A stretch of time that is to be read.
#[derive(Debug, Clone, Copy)]
struct Span {
    window: Window,
    /// How wide the first window is, where that is known.
    step: Option<u64>,
    trap: Option<Trap>,
    /// Nothing of it was ever asked for.
    untouched: bool,
}

/// An answer that is whole, or isn't: an event from `floor` on says which.
#[derive(Debug, Clone, Copy)]
struct Trap {
    floor: u64,
    /// Events of the answer.
    raw: u64,
    /// What is claimed of it where nothing was found.
    claim: Option<Window>,
}

impl Reader {
    /// Reads `gaps`, which lie in `window`, by windows of `width` seconds at first; `now` is the last second that
    /// can be claimed where the window has no end.
    pub(crate) fn new(window: Window, gaps: Vec<Window>, now: u64, width: u64, limit: u64) -> Self {
        let todo = gaps.into_iter().map(|window| {
            // What is dated later than now is rare: it comes with the first window.
            let later = window.until.saturating_sub(now.max(window.since));
            let step = (later > 0).then(|| later.saturating_add(width));
            Span { window, step, trap: None, untouched: true }
        });
        Self {
            claims: Claims::new(window, now),
            sizes: Sizes::new(limit),
            width,
            todo: todo.collect(),
            open: None,
            questions: 0,
            invalid: 0,
            widened: false,
        }
    }

    /// Whatever was asked for is all that there is: what is left of it holds nothing.
    pub(crate) fn all_shown(&mut self) {
        for span in std::mem::take(&mut self.todo) {
            match span {
                Span { untouched: true, .. } => self.todo.push(span),
                Span { window, trap, .. } => {
                    self.claims.whole(window);
                    if let Some(claim) = trap.and_then(|trap| trap.claim) {
                        self.claims.whole(claim);
                    }
                }
            }
        }
        self.claims.all_shown();
    }

    /// The window to ask for; `None` when everything has been read.
    ///
    /// # Errors
    /// The relay's answers don't end.
    pub(crate) fn next(&mut self) -> Result<Option<Window>, String> {
        let Some(mut span) = self.todo.pop() else {
            // How large answers get is known as well as it will be.
            self.claims.settle(&self.sizes);
            return Ok(None);
        };
        self.questions += 1;
        if self.questions > MAX_QUESTIONS {
            return Err(format!("the relay's answers have not ended within {MAX_QUESTIONS} windows"));
        }
        let Window { since, until } = span.window;
        let width = span.step.take().unwrap_or(self.width).max(1);
        let asked = Window { since: since.max(until.saturating_sub(width - 1)), until };
        span.untouched = false;
        self.open = Some(span);
        Ok(Some(asked))
    }

    /// An answer has ended; `finished` is NIP-67's hint.
    ///
    /// # Errors
    /// There is no way on.
    pub(crate) fn ended(&mut self, answer: &Answer, finished: Option<bool>) -> Result<(), String> {
        let Some(mut span) = self.open.take() else { return Ok(()) };
        let asked = answer.asked;
        let is_whole = self.sizes.ended(answer, finished);
        let Some(shown) = answer.shown else { return self.ended_without(span, answer, is_whole, finished) };
        if let Some(trap) = span.trap.take() {
            self.spring(trap, shown);
        }
        self.adapt(answer);
        if finished == Some(true) {
            self.claims.whole(asked);
            self.go_on(span, asked.since, None);
        } else if is_whole {
            self.claims.whole(Window { since: shown.until.saturating_add(1), until: asked.until });
            let trap = (asked.since < shown.since).then_some(Trap {
                floor: asked.since,
                raw: self.sizes.counted(answer),
                claim: Some(shown),
            });
            if trap.is_none() {
                self.claims.whole(shown);
            }
            self.go_on(span, shown.since, trap);
        } else {
            self.split(span, answer, shown, finished);
        }
        Ok(())
    }

    /// An answer may have been cut: what it leaves open is read in pieces.
    fn split(&mut self, span: Span, answer: &Answer, shown: Window, finished: Option<bool>) {
        let raw = self.sizes.counted(answer);
        let trap = |floor| Some(Trap { floor, raw, claim: None });
        let asked = answer.asked;
        self.go_on(span, shown.since, trap(asked.since).filter(|_| asked.since < shown.since));
        if shown.since == shown.until {
            // Alone it would show no more.
            let (at, more) = (shown.since, finished == Some(false));
            self.claims.unsure(Second { at, shown: answer.valid(), counted: raw, more }, &self.sizes);
        } else {
            let length = (shown.until - shown.since).saturating_add(1);
            let step = if shown == asked { length / 2 } else { length.div_ceil(2) };
            self.todo.push(Span { window: shown, step: Some(step), trap: None, untouched: false });
        }
        if shown.until < asked.until {
            let above = shown.until + 1;
            let window = Window { since: above, until: asked.until };
            self.todo.push(Span { window, step: Some(u64::MAX), trap: trap(above), untouched: false });
        }
    }

    /// An answer showed nothing that was asked for.
    fn ended_without(
        &mut self,
        mut span: Span,
        answer: &Answer,
        is_whole: bool,
        finished: Option<bool>,
    ) -> Result<(), String> {
        let Window { since, until } = answer.asked;
        if answer.raw > 0 && !is_whole {
            self.invalid += 1;
            if self.invalid > MAX_INVALID || finished == Some(false) {
                return Err(format!("asked for {since} to {until}, it sent {} events, none of them valid", answer.raw));
            }
        }
        if is_whole {
            if until - since >= self.width - 1 {
                self.width = self.width.saturating_mul(4);
            }
            self.claims.whole(answer.asked);
            self.pass(span, since);
            return Ok(());
        }
        // Invalid events may stand where valid ones were left out.
        if self.sizes.most == 0 && !self.widened {
            // How many it shows isn't known yet: all that there is may tell.
            self.widened = since == span.window.since;
            span.step = Some(u64::MAX);
        } else if since == until {
            let counted = self.sizes.counted(answer);
            self.claims.unsure(Second { at: since, shown: 0, counted, more: false }, &self.sizes);
            self.pass(span, since);
            return Ok(());
        }
        if self.widened || self.sizes.most > 0 {
            span.step = Some((until - since).div_ceil(2));
        }
        self.todo.push(span);
        Ok(())
    }

    /// Goes on below `since`, from where on nothing was shown.
    fn pass(&mut self, mut span: Span, since: u64) {
        match span.trap.take() {
            Some(trap) if since <= trap.floor => {
                if let Some(claim) = trap.claim {
                    self.claims.whole(claim);
                }
                self.go_on(span, since, None);
            }
            trap => self.go_on(span, since, trap),
        }
    }

    /// What is left of a span lies below `from`.
    fn go_on(&mut self, span: Span, from: u64, trap: Option<Trap>) {
        if let Some(until) = from.checked_sub(1).filter(|until| span.window.since <= *until) {
            self.todo.push(Span { window: Window { until, ..span.window }, step: None, trap, untouched: false });
        } else if let Some(claim) = trap.and_then(|trap| trap.claim) {
            self.claims.whole(claim);
        }
    }

    /// What lies beside an answer was shown: did that leave it out?
    fn spring(&mut self, trap: Trap, shown: Window) {
        let was_cut = shown.until >= trap.floor;
        if was_cut {
            self.sizes.was_cut(trap.raw);
        }
        match trap.claim {
            Some(window) if was_cut => self.todo.push(Span { window, step: None, trap: None, untouched: false }),
            Some(window) => self.claims.whole(window),
            None => {}
        }
    }

    /// Sets the width so that answers are about half as large as they can be.
    fn adapt(&mut self, answer: &Answer) {
        let counted = self.sizes.counted(answer);
        let most = self.sizes.limit.min(self.sizes.cut);
        let is_wide = answer.asked.until - answer.asked.since >= self.width - 1;
        if counted < most / 4 && is_wide {
            self.width = self.width.saturating_mul(2);
        } else if counted > most - most / 4 {
            self.width = (self.width / 2).max(1);
        }
    }

    /// The session ends before its time: what is known to be whole is claimed.
    pub(crate) fn give_up(&mut self) {
        self.claims.give_up(&self.sizes);
    }

    /// Whether what the relay didn't show of `second` is to be offered to it.
    pub(crate) fn may_lack(&self, second: u64) -> bool {
        self.claims.may_lack(second)
    }

    /// How many events are asked for at once.
    pub(crate) fn limit(&self) -> u64 {
        self.sizes.limit
    }

    /// What there is to say since the last call.
    pub(crate) fn take_outputs(&mut self) -> Vec<Output> {
        self.claims.take()
    }
}
