//! grasp-sync keeps one Nostr relay complete.

#[allow(dead_code)]
mod admin;

fn main() {}
