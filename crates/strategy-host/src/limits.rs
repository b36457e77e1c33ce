//! The bounds on what a plugin may do.

use std::time::Duration;

use crate::trial::Trial;

/// Runs a closure that waits for a plugin, where it stalls nobody else: on a runtime of several threads, by letting the others
/// take over this one's tasks.
pub type Wait = fn(&mut dyn FnMut());

/// What a plugin may do.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long the calls of one hand-off may take together before the plugin is barred. Copying the set for it doesn't count.
    pub call: Duration,
    /// Threads of one plugin.
    pub threads: usize,
    /// Waits for it.
    pub wait: Wait,
    /// Loads it in another process first, where there is a program that can.
    pub trial: Option<Trial>,
}

impl Default for Limits {
    /// 10 seconds, 4 threads, waiting on the spot, no trial.
    fn default() -> Self {
        Self { call: Duration::from_secs(10), threads: 4, wait: |work| work(), trial: None }
    }
}

/// Outputs of one hand-off.
pub(crate) const MAX_OUTPUTS: usize = 100_000;
/// Ids in the outputs of one hand-off.
pub(crate) const MAX_IDS: usize = 4_000_000;
/// Other bytes in the outputs of one hand-off.
pub(crate) const MAX_BYTES: usize = 16 << 20;
/// Items of the set that are copied for a plugin: as many as the built-in reconciliation compares.
pub(crate) const MAX_ITEMS: u64 = 10_000_000;
/// Characters of a plugin's text that are kept.
pub(crate) const MAX_TEXT: usize = 1_000;
/// Lines of the log in one hand-off.
pub(crate) const MAX_LINES: usize = 100;
/// Spans in one hand-off.
pub(crate) const MAX_SPANS: usize = 1_000;
/// Spans in one session.
pub(crate) const MAX_SESSION_SPANS: usize = 10_000;
/// Events that wait to be handed over together.
pub(crate) const BATCH: usize = 256;
/// How long they may wait for others, milliseconds.
pub(crate) const BATCH_MS: u64 = 50;

/// A plugin's text, fit for one line of a log: bounded, without control characters.
pub(crate) fn readable(bytes: &[u8]) -> String {
    // Four bytes a character at most.
    let bytes = &bytes[..bytes.len().min(4 * MAX_TEXT)];
    let text = String::from_utf8_lossy(bytes);
    text.chars().take(MAX_TEXT).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
