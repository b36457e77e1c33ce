//! grasp-sync against relays and clients that others wrote.

mod daemon;
mod real;
mod relays;
mod there_and_back;
