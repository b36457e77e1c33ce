//! Sync strategies from shared libraries: loaded, checked, and run where they can do the least harm.
//!
//! A [`Plugin`] is a library that was loaded; [`Plugin::strategy`] makes a [`SyncStrategy`](sync_core::strategy::SyncStrategy) of it that nobody can tell from a
//! built-in one. Whatever the plugin does runs on threads of its own, under a watch: a call that does not return in time
//! bars the plugin, and whoever waits goes on without it. Inputs are handed over in batches; what comes back is converted and
//! checked before anybody sees it: bounds, filters that are no wider than the session's, claims that were asked for.
//!
//! | module | decides |
//! |---|---|
//! | `file` | whether a file may be loaded |
//! | `trial` | whether loading it returns, in a process that may be lost |
//! | `library` | loading it, and whether what it shows is a strategy |
//! | `table` | the calls themselves |
//! | `give`, `take` | what goes over the boundary, and what comes back |
//! | `pool` | threads, hand-offs, the watch |
//! | `host` | the log, spans and the set, as a plugin sees them |
//! | `guard` | whether a session's claims follow from what was asked and answered, and whether it ends |
//! | `session`, `strategy` | the plugin as a strategy |
//! | `limits` | the bounds |

mod file;
mod give;
mod guard;
mod host;
mod library;
mod limits;
#[cfg(test)]
mod linked;
mod pool;
mod session;
mod strategy;
mod table;
mod take;
mod trial;

pub use library::{LoadError, Plugin, PluginInfo};
pub use limits::{Limits, Wait};
pub use strategy::Unusable;
pub use trial::{Trial, try_loading};
