//! A session against a relay that is a vector of events, honest or not.

#![allow(missing_docs)]

mod config;
mod harness;
mod hostile;
mod lost;
mod model;
mod pages;
mod refusals;
