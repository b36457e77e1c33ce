//! grasp-sync against relays that others wrote.

mod daemon;
mod relays;
mod there_and_back;
