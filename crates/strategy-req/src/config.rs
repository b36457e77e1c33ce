//! The section `[strategy.req]` of the configuration (CONTRACT.md).

use sync_core::strategy::{ConfigError, RelayProfile, Section, StrategyConfig};

use crate::NAME;

/// What the configuration says, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Events that are asked for at once.
    page_size: u64,
    /// How long a relay may be silent within a page, in milliseconds.
    pub(crate) timeout_ms: u64,
}

impl Settings {
    pub(crate) fn read(config: &StrategyConfig) -> Result<Self, ConfigError> {
        let section = Section::new(NAME, config, &["page_size", "timeout"])?;
        Ok(Self {
            page_size: section.integer("page_size", 500, 1..=5_000)?,
            timeout_ms: section.duration_ms("timeout", 30_000, 1..=3_600_000)?,
        })
    }

    /// The `limit` of a page, no more than the relay says that it answers.
    pub(crate) fn limit(&self, profile: &RelayProfile) -> u64 {
        profile.max_limit.map_or(self.page_size, |most| self.page_size.min((most as u64).max(1)))
    }
}
