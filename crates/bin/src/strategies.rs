//! The strategies that this program has, and the making of those that the configuration asks for.

use std::sync::Arc;

use sync_core::model::SyncMethod;
use sync_core::strategy::{ConfigError, StrategyConfig, StrategyOrder, SyncStrategy};

use crate::config::{ConfigErrors, Loaded};

/// Makes a strategy of its section of the configuration.
pub type Make = fn(&StrategyConfig) -> Result<Arc<dyn SyncStrategy>, ConfigError>;

/// One strategy that is available.
#[derive(Debug, Clone)]
pub struct Available {
    /// The name in `sync.strategies`.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Makes it.
    pub make: Make,
}

/// Every strategy that is available.
#[derive(Debug, Clone)]
pub struct Registry(Vec<Available>);

impl Registry {
    /// Those that are part of the program.
    pub fn built_in() -> Self {
        let version = env!("CARGO_PKG_VERSION");
        Self::new(vec![
            Available {
                name: strategy_negentropy::NAME,
                version,
                make: |config| Ok(Arc::new(strategy_negentropy::NegentropyStrategy::from_config(config)?)),
            },
            Available {
                name: strategy_req::NAME,
                version,
                make: |config| Ok(Arc::new(strategy_req::ReqStrategy::from_config(config)?)),
            },
        ])
    }

    /// A registry of these; the first of a name counts.
    pub fn new(available: Vec<Available>) -> Self {
        Self(available)
    }

    /// All of them.
    pub fn all(&self) -> &[Available] {
        &self.0
    }

    /// That of a name.
    pub fn find(&self, name: &str) -> Option<&Available> {
        self.0.iter().find(|available| available.name == name)
    }

    /// Makes every strategy, of its section of the configuration.
    ///
    /// # Errors
    /// Everything that is wrong: names that don't exist, in any order or section, and what the strategies refuse.
    pub fn build(&self, loaded: &Loaded) -> Result<Strategies, ConfigErrors> {
        let config = &loaded.config;
        let mut problems = Vec::new();
        if let Some(text) = self.unknown(&config.sync.strategies) {
            problems.push(loaded.problem("sync.strategies", text));
        }
        for (url, relay) in &config.sync.relays {
            if let Some(text) = relay.strategies.as_deref().and_then(|names| self.unknown(names)) {
                problems.push(loaded.relay_problem(url, text));
            }
        }
        for name in config.strategy.keys().filter(|name| self.find(name).is_none()) {
            problems.push(loaded.problem(&format!("strategy.{name}"), format!("no such strategy; {}", self.names())));
        }
        let nothing = StrategyConfig::Object(serde_json::Map::new());
        let mut made = Vec::new();
        for available in &self.0 {
            match (available.make)(config.strategy.get(available.name).unwrap_or(&nothing)) {
                Ok(strategy) => made.push(strategy),
                Err(error) => problems.push(loaded.strategy_problem(&error)),
            }
        }
        if problems.is_empty() { Ok(Strategies(made)) } else { Err(ConfigErrors(problems)) }
    }

    /// What to say where a name in `order` doesn't exist.
    pub fn unknown(&self, order: &[SyncMethod]) -> Option<String> {
        let name = order.iter().find(|name| self.find(name.as_str()).is_none())?;
        Some(format!("there is no strategy `{name}`; {}", self.names()))
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.0.iter().map(|available| available.name).collect();
        format!("available: {}", names.join(", "))
    }
}

/// The strategies of a process, each made once.
#[derive(Clone)]
pub struct Strategies(Vec<Arc<dyn SyncStrategy>>);

impl Strategies {
    /// Those of an order; names that don't exist were refused by [`Registry::build`] and are left out.
    pub fn order(&self, names: &[SyncMethod]) -> StrategyOrder {
        let find = |name: &SyncMethod| self.0.iter().find(|strategy| strategy.descriptor().name == *name).cloned();
        names.iter().filter_map(find).collect()
    }
}
