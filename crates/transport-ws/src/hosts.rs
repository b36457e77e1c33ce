//! How many connections each host has, and the bound on it (SPEC §13, connections per host).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections by host name.
#[derive(Debug)]
pub(crate) struct Hosts {
    limit: usize,
    open: Mutex<HashMap<String, usize>>,
}

impl Hosts {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, open: Mutex::default() })
    }

    /// A place for one more connection to `host`, or `None` where its places are taken.
    pub(crate) fn take(self: &Arc<Self>, host: &str) -> Option<HostSlot> {
        let mut open = self.lock();
        match open.get_mut(host) {
            Some(count) if *count >= self.limit => return None,
            Some(count) => *count += 1,
            None => {
                open.insert(host.to_owned(), 1);
            }
        }
        Some(HostSlot { hosts: self.clone(), host: host.to_owned() })
    }

    /// The counts are whole after every statement, so a panic elsewhere can't have broken them.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(crate) struct HostSlot {
    hosts: Arc<Hosts>,
    host: String,
}

impl Drop for HostSlot {
    fn drop(&mut self) {
        let mut open = self.hosts.lock();
        if let Some(count) = open.get_mut(&self.host) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.host);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_host_and_given_back() {
        let hosts = Hosts::new(2);
        let first = hosts.take("a").expect("free");
        let second = hosts.take("a").expect("free");
        assert!(hosts.take("a").is_none());
        assert!(hosts.take("b").is_some());
        drop(first);
        assert!(hosts.take("a").is_some());
        drop(second);
        assert!(hosts.lock().is_empty(), "hosts without connections are forgotten");
    }
}
