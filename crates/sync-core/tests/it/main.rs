//! The decisions of sync-core, as a shell sees them.

mod kit;
mod manager_completion;
mod manager_connections;
mod manager_failures;
mod manager_live;
mod manager_random;
mod manager_restart;
mod plan_incremental;
