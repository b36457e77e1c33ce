//! The reference: what a session said, held against what the relay holds.

use std::collections::BTreeSet;
use std::sync::Arc;

use nostr::event::{Event, EventId};
use sync_core::strategy::{CheckVerdict, KeyRange, Output, SessionOutcome, SetView, VecSet, Window};

use super::given::{Given, Step};
use super::scene::Scene;

/// What sessions have shown and claimed so far. Several sessions may follow each other.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// Known locally, delivered, or named as needed.
    pub(super) shown: BTreeSet<EventId>,
    pub(super) drained: Vec<Window>,
    dense: BTreeSet<u64>,
    offered: BTreeSet<EventId>,
}

impl Model {
    /// Judges a session: everything that it claims is true when it claims it, and at its end nothing is missing that isn't
    /// named.
    ///
    /// # Errors
    /// What isn't true.
    pub(super) fn judge(&mut self, scene: &Scene, steps: &[Step]) -> Result<(), String> {
        self.dense.clear();
        let mut seen = None;
        for step in steps {
            if seen.replace(&step.set).is_none_or(|before| !Arc::ptr_eq(before, &step.set)) {
                self.shown.extend(ids(&step.set));
            }
            if let Given::Event { id, verdict, .. } = &step.given
                && !matches!(verdict, CheckVerdict::Bad(_))
            {
                self.shown.insert(*id);
            }
            for output in &step.outputs {
                self.takes(scene, output)?;
            }
            for output in &step.outputs {
                self.holds(scene, output)?;
            }
        }
        Ok(())
    }

    fn takes(&mut self, scene: &Scene, output: &Output) -> Result<(), String> {
        match output {
            Output::Need { ids, within } => {
                for id in ids {
                    let Some(event) = scene.served().find(|event| event.id == *id) else {
                        return Err(format!("{id} is needed, and the relay holds no such event of this"));
                    };
                    if !within.contains(event.created_at.as_secs()) {
                        return Err(format!(
                            "{id} of second {} is needed within {within:?}",
                            event.created_at.as_secs()
                        ));
                    }
                }
                self.shown.extend(ids);
            }
            Output::Have(ids) => self.offered.extend(ids),
            Output::Dense { second, .. } => {
                self.dense.insert(*second);
            }
            Output::Drained(window) => {
                self.dense.retain(|second| !window.contains(*second));
                self.drained.push(*window);
            }
            _ => {}
        }
        Ok(())
    }

    fn holds(&self, scene: &Scene, output: &Output) -> Result<(), String> {
        match output {
            Output::Drained(window) => {
                match self.missing(scene).find(|event| window.contains(event.created_at.as_secs())) {
                    Some(event) => Err(format!("{window:?} is claimed, and {} was never shown", named(event))),
                    None => Ok(()),
                }
            }
            Output::Have(ids) => self.lacked(scene, ids),
            Output::Done(SessionOutcome::Complete) => self.complete(scene),
            _ => Ok(()),
        }
    }

    fn lacked(&self, scene: &Scene, ids: &[EventId]) -> Result<(), String> {
        for id in ids {
            if !scene.ours().any(|event| event.id == *id) && !self.shown.contains(id) {
                return Err(format!("{id} is said to be here and not there, and it isn't here"));
            }
            // Of a second that is named dense, it is a guess.
            let told_apart = |event: &&Event| !self.dense.contains(&event.created_at.as_secs());
            let there = scene.served().find(|event| event.id == *id && !scene.withheld().contains(id));
            if there.filter(told_apart).is_some() && scene.up() && !scene.hides() {
                return Err(format!("{id} is said not to be there, and it is"));
            }
        }
        Ok(())
    }

    fn complete(&self, scene: &Scene) -> Result<(), String> {
        let named_dense = |event: &&Event| self.dense.contains(&event.created_at.as_secs());
        let before =
            |event: &&Event| scene.request.drained.iter().any(|window| window.contains(event.created_at.as_secs()));
        if let Some(event) = self.missing(scene).find(|event| !named_dense(event) && !before(event)) {
            return Err(format!("complete, and {} was neither shown nor named", named(event)));
        }
        let lacks = |event: &&Event| !scene.remote.iter().any(|other| other.id == event.id);
        let told = |event: &&Event| self.offered.contains(&event.id);
        let untold = scene.ours().find(|event| lacks(event) && !told(event) && !named_dense(event));
        match untold.filter(|_| scene.up() && !scene.hides()) {
            Some(event) => Err(format!("complete, and nothing was said of {}, which the relay lacks", named(event))),
            None => Ok(()),
        }
    }

    /// What the relay serves and nobody has shown. What it keeps back or leaves out without a trace isn't served.
    pub(super) fn missing<'a>(&'a self, scene: &'a Scene) -> impl Iterator<Item = &'a Event> {
        let judged = scene.down() && !scene.hides();
        scene
            .served()
            .filter(move |_| judged)
            .filter(|event| !scene.withheld().contains(&event.id) && !self.shown.contains(&event.id))
    }
}

fn named(event: &Event) -> String {
    format!("{} of second {}", event.id, event.created_at.as_secs())
}

fn ids(set: &VecSet) -> BTreeSet<EventId> {
    let mut ids = BTreeSet::new();
    set.items(KeyRange::ALL, &mut |item| {
        ids.insert(EventId::from_byte_array(item.id));
        std::ops::ControlFlow::Continue(())
    });
    ids
}
