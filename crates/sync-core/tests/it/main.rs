//! What the machines of sync-core do, seen from outside.

mod kit;
mod link;
mod manager_completion;
mod manager_connections;
mod manager_failures;
mod manager_live;
mod manager_random;
mod manager_report;
mod manager_restart;
mod manager_wanted;
mod plan_incremental;
