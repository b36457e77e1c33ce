//! The section `[strategy.negentropy]` of the configuration (CONTRACT.md).

use sync_core::strategy::{ConfigError, Section, SessionHints, StrategyConfig};

use crate::NAME;

/// What the configuration says, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Bytes of the largest payload that is sent.
    pub(crate) frame_size_limit: u64,
    /// How long an answer may take, in milliseconds.
    pub(crate) timeout_ms: u64,
    /// What is asked of the link.
    pub(crate) hints: SessionHints,
}

/// The smallest frame that the protocol can work with.
pub(crate) const MIN_FRAME: u64 = 4096;
/// The largest payload that fits strfry's default websocket limit, in hex (WIRE.md).
const MAX_FRAME: u64 = 60_000;

impl Settings {
    pub(crate) fn read(config: &StrategyConfig) -> Result<Self, ConfigError> {
        let section = Section::new(NAME, config, &["frame_size_limit", "fetch_chunk", "concurrency", "timeout"])?;
        let timeout_ms = section.duration_ms("timeout", 30_000, 1..=3_600_000)?;
        Ok(Self {
            frame_size_limit: section.integer("frame_size_limit", MAX_FRAME, MIN_FRAME..=MAX_FRAME)?,
            timeout_ms,
            hints: SessionHints {
                concurrency: section.integer("concurrency", 4, 1..=64)? as usize,
                fetch_chunk: section.integer("fetch_chunk", 256, 1..=5_000)? as usize,
                answer_timeout_ms: timeout_ms,
            },
        })
    }
}
