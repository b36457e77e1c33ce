//! What is said of the metrics outside of the program, held against what the program exposes; and the export of spans, against a
//! receiver.

mod dashboard;
mod export;
mod page;
mod promql;
mod rules;
mod support;
