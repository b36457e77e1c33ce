//! The strategies that this program has, built in and from shared libraries, and the making of those that the configuration
//! asks for.

use std::sync::Arc;

use strategy_host::{Plugin, Unusable};
use sync_core::manager::PluginReport;
use sync_core::model::SyncMethod;
use sync_core::strategy::{StrategyConfig, StrategyOrder, SyncStrategy};

use crate::config::{ConfigErrors, Loaded, Plugins, Problem};
use crate::plugins::{self, Failed};

/// Makes a strategy of its section of the configuration.
pub type Make = fn(&StrategyConfig) -> Result<Arc<dyn SyncStrategy>, Unusable>;

/// Where a strategy comes from.
#[derive(Debug, Clone)]
enum Origin {
    BuiltIn(Make),
    Plugin(Arc<Plugin>),
}

/// One strategy that is available.
#[derive(Debug, Clone)]
pub struct Available {
    /// The name in `sync.strategies`.
    pub name: String,
    /// Its version.
    pub version: String,
    origin: Origin,
}

impl Available {
    /// One that is part of the program.
    pub fn built_in(name: &str, version: &str, make: Make) -> Self {
        Self { name: name.to_owned(), version: version.to_owned(), origin: Origin::BuiltIn(make) }
    }

    fn make(&self, config: &StrategyConfig) -> Result<Arc<dyn SyncStrategy>, Unusable> {
        match &self.origin {
            Origin::BuiltIn(make) => make(config),
            Origin::Plugin(plugin) => plugin.strategy(config),
        }
    }

    /// What is to be told of it where it is a plugin.
    pub fn plugin(&self) -> Option<PluginReport> {
        self.loaded().map(|plugin| plugins::report(plugin))
    }

    fn loaded(&self) -> Option<&Arc<Plugin>> {
        match &self.origin {
            Origin::BuiltIn(_) => None,
            Origin::Plugin(plugin) => Some(plugin),
        }
    }
}

/// Every strategy that is available, and the plugins that aren't.
#[derive(Debug, Clone)]
pub struct Registry {
    available: Vec<Available>,
    failed: Vec<Failed>,
}

impl Registry {
    /// Those that are part of the program.
    pub fn built_in() -> Self {
        let version = env!("CARGO_PKG_VERSION");
        Self::new(vec![
            Available::built_in(strategy_negentropy::NAME, version, |config| {
                Ok(Arc::new(strategy_negentropy::NegentropyStrategy::from_config(config)?))
            }),
            Available::built_in(strategy_req::NAME, version, |config| {
                Ok(Arc::new(strategy_req::ReqStrategy::from_config(config)?))
            }),
        ])
    }

    /// A registry of these; the first of a name counts.
    pub fn new(available: Vec<Available>) -> Self {
        Self { available, failed: Vec::new() }
    }

    /// These, and those of the shared libraries that the configuration names.
    #[must_use]
    pub fn with_plugins(mut self, config: &Plugins) -> Self {
        let taken: Vec<&str> = self.available.iter().map(|available| &*available.name).collect();
        let (loaded, failed) = plugins::load(config, &taken);
        self.available.extend(loaded.into_iter().map(|plugin| {
            let (name, version) = (plugin.info().name.clone(), plugin.info().version.clone());
            Available { name, version, origin: Origin::Plugin(plugin) }
        }));
        self.failed.extend(failed);
        self
    }

    /// All of them.
    pub fn all(&self) -> &[Available] {
        &self.available
    }

    /// That of a name.
    pub fn find(&self, name: &str) -> Option<&Available> {
        self.available.iter().find(|available| available.name == name)
    }

    /// Makes every strategy, of its section of the configuration.
    ///
    /// # Errors
    /// Everything that is wrong: names that don't exist, in any order or section, what the strategies refuse, and plugins that can't
    /// be used and are named in an order.
    pub fn build(&self, loaded: &Loaded) -> Result<Strategies, ConfigErrors> {
        let (strategies, problems) = self.try_build(loaded);
        if problems.is_empty() { Ok(strategies) } else { Err(ConfigErrors(problems)) }
    }

