//! Negentropy (NIP-77) as a strategy: two sets are compared by fingerprints of ranges, so that what both have costs
//! next to nothing (SPEC §7).
//!
//! [`NegentropyStrategy`] reads the configuration and opens sessions; a session copies the local ids at its start and
//! says round by round what the relay has and we have not, and in which seconds it was listed.
//!
//! | module | knows |
//! |---|---|
//! | `config` | what can be configured |
//! | `session` | the relay's words, deadlines, and how long to bear with it |
//! | `machine` | the protocol, as the side that asks |
//! | `local` | the local items: fingerprints, and what the relay was found to lack |
//! | `wire` | payloads |

mod config;
mod local;
mod machine;
mod session;
mod wire;

use sync_core::model::SyncMethod;
use sync_core::nostr::filter::Filter;
use sync_core::strategy::{
    ConfigError, RelayProfile, SessionHints, SessionRequest, StrategyConfig, StrategyDescriptor, Suitability,
    SyncSession, SyncStrategy,
};

use config::Settings;
use session::NegentropySession;

/// The name in `sync.strategies`.
pub const NAME: &str = "negentropy";

/// A factory of reconciliations.
#[derive(Debug, Clone)]
pub struct NegentropyStrategy {
    descriptor: StrategyDescriptor,
    settings: Settings,
}

impl NegentropyStrategy {
    /// The strategy as `[strategy.negentropy]` wants it: `frame_size_limit` (4096 to 60000 bytes), `fetch_chunk`,
    /// `concurrency`, `timeout`. What is left out has its default.
    ///
    /// # Errors
    /// An unknown key, a wrong type, or a value out of its range.
    pub fn from_config(config: &StrategyConfig) -> Result<Self, ConfigError> {
        let descriptor = StrategyDescriptor {
            name: SyncMethod::new(NAME),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            compares_sets: true,
            probes_alone: true,
        };
        Ok(Self { descriptor, settings: Settings::read(config)? })
    }
}

impl SyncStrategy for NegentropyStrategy {
    fn descriptor(&self) -> &StrategyDescriptor {
        &self.descriptor
    }

    fn hints(&self) -> SessionHints {
        self.settings.hints
    }

    /// Always worth trying: NIP-11 can't be believed, in either direction (WIRE.md).
    fn suits(&self, _profile: &RelayProfile, _filter: &Filter) -> Suitability {
        Suitability::Suits
    }

    fn open(&self, request: SessionRequest) -> Box<dyn SyncSession> {
        Box::new(NegentropySession::new(self.settings, request))
    }
}
