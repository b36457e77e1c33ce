//! How many files the process may have open: each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files beside connections: store, log, admin endpoint with its readers, resolvers, attempts that look at NIP-11 as well.
const BESIDE: u64 = 128;

/// Raises the process's limit to what so many connections need, as far as the system allows; says so in the log where that
/// isn't enough. A connection that finds no file is tried again later.
pub(crate) fn make_room(connections: usize) {
    let needed = (connections as u64).saturating_add(BESIDE);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // `None` stands for no limit.
    if current.is_none_or(|current| current >= needed) {
        return;
    }
    let wanted = maximum.map_or(needed, |maximum| maximum.min(needed));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    let held = if raised.is_ok() { wanted } else { current.unwrap_or(0) };
    if held < needed {
        tracing::warn!(
            files = held,
            needed,
            "the process may open fewer files than limits.max_relays connections need; raise the limit (ulimit -n, \
             LimitNOFILE), or lower limits.max_relays"
        );
    }
}
