//! Scripted relays, generated worlds, an in-memory store and a simulator, a browser to look at pages with, for tests and for the demo.

pub mod browser;
pub mod conformance;
pub mod history;
pub mod otlp;
pub mod plugins;
pub mod relay;
pub mod sim;
pub mod store;
pub mod world;
