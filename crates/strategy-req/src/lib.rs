//! REQ + EOSE with paging as a strategy: works with every relay, at the price of reading everything (SPEC §7).
//!
//! | module | decides |
//! |---|---|
//! | `page` | what one page has shown |
//! | `pager` | where the next page begins, what is drained, what can't be shown |
//! | `span` | what is claimed of a stretch of time |
//! | `sizes` | how large pages are, where connections break |
//! | `remembered` | what is kept of a relay between sessions |
//! | `session` | when to ask, when to give up |
//! | `offer` | what we have and the relay never showed |
//! | `config` | what the operator may set |

mod config;
mod offer;
mod page;
mod pager;
mod remembered;
mod session;
mod sizes;
mod span;

use sync_core::model::SyncMethod;
use sync_core::nostr::filter::Filter;
use sync_core::strategy::{
    ConfigError, RelayProfile, SessionHints, SessionRequest, StrategyConfig, StrategyDescriptor, Suitability,
    SyncSession, SyncStrategy,
};

use config::Settings;
use session::ReqSession;

/// The name in `sync.strategies`.
pub const NAME: &str = "req";

/// Sessions at once: pages of one filter wait for each other, so a few filters go side by side.
const CONCURRENCY: usize = 4;
/// Ids per request, should anything be asked for by id: this strategy needs nothing that it wasn't sent.
const FETCH_CHUNK: usize = 256;

/// A factory of paging sessions.
#[derive(Debug, Clone)]
pub struct ReqStrategy {
    descriptor: StrategyDescriptor,
    settings: Settings,
}

impl ReqStrategy {
    /// The strategy as `[strategy.req]` wants it: `page_size` (1 to 5000 events), `timeout`. What is left out has its
    /// default.
    ///
    /// # Errors
    /// An unknown key, a wrong type, or a value out of its range.
    pub fn from_config(config: &StrategyConfig) -> Result<Self, ConfigError> {
        let descriptor = StrategyDescriptor {
            name: SyncMethod::new(NAME),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            compares_sets: false,
            probes_alone: false,
        };
        Ok(Self { descriptor, settings: Settings::read(config)? })
    }
}

impl SyncStrategy for ReqStrategy {
    fn descriptor(&self) -> &StrategyDescriptor {
        &self.descriptor
    }

    fn hints(&self) -> SessionHints {
        SessionHints { concurrency: CONCURRENCY, fetch_chunk: FETCH_CHUNK, answer_timeout_ms: self.settings.timeout_ms }
    }

    /// Every relay knows REQ.
    fn suits(&self, _profile: &RelayProfile, _filter: &Filter) -> Suitability {
        Suitability::Suits
    }

    fn open(&self, request: SessionRequest) -> Box<dyn SyncSession> {
        Box::new(ReqSession::new(self.settings, request))
    }
}
