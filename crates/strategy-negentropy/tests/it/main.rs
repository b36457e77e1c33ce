//! A session against a relay made of the `negentropy` crate, honest or not.

#![allow(missing_docs)]

mod bounds;
mod config;
mod frame_cut;
mod harness;
mod oracle;
mod reconciles;
mod refusals;