    /// As [`build`](Self::build), with what could be made in any case.
    pub fn try_build(&self, loaded: &Loaded) -> (Strategies, Vec<Problem>) {
        let config = &loaded.config;
        let mut problems = Vec::new();
        let mut order = |names: &[SyncMethod], problem: &dyn Fn(String) -> Problem| {
            problems.extend(self.unknown(names).map(problem));
        };
        order(&config.sync.strategies, &|text| loaded.problem("sync.strategies", text));
        for (url, relay) in &config.sync.relays {
            order(relay.strategies.as_deref().unwrap_or_default(), &|text| loaded.relay_problem(url, text));
        }
        for name in config.strategy.keys().filter(|name| self.find(name).is_none()) {
            // It may belong to a plugin whose name isn't known.
            if self.failed.is_empty() {
                let text = format!("no such strategy; {}", self.names());
                problems.push(loaded.problem(&format!("strategy.{name}"), text));
            }
        }
        let orders = config.sync.relays.values().filter_map(|relay| relay.strategies.as_deref());
        let named: Vec<&SyncMethod> = orders.flatten().chain(&config.sync.strategies).collect();
        let nothing = StrategyConfig::Object(serde_json::Map::new());
        let (mut made, mut failed) = (Vec::new(), self.failed.clone());
        for available in &self.available {
            match available.make(config.strategy.get(&available.name).unwrap_or(&nothing)) {
                Ok(strategy) => made.push(strategy),
                Err(Unusable::Config(error)) => problems.push(loaded.strategy_problem(&error)),
                Err(Unusable::Failed(reason)) => {
                    if named.iter().any(|name| name.as_str() == available.name) {
                        let text = format!("the strategy `{}` can't be used: {reason}", available.name);
                        problems.push(loaded.problem("sync.strategies", text));
                    }
                    let info = available.loaded().map(|plugin| plugin.info().clone());
                    let file = info.as_ref().map(|info| info.file.clone()).unwrap_or_default();
                    failed.push(Failed { file, info, reason });
                }
            }
        }
        let plugins = self.available.iter().filter_map(Available::loaded).cloned().collect();
        (Strategies { made, plugins, failed }, problems)
    }

    /// What to say where a name in `order` doesn't exist.
    pub fn unknown(&self, order: &[SyncMethod]) -> Option<String> {
        let name = order.iter().find(|name| self.find(name.as_str()).is_none())?;
        Some(format!("there is no strategy `{name}`; {}", self.names()))
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.available.iter().map(|available| &*available.name).collect();
        let mut text = format!("available: {}", names.join(", "));
        for failed in &self.failed {
            text += &format!("; not loaded: {} ({})", failed.file.display(), failed.reason);
        }
        text
    }
}

/// The strategies of a process, each made once.
#[derive(Clone)]
pub struct Strategies {
    made: Vec<Arc<dyn SyncStrategy>>,
    plugins: Vec<Arc<Plugin>>,
    failed: Vec<Failed>,
}

impl Strategies {
    /// Those of an order; names that don't exist were refused by [`Registry::build`] and are left out.
    pub fn order(&self, names: &[SyncMethod]) -> StrategyOrder {
        let find = |name: &SyncMethod| self.made.iter().find(|strategy| strategy.descriptor().name == *name).cloned();
        names.iter().filter_map(find).collect()
    }

    /// What to say where a name of an order can't be used.
    pub fn unusable(&self, order: &[SyncMethod]) -> Option<String> {
        let named = |failed: &&Failed| {
            failed.info.as_ref().is_some_and(|info| order.iter().any(|name| name.as_str() == info.name))
        };
        let made = |name: &str| self.made.iter().any(|strategy| strategy.descriptor().name.as_str() == name);
        self.failed.iter().filter(named).find_map(|Failed { info, reason, .. }| {
            let name = &info.as_ref()?.name;
            (!made(name)).then(|| format!("the strategy `{name}` can't be used: {reason}"))
        })
    }

    /// Every plugin and every file that was to be one, as it is now.
    pub fn plugins(&self) -> Vec<PluginReport> {
        let usable =
            |plugin: &&Arc<Plugin>| !self.failed.iter().any(|failed| failed.info.as_ref() == Some(plugin.info()));
        let loaded = self.plugins.iter().filter(usable).map(|plugin| plugins::report(plugin));
        loaded.chain(self.failed.iter().map(plugins::failure)).collect()
    }

    /// What to warn of: plugins that can't be used, one line each.
    pub fn warnings(&self) -> Vec<String> {
        let line = |failed: &Failed| format!("the plugin {} can't be used: {}", failed.file.display(), failed.reason);
        self.failed.iter().map(line).collect()
    }
}
