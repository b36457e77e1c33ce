//! Configuration (CONTRACT.md): defaults < file < environment < flags.
//!
//! [`Loaded::read`] merges the layers (`layers`), finds unknown keys and wrong types (`shape`), and turns the raw type
//! (`raw`) into the checked one ([`Config`]), naming everything that is wrong at once.

mod check;
mod layers;
mod otel;
mod problem;
mod raw;
mod settings;
mod shape;
mod show;
mod units;
mod values;

use sync_core::admission::AdmissionMode;
use sync_core::strategy::ConfigError;

pub use layers::{Environment, Flags};
pub use problem::{ConfigErrors, Problem};
pub use settings::{
    Admin, Config, Health, Limits, LogFormat, PluginFile, Plugins, Rejected, Relay, RelayLimits, Service, Store, Sync,
    Telemetry,
};
pub use units::{format_duration, format_size, parse_duration, parse_size};

use layers::{KeyPath, Layers};

/// A configuration that was read and found possible, with the origin of each value.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What the program uses.
    pub config: Config,
    layers: Layers,
}

impl Loaded {
    /// Reads and checks every layer.
    ///
    /// # Errors
    /// Everything that is wrong: all unknown keys and wrong types, else all impossible values.
    pub fn read(flags: &Flags, env: &Environment) -> Result<Self, ConfigErrors> {
        let layers = Layers::read(flags, env)?;
        shape::check(&layers)?;
        let config = check::check(&layers)?;
        Ok(Self { config, layers })
    }

    /// What `run` needs beyond a possible configuration.
    ///
    /// # Errors
    /// `service.domain` is empty, and not every announcement is accepted.
    pub fn check_for_run(&self) -> Result<(), ConfigErrors> {
        if self.config.service.domain.is_empty() && self.config.admission.mode == AdmissionMode::Grasp {
            let text = "`run` needs the domain that announcements list, such as [\"git.example.com\"], \
                        or admission.mode = \"all\"";
            return Err(self.problem("service.domain", text).into());
        }
        Ok(())
    }

    /// The effective configuration as TOML, each value with its origin in a comment; secrets hidden.
    pub fn to_toml(&self) -> String {
        show::toml(&self.layers)
    }

    /// The same as one JSON object: dotted key → `{"value", "source"}`.
    pub fn to_json(&self) -> serde_json::Value {
        show::json(&self.layers)
    }

    /// A problem with the value of a key, with its origin.
    pub(crate) fn problem(&self, key: &str, text: impl Into<String>) -> Problem {
        self.layers.problem(&KeyPath::new(key), text)
    }

    /// A problem with the strategies of a relay; `name` as it is written in the configuration, any spelling.
    pub(crate) fn relay_problem(&self, relay: &sync_core::model::RelayUrl, text: impl Into<String>) -> Problem {
        let relays = KeyPath::new("sync.relays");
        let spelling = relays
            .find(&self.layers.tree)
            .and_then(|relays| relays.as_dict())
            .and_then(|relays| relays.keys().find(|name| name.parse().as_ref() == Ok(relay)));
        let name = spelling.map_or(relay.as_str(), String::as_str);
        self.layers.problem(&relays.join(name).join("strategies"), text)
    }

    /// What a strategy found wrong with its section, with the value's origin.
    pub(crate) fn strategy_problem(&self, error: &ConfigError) -> Problem {
        let path = KeyPath::new("strategy").join(&error.strategy);
        let path = error.key.split('.').filter(|part| !part.is_empty()).fold(path, |path, part| path.join(part));
        self.layers.problem(&path, error.allowed.clone())
    }
}
