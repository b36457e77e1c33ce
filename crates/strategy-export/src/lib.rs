//! A strategy that is written against sync-core, as a shared library: the other side of what `strategy-host` does.
//!
//! The built-in strategies go over the boundary by it, from the same code, so that its hardest users exercise it. Who writes a
//! strategy for the boundary alone needs `strategy-abi` only.

mod narrow;
mod session;
mod words;

use std::marker::PhantomData;
use std::sync::Arc;

use strategy_abi::{ConfigError, Filter, Hints, Host, Profile, Request, Settings, Strategy};
use sync_core::strategy::{StrategyConfig, Suitability, SyncStrategy};

use session::Adapted;

/// A strategy to make a library of.
pub trait Exported: 'static {
    /// As in its descriptor.
    const NAME: &'static str;
    /// As in its descriptor.
    const VERSION: &'static str;
    /// As in its descriptor.
    const COMPARES_SETS: bool;
    /// As in its descriptor.
    const PROBES_ALONE: bool;

    /// Makes it of its section of the configuration.
    ///
    /// # Errors
    /// An unknown key, a wrong type, or a value out of its range.
    fn from_config(config: &StrategyConfig) -> Result<Arc<dyn SyncStrategy>, sync_core::strategy::ConfigError>;
}

/// [`Exported`] as the boundary wants it: `strategy_abi::export_strategy!(strategy_export::Adapter<Mine>);`
pub struct Adapter<E> {
    strategy: Arc<dyn SyncStrategy>,
    exported: PhantomData<E>,
}

impl<E: Exported> Strategy for Adapter<E> {
    const NAME: &'static str = E::NAME;
    const VERSION: &'static str = E::VERSION;
    const COMPARES_SETS: bool = E::COMPARES_SETS;
    const PROBES_ALONE: bool = E::PROBES_ALONE;
    type Session = Adapted;

    fn configure(settings: &Settings<'_>) -> Result<Self, ConfigError> {
        let wrong = |key: &str, value: &str, allowed: String| ConfigError {
            key: key.to_owned(),
            value: value.to_owned(),
            allowed,
        };
        let config: StrategyConfig = serde_json::from_str(settings.json())
            .map_err(|error| wrong("*", settings.json(), format!("can't be read: {error}")))?;
        let strategy = E::from_config(&config).map_err(|error| wrong(&error.key, &error.value, error.allowed))?;
        Ok(Self { strategy, exported: PhantomData })
    }

    fn hints(&self) -> Hints {
        let hints = self.strategy.hints();
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Hints {
            concurrency: number(hints.concurrency),
            fetch_chunk: number(hints.fetch_chunk),
            answer_timeout_ms: hints.answer_timeout_ms,
        }
    }

    fn suits(&self, profile: &Profile, filter: &Filter) -> Result<(), String> {
        match self.strategy.suits(&words::profile(profile), &words::filter(filter)?) {
            Suitability::Suits => Ok(()),
            Suitability::No(reason) => Err(reason),
        }
    }

    fn open(&self, request: Request, _host: &Host<'_>) -> Result<Adapted, String> {
        Adapted::open(&*self.strategy, request)
    }
}
