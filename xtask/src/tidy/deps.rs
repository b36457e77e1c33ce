//! Who may depend on whom: arrows point down, and few crates know the world outside.

use super::Finding;
use super::workspace::{Dependency, Kind, Package, Workspace};

/// The floors of the house. A crate depends on crates of lower floors only.
const FLOORS: &[(&str, u8)] = &[
    ("sync-core", 0),
    ("strategy-abi", 0),
    ("telemetry", 1),
    ("strategy-negentropy", 1),
    ("strategy-req", 1),
    ("strategy-host", 1),
    ("strategy-export", 1),
    ("store-lmdb", 1),
    ("transport-ws", 1),
    ("own-relay", 1),
    ("engine", 2),
    ("testkit", 2),
    ("plugin-negentropy", 2),
    ("plugin-req", 2),
    ("window-req", 2),
    ("grasp-sync", 3),
    ("xtask", 0),
];

/// The floor of plugins that aren't named above.
const PLUGINS: u8 = 2;

/// What sync-core must not see: runtimes, sockets, stores, randomness.
const OUTSIDE: &[&str] =
    &["tokio", "async-std", "smol", "mio", "hyper", "axum", "reqwest", "heed", "rand", "getrandom"];

/// What has the name of a strategy and is the boundary to some.
const BOUNDARY: &[&str] = &["strategy-abi", "strategy-host", "strategy-export"];

const WEBSOCKET: &[&str] = &["transport-ws", "own-relay", "testkit"];

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &workspace.packages {
        let manifest = workspace.manifest(package);
        let mut report = |what: String, why| findings.push(Finding::new(&manifest, 0, what, why));
        // Whoever lays down a plugin need not come here.
        if floor_of(&package.name).is_none() && !manifest.starts_with("plugins/") {
            report(
                format!("`{}` is on no floor", package.name),
                "give it one in xtask/src/tidy/deps.rs, so that what may depend on it is decided",
            );
        }
        for dependency in &package.dependencies {
            let what = format!("`{}` depends on `{}`", package.name, dependency.name);
            for why in reasons(package, dependency) {
                report(what.clone(), why);
            }
        }
    }
    findings
}

fn reasons(package: &Package, dependency: &Dependency) -> Vec<&'static str> {
    let (from, to) = (package.name.as_str(), dependency.name.as_str());
    let mut reasons = Vec::new();
    if from == "sync-core" && (OUTSIDE.iter().any(|name| is_or_extends(to, name)) || to.contains("tungstenite")) {
        reasons.push("sync-core decides without runtime, socket, store or randomness");
    }
    if to.contains("tungstenite") && !WEBSOCKET.contains(&from) {
        reasons.push("only transport-ws and own-relay know WebSocket (and the scripted relay of testkit)");
    }
    if is_or_extends(to, "heed") && from != "store-lmdb" {
        reasons.push("only store-lmdb knows heed");
    }
    if to == "libloading" && from != "strategy-host" {
        reasons.push("only strategy-host loads foreign code");
    }
    if from == "strategy-abi" {
        reasons.push("strategy-abi depends on nothing: whoever writes a plugin builds it");
    }
    if is_strategy(from) && is_strategy(to) {
        reasons.push("no strategy knows another");
    }
    let ours = dependency.path.is_some();
    let floor = floor_of(from).unwrap_or(PLUGINS);
    if ours && dependency.kind != Some(Kind::Dev) && floor_of(to).is_none_or(|below| floor <= below) {
        reasons.push("arrows point down only: bin, engine, then the rooms, then sync-core");
    }
    reasons
}

/// Whether `name` is the crate `base`, or one of its family: `base-…`, `base_…`.
fn is_or_extends(name: &str, base: &str) -> bool {
    name.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
}

fn is_strategy(name: &str) -> bool {
    name.starts_with("strategy-") && !BOUNDARY.contains(&name)
}

fn floor_of(name: &str) -> Option<u8> {
    FLOORS.iter().find(|(known, _)| *known == name).map(|(_, floor)| *floor)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The findings for one package with these dependencies: name, kind, whether it is ours.
    fn found(package: &str, dependencies: &[(&str, Option<&str>, bool)]) -> Vec<String> {
        let dependencies: Vec<_> = dependencies
            .iter()
            .map(|(name, kind, ours)| {
                let path = ours.then(|| format!("/r/crates/{name}"));
                serde_json::json!({ "name": name, "kind": kind, "path": path })
            })
            .collect();
        let metadata = serde_json::json!({
            "packages": [{
                "name": package,
                "license": "MIT",
                "manifest_path": format!("/r/crates/{package}/Cargo.toml"),
                "dependencies": dependencies,
            }],
            "workspace_root": "/r",
            "target_directory": "/r/target",
        });
        let workspace = Workspace::parse(&metadata.to_string()).expect("metadata");
        check(&workspace).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_the_plan_allows_is_not_found() {
        for (package, dependency, kind, ours) in [
            ("sync-core", "nostr", None, false),
            ("sync-core", "randomart", None, false),
            ("transport-ws", "tokio-tungstenite", None, false),
            ("testkit", "tokio-tungstenite", None, false),
            ("store-lmdb", "heed", None, false),
            ("strategy-req", "sync-core", None, true),
            ("strategy-host", "libloading", None, false),
            ("plugin-req", "strategy-req", None, true),
            ("engine", "testkit", Some("dev"), true),
            ("grasp-sync", "engine", None, true),
        ] {
            assert_eq!(found(package, &[(dependency, kind, ours)]), Vec::<String>::new(), "{package} {dependency}");
        }
    }

    #[test]
    fn every_breach_is_found_with_its_reason() {
        for (package, dependency, kind, ours, why) in [
            ("sync-core", "tokio", None, false, "without runtime"),
            ("sync-core", "tokio-util", Some("dev"), false, "without runtime"),
            ("sync-core", "rand_core", None, false, "without runtime"),
            ("engine", "tokio-tungstenite", None, false, "know WebSocket"),
            ("grasp-sync", "heed", None, false, "knows heed"),
            ("engine", "libloading", None, false, "loads foreign code"),
            ("strategy-abi", "libc", None, false, "depends on nothing"),
            ("strategy-req", "strategy-negentropy", Some("dev"), true, "no strategy knows another"),
            ("sync-core", "engine", None, true, "arrows point down"),
            ("store-lmdb", "transport-ws", None, true, "arrows point down"),
            ("engine", "testkit", Some("build"), true, "arrows point down"),
            ("newcomer", "nostr", None, false, "give it one"),
        ] {
            let findings = found(package, &[(dependency, kind, ours)]);
            let expected = findings.len() == 1
                && findings[0].starts_with(&format!("crates/{package}/Cargo.toml: "))
                && findings[0].contains(why);
            assert!(expected, "{package} {dependency}: {findings:?}");
        }
    }
}
