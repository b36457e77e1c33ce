//! One session under watch: inputs in, steps out.

use std::sync::Arc;

use sync_core::Now;
use sync_core::strategy::{SessionRequest, SyncSession, SyncStrategy, VecSet};

use super::given::{Given, Step};
use super::rules::{Rule, Watch};
use super::view::Counted;

/// Outputs that are taken of one input before the rest is left.
const MAX_OUTPUTS: usize = 1 << 17;

/// A session and what became of it.
pub(super) struct Player {
    session: Box<dyn SyncSession>,
    pub(super) watch: Watch,
    /// All steps, or the last alone.
    pub(super) steps: Vec<Step>,
    keeps: bool,
}

impl Player {
    pub(super) fn new(strategy: &Arc<dyn SyncStrategy>, request: &SessionRequest) -> Self {
        let session = strategy.open(request.clone());
        Self { session, watch: Watch::new(request.clone()), steps: Vec::new(), keeps: true }
    }

    /// Keeps the last step only.
    pub(super) fn forgetful(self) -> Self {
        Self { keeps: false, ..self }
    }

    /// Gives an input and takes all that it yields.
    pub(super) fn give(&mut self, given: Given, now: Now, set: &Arc<VecSet>) -> &Step {
        let view = Counted::new(set);
        let error = self.session.handle(given.input(), &view, now).err().map(|error| error.0);
        let mut outputs = Vec::new();
        while outputs.len() < MAX_OUTPUTS
            && let Some(output) = self.session.poll()
        {
            outputs.push(output);
        }
        let late = if outputs.len() < MAX_OUTPUTS { self.session.poll() } else { None };
        let deadline = self.session.next_timeout();
        let step = Step { given, now, set: Arc::clone(set), outputs, deadline, error };
        self.watch.step(&step, view.looks());
        if let Some(late) = late {
            self.watch.breach(Rule::End, || format!("{late:?} where there was nothing before, without an input"));
        }
        if !self.keeps {
            self.steps.clear();
        }
        self.steps.push(step);
        self.steps.last().unwrap_or_else(|| unreachable!("a step was pushed"))
    }

    /// Gives what was given before, with a clock that shows `shift_ms` more.
    pub(super) fn repeat(&mut self, steps: &[Step], shift_ms: u64) {
        for step in steps {
            let now = Now { mono_ms: step.now.mono_ms.saturating_add(shift_ms), ..step.now };
            self.give(step.given.clone(), now, &step.set);
        }
    }

    /// When to give [`Given::Timeout`].
    pub(super) fn deadline(&self) -> Option<u64> {
        self.steps.last().and_then(|step| step.deadline).map(|(at, _)| at)
    }

    /// Whether it has ended, or has broken a bound and may not end at all.
    pub(super) fn is_over(&self) -> bool {
        self.watch.is_over() || self.watch.broken.contains_key(&Rule::Bounds)
    }

    /// # Errors
    /// The first of `rules` that was broken.
    pub(super) fn keeps(&self, rules: &[Rule]) -> Result<(), String> {
        rules.iter().find_map(|rule| self.watch.broken.get(rule)).map_or(Ok(()), |text| Err(text.clone()))
    }
}
