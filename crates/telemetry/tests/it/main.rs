//! The export of spans, against a receiver.

mod export;
