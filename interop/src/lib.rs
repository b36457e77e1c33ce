//! What the tests against foreign relays and clients stand on: the relays, within this process and in others, a small
//! client to ask them directly, a proxy that counts what is published, the product as a user runs it, and real events
//! with the reasons for which one may rightly be left out.
//!
//! Everything that is asserted about the product is read from outside: its exit codes, its JSON, what it exports.

pub mod client;
pub mod daemon;
pub mod events;
pub mod moved;
pub mod process;
pub mod product;
pub mod proxy;
pub mod relays;
pub mod table;
