//! grasp-sync keeps one Nostr relay complete.

#[allow(dead_code, unused_imports)]
mod admin;

fn main() {}
