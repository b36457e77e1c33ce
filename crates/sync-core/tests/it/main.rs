//! What the machines of sync-core do, seen from outside.

mod link;
