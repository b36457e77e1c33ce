//! grasp-sync against relays and clients that others wrote.

mod daemon;
mod embedded;
mod nostr_sdk;
mod nostr_tools;
mod own_relay;
mod real;
mod relays;
mod there_and_back;
