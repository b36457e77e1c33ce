//! Strategies that are wrong in one way each, and the check that is meant to find it. Each is the one that reads, bent.

mod claims;
mod conduct;
mod words;

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use sync_core::Now;
use sync_core::model::SyncMethod;
use sync_core::nostr::filter::Filter;
use sync_core::strategy::{
    Input, Output, ProtocolError, RelayProfile, SessionHints, SessionRequest, SetView, StrategyDescriptor, Suitability,
    SyncSession, SyncStrategy,
};

/// How a session is bent.
trait Bend: Default + Send {
    fn opened(&mut self, _request: &mut SessionRequest) {}

    /// Before an input; false where the session is not to hear of it.
    fn given(&mut self, _input: &Input<'_>, _local: &dyn SetView, _now: Now, _out: &mut VecDeque<Output>) -> bool {
        true
    }

    /// In place of an output.
    fn yields(&mut self, output: Output, out: &mut VecDeque<Output>) {
        out.push_back(output);
    }

    /// After an input.
    fn after(&mut self, _input: &Input<'_>, _now: Now, _out: &mut VecDeque<Output>) {}

    fn deadline(&self, deadline: Option<(u64, &'static str)>) -> Option<(u64, &'static str)> {
        deadline
    }

    fn hints(hints: SessionHints) -> SessionHints {
        hints
    }

    fn suits(_profile: &RelayProfile, _filter: &Filter) -> Suitability {
        Suitability::Suits
    }
}

/// What is counted by all sessions of all strategies.
static COUNTER: AtomicU64 = AtomicU64::new(0);

struct Bad<B> {
    inner: Arc<dyn SyncStrategy>,
    descriptor: StrategyDescriptor,
    bend: PhantomData<fn() -> B>,
}

struct Bent<B> {
    inner: Box<dyn SyncSession>,
    bend: B,
    out: VecDeque<Output>,
}

impl<B: Bend + 'static> SyncStrategy for Bad<B> {
    fn descriptor(&self) -> &StrategyDescriptor {
        &self.descriptor
    }

    fn hints(&self) -> SessionHints {
        B::hints(self.inner.hints())
    }

    fn suits(&self, profile: &RelayProfile, filter: &Filter) -> Suitability {
        B::suits(profile, filter)
    }

    fn open(&self, mut request: SessionRequest) -> Box<dyn SyncSession> {
        let mut bend = B::default();
        bend.opened(&mut request);
        Box::new(Bent { inner: self.inner.open(request), bend, out: VecDeque::new() })
    }
}

impl<B: Bend> SyncSession for Bent<B> {
    fn handle(&mut self, input: Input<'_>, local: &dyn SetView, now: Now) -> Result<(), ProtocolError> {
        let again = copy(&input);
        if !self.bend.given(&again, local, now, &mut self.out) {
            return Ok(());
        }
        self.inner.handle(input, local, now)?;
        while let Some(output) = self.inner.poll() {
            self.bend.yields(output, &mut self.out);
        }
        self.bend.after(&again, now, &mut self.out);
        Ok(())
    }

    fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    fn next_timeout(&self) -> Option<(u64, &'static str)> {
        self.bend.deadline(self.inner.next_timeout())
    }
}

fn copy<'a>(input: &Input<'a>) -> Input<'a> {
    match *input {
        Input::Start => Input::Start,
        Input::Eose { sub, finished } => Input::Eose { sub, finished },
        Input::Closed { sub, said } => Input::Closed { sub, said },
        Input::NegMsg { sub, payload } => Input::NegMsg { sub, payload },
        Input::NegErr { sub, said } => Input::NegErr { sub, said },
        Input::Notice { said } => Input::Notice { said },
        Input::Event { sub, id, created_at, verdict } => Input::Event { sub, id, created_at, verdict },
        Input::Timeout => Input::Timeout,
        Input::ConnectionLost => Input::ConnectionLost,
    }
}

fn bad<B: Bend + 'static>() -> Arc<dyn SyncStrategy> {
    named::<B>(std::any::type_name::<B>().rsplit("::").next().unwrap_or("bad").to_lowercase())
}

fn named<B: Bend + 'static>(name: String) -> Arc<dyn SyncStrategy> {
    let inner = super::reads();
    let descriptor = StrategyDescriptor { name: SyncMethod::new(name), ..inner.descriptor().clone() };
    Arc::new(Bad::<B> { inner, descriptor, bend: PhantomData })
}

/// Not bent at all.
#[derive(Default)]
struct Straight;
impl Bend for Straight {}

/// Wants kinds and authors.
#[derive(Default)]
struct Picky;
impl Bend for Picky {
    fn suits(_profile: &RelayProfile, filter: &Filter) -> Suitability {
        match (&filter.kinds, &filter.authors) {
            (Some(_), Some(_)) => Suitability::Suits,
            _ => Suitability::No("wants kinds and authors".to_owned()),
        }
    }
}

/// A good one that suits few filters.
pub(super) fn picky() -> Arc<dyn SyncStrategy> {
    bad::<Picky>()
}

/// One that leaves everything to the next.
pub(super) fn gives_up() -> Arc<dyn SyncStrategy> {
    bad::<words::GivesUp>()
}

/// One whose mistake few seeds hide, and the check that is meant to find it.
pub(super) fn stops_after_one_page() -> (Arc<dyn SyncStrategy>, &'static str) {
    (bad::<claims::OnePage>(), "correct")
}

/// Every bad one, and the check that is meant to find it.
pub(super) fn all() -> Vec<(Arc<dyn SyncStrategy>, &'static str)> {
    let unreadable: Arc<dyn SyncStrategy> = named::<Straight>("Has Spaces".to_owned());
    let mut all = vec![(unreadable, "sane")];
    all.extend(claims::all());
    all.extend(conduct::all());
    all.extend(words::all());
    all
}
