//! What sources must not do: sync-core touches no world, queues are bounded, `unsafe` has its places, nothing is left
//! half done.

use super::Finding;
use super::scrub::{Source, braces, lines_with};
use super::uses;

/// What the core must not name: clocks, sockets, files, threads, randomness, the process's environment.
const WORLD: &[&str] = &[
    "std::time::Instant",
    "std::time::SystemTime",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "std::net",
    "std::fs",
    "std::thread",
    "std::env",
    "std::process",
    "tokio",
    "rand",
    "getrandom",
    "Keys::generate",
];

/// Where foreign code is spoken to. That each block says why it is sound is the compiler's business.
const FOREIGN: &[&str] = &["crates/strategy-abi", "crates/strategy-host"];

const UNBOUNDED: &[&str] = &[
    "unbounded_channel",
    "mpsc::unbounded",
    "mpsc::channel()",
    "mpsc::channel::<",
    "UnboundedSender",
    "UnboundedReceiver",
];

/// What stands for missing or forgotten work.
const UNFINISHED: &[&str] = &[concat!("to", "do!"), "unimplemented!", "dbg!", "#[ignore"];

/// Words that announce missing work, in comments or code.
const PROMISES: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("HA", "CK"),
    concat!("for ", "now"),
    concat!("in a real ", "system"),
    concat!("place", "holder"),
];

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (room, _) = source.room();
    if room == "crates/sync-core" {
        world(source, &mut findings);
    }
    if room.starts_with("crates/") && room != "crates/testkit" {
        unbounded(source, &mut findings);
    }
    if !FOREIGN.contains(&room) {
        keyword_unsafe(source, room, &mut findings);
    }
    unfinished(source, &mut findings);
    findings
}

fn world(source: &Source, findings: &mut Vec<Finding>) {
    let why = "sync-core reads no clock, socket, file or random number: time comes in as `Now`, the rest by its traits";
    let mut hits = Vec::new();
    for word in WORLD {
        hits.extend(lines_with(&source.product, word).into_iter().map(|line| (line, *word)));
        let named = |path: &str| path == *word || path.strip_prefix(word).is_some_and(|rest| rest.starts_with("::"));
        let used = uses::paths(&source.product).into_iter().filter(|(_, path)| named(path));
        hits.extend(used.map(|(line, _)| (line, *word)));
    }
    hits.sort_unstable();
    hits.dedup();
    findings.extend(hits.into_iter().map(|(line, word)| Finding::new(&source.name, line, format!("`{word}`"), why)));
}

fn unbounded(source: &Source, findings: &mut Vec<Finding>) {
    let why = "every queue is bounded: take a channel with a capacity";
    for word in UNBOUNDED {
        for line in lines_with(&source.product, word) {
            // A bounded channel may name its type: `mpsc::channel::<T>(8)`.
            let bounded =
                word.ends_with("::<") && source.product.lines().nth(line - 1).is_some_and(|text| !text.contains(">()"));
            if !bounded {
                findings.push(Finding::new(&source.name, line, format!("`{word}`"), why));
            }
        }
    }
}

fn keyword_unsafe(source: &Source, room: &str, findings: &mut Vec<Finding>) {
    let why = "only strategy-abi, strategy-host and the one `open` of heed in store-lmdb hold unsafe code";
    let opens_heed = |line: usize| {
        let start: usize = source.code.split_inclusive('\n').take(line - 1).map(str::len).sum();
        let block =
            source.code[start..].find('{').map(|open| &source.code[start + open..braces(&source.code, start + open)]);
        room == "crates/store-lmdb" && block.is_some_and(|block| block.contains(".open("))
    };
    for line in lines_with(&source.code, "unsafe") {
        if !opens_heed(line) {
            findings.push(Finding::new(&source.name, line, "`unsafe`", why));
        }
    }
}

fn unfinished(source: &Source, findings: &mut Vec<Finding>) {
    for word in UNFINISHED {
        for line in lines_with(&source.code, word) {
            findings.push(Finding::new(&source.name, line, format!("`{word}`"), "finish it, or leave it out"));
        }
    }
    for word in PROMISES {
        let mut lines = lines_with(&source.comments, word);
        lines.extend(lines_with(&source.code, word));
        lines.sort_unstable();
        for line in lines {
            findings.push(Finding::new(&source.name, line, format!("`{word}`"), "say what is, not what may come"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, text: &str) -> Vec<(usize, String)> {
        check(&Source::new(name, text)).into_iter().map(|finding| (finding.line, finding.what)).collect()
    }

    fn lines(name: &str, text: &str) -> Vec<usize> {
        found(name, text).into_iter().map(|(line, _)| line).collect()
    }

    #[test]
    fn the_core_touches_no_world() {
        let text = "use std::{fs, net::IpAddr};\nuse std::time::{Duration, Instant};\nlet t = Timestamp::now();\n\
                    // std::thread in a comment\nlet s = \"rand\";\nuse std::collections::BTreeMap;\nlet r = rand::rng();\n\
                    #[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
        let expected =
            [(3, "`Timestamp::now`"), (7, "`rand`"), (1, "`std::fs`"), (1, "`std::net`"), (2, "`std::time::Instant`")];
        let mut expected: Vec<_> = expected.into_iter().map(|(line, what)| (line, what.to_owned())).collect();
        expected.sort();
        assert_eq!(found("crates/sync-core/src/a.rs", text), expected);
        assert_eq!(found("crates/engine/src/a.rs", text), []);
    }

    #[test]
    fn queues_are_bounded() {
        let text = "let (a, b) = mpsc::channel();\nlet (a, b) = mpsc::channel(8);\nlet (a, b) = mpsc::channel::<u8>(8);\n\
                    let (a, b) = mpsc::channel::<u8>();\nlet c = tokio::sync::mpsc::unbounded_channel();\n";
        assert_eq!(lines("crates/engine/src/a.rs", text), [5, 1, 4]);
        assert_eq!(lines("crates/testkit/src/a.rs", text), Vec::<usize>::new());
    }

    #[test]
    fn unsafe_has_its_places() {
        let text = "#![allow(unsafe_code)]\nlet a = unsafe { b() };\nlet c = unsafe {\n    options.open(path)?\n};\n";
        assert_eq!(lines("crates/engine/src/a.rs", text), [2, 3]);
        assert_eq!(lines("crates/store-lmdb/src/a.rs", text), [2]);
        assert_eq!(lines("crates/strategy-host/src/a.rs", text), Vec::<usize>::new());
        assert_eq!(lines("plugins/window-req/src/lib.rs", text), [2, 3]);
    }

    #[test]
    fn nothing_is_left_half_done() {
        let text = format!(
            "{}();\nlet a = \"{}\";\n// {}: later\n#[ignore]\nfn todo_list() {{}}\n// enough {}\n",
            UNFINISHED[0], UNFINISHED[0], PROMISES[0], PROMISES[4]
        );
        assert_eq!(lines("crates/engine/tests/it/a.rs", &text), [1, 4, 3, 6]);
    }
}
