//! What the fuzz targets do with their bytes. Each is a function, so that what was found once is also run by the tests of
//! this crate, which need no fuzzer.
//!
//! `cargo xtask fuzz` runs them; the corpora in `corpus/` are kept small.

mod frames;
mod negentropy;

use std::io::Write;

use grasp_sync::config::{Environment, Flags, Loaded};
use sync_core::store::EventStore;
use testkit::store::MemoryStore;

pub use frames::frames;
pub use negentropy::negentropy;

/// A filter from a command line: what is read is read again from its JSON as the same, and can be asked of a store.
pub fn filters(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(filter) = grasp_sync::cli::filter::parse(text) else { return };
    let again = serde_json::to_string(&filter).expect("a filter is JSON");
    assert_eq!(serde_json::from_str::<sync_core::nostr::filter::Filter>(&again).expect("read again"), filter);
    let store = MemoryStore::new(None, sync_core::intake::IntakeConfig::default());
    store.query(&[filter], 0, &mut |_| std::ops::ControlFlow::Continue(())).expect("answers");
}

/// A NIP-11 document: what is made of it stays within what can be worked with.
pub fn nip11(data: &[u8]) {
    let profile = transport_ws::profile_from_nip11(data);
    assert!(profile.supported_nips.len() <= 256 && profile.software.len() <= 2_000);
    for limit in [profile.max_subscriptions, profile.max_filters, profile.max_limit, profile.max_message_length] {
        assert!(limit.is_none_or(|limit| (1..=1 << 30).contains(&limit)));
    }
}

/// A configuration file: it is taken, or every problem is named; what is taken shows itself as TOML that is taken again.
pub fn config(data: &[u8]) {
    let path = std::env::temp_dir().join(format!("grasp-sync-fuzz-{}.toml", std::process::id()));
    let read = |text: &[u8]| {
        std::fs::File::create(&path).and_then(|mut file| file.write_all(text)).expect("a file in the temporary folder");
        Loaded::read(&Flags { config: Some(path.clone()), store: None }, &Environment::default())
    };
    match read(data) {
        Ok(loaded) => {
            let shown = loaded.to_toml();
            if loaded.config.service.keys.is_none() {
                let again = read(shown.as_bytes());
                assert!(again.is_ok(), "{}\n{shown}", again.err().map(|error| error.to_string()).unwrap_or_default());
            }
        }
        Err(problems) => assert!(!problems.to_string().is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every file of a corpus.
    fn replay(name: &str, target: fn(&[u8])) {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        let files: Vec<_> =
            std::fs::read_dir(folder).expect("a corpus").map(|file| file.expect("read").path()).collect();
        assert!(!files.is_empty());
        for file in files {
            println!("{}", file.display());
            target(&std::fs::read(file).expect("read"));
        }
    }

    #[test]
    fn frames_that_were_kept() {
        replay("frames", frames);
    }

    #[test]
    fn filters_that_were_kept() {
        replay("filters", filters);
    }

    #[test]
    fn messages_that_were_kept() {
        replay("negentropy", negentropy);
    }

    #[test]
    fn documents_that_were_kept() {
        replay("nip11", nip11);
    }

    #[test]
    fn configurations_that_were_kept() {
        replay("config", config);
    }
}
