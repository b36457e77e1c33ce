//! A session against a relay made of the `negentropy` crate, honest or not.

#![allow(missing_docs)]

mod bounds;
mod config;
mod harness;
mod reconciles;
mod refusals;
