//! Scripted relays, generated worlds, an in-memory store and a simulator, for tests and for the demo.

pub mod conformance;
pub mod history;
pub mod otlp;
pub mod plugins;
pub mod relay;
pub mod sim;
pub mod store;
pub mod world;
