//! What the system says of this process: how many files it may have open, how many it has, what memory it takes.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use telemetry::Metrics;
use telemetry::metrics::Process;

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

/// The metrics of a process that begins now.
pub(crate) fn metrics() -> Metrics {
    let metrics = Metrics::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    metrics.started(env!("CARGO_PKG_VERSION"), now);
    metrics
}

/// What there is to be measured of the process at this moment. Where the system has no `/proc` it is the limit alone.
pub(crate) fn measured() -> Process {
    Process {
        resident_bytes: fs::read_to_string("/proc/self/status").ok().as_deref().and_then(resident),
        // The directory that is being read is one of them.
        open_files: fs::read_dir("/proc/self/fd").ok().map(|files| (files.count() as u64).saturating_sub(1)),
        max_files: getrlimit(Resource::Nofile).current,
    }
}

/// Bytes by the line `VmRSS:   1234 kB` of `/proc/self/status`.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t    1234 kB\nThreads:\t1\n"), Some(1_263_616));
        assert_eq!(resident("Name:\tx\n"), None);
        assert_eq!(resident("VmRSS:\tmuch kB\n"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_file_that_is_opened_is_counted() {
        // Other tests of this process open files, too, so many are opened.
        let before = measured();
        let files: Vec<_> = (0..200).map(|_| fs::File::open("/proc/self/status").expect("it is there")).collect();
        let during = measured();
        assert!(during.open_files >= before.open_files.map(|open| open + 100), "{before:?}, {during:?}");
        assert!(during.open_files <= during.max_files, "{during:?}");
        assert!(during.resident_bytes > Some(1 << 20), "{during:?}");
        drop(files);
    }
}
