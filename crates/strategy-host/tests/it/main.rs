//! Shared libraries, good and bad, loaded for real.

mod bad;
mod config;
mod loading;
mod support;
