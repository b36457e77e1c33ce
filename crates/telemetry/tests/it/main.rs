//! What is said of the metrics outside of the program, held against what the program exposes.

mod dashboard;
mod page;
mod promql;
mod rules;
mod support;
