//! The house's style, as far as a program can read it: files have one subject and say which, crates share lints and
//! licences, the README's commands stand.

use std::fs;
use std::path::Path;

use super::Finding;
use super::scrub::Source;
use super::workspace::Workspace;

/// Lines from which a file is noted, and beyond which it is refused.
const LONG: usize = 400;
const TOO_LONG: usize = 500;

const LICENCE: &str = "MIT OR Apache-2.0";
const LICENCE_FILES: &[&str] = &["LICENSE-MIT", "LICENSE-APACHE"];

/// What a newcomer types first: to see it work, and to know that a change is good.
const README_COMMANDS: &[&str] = &["cargo run --release -- demo", "cargo test --workspace"];

pub(super) fn check_source(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (_, path) = source.room();
    if path.starts_with("src/") && !source.text.starts_with("//!") {
        let why = "a module's first lines say what it is for";
        findings.push(Finding::new(&source.name, 1, "no `//!` at the top", why));
    }
    let lines = source.text.lines().count();
    if lines > TOO_LONG {
        let why = "a file has one subject and at most 500 lines: split it";
        findings.push(Finding::new(&source.name, 0, format!("{lines} lines"), why));
    }
    findings
}

/// A remark about a file that is long, but not yet too long.
pub(super) fn long_file(source: &Source) -> Option<String> {
    let lines = source.text.lines().count();
    (LONG + 1..=TOO_LONG).contains(&lines).then(|| format!("{}: {lines} lines, more than {LONG}", source.name))
}

pub(super) fn check_files(root: &Path, workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &workspace.packages {
        let manifest = workspace.manifest(package);
        if package.license.as_deref() != Some(LICENCE) {
            let what = format!("the licence is {:?}", package.license.as_deref().unwrap_or("none"));
            findings.push(Finding::new(&manifest, 0, what, "every crate has `license.workspace = true`"));
        }
        let text = fs::read_to_string(&package.manifest_path).unwrap_or_default();
        if !shares_lints(&text) {
            let why = "every crate has `[lints] workspace = true`";
            findings.push(Finding::new(&manifest, 0, "the workspace's lints are not in force", why));
        }
    }
    for name in LICENCE_FILES.iter().filter(|name| !root.join(name).is_file()) {
        findings.push(Finding::new(*name, 0, "missing", "the licence that manifests name is part of the repository"));
    }
    match fs::read_to_string(root.join("README.md")) {
        Ok(text) => findings.extend(check_readme(&text)),
        Err(error) => {
            let why = "it is what a newcomer reads first";
            findings.push(Finding::new("README.md", 0, format!("can't be read ({error})"), why));
        }
    }
    findings
}

fn check_readme(text: &str) -> Vec<Finding> {
    let commands = commands(text);
    let why = "what a newcomer types first is what the README shows first, in this order";
    let expected = README_COMMANDS.iter().enumerate();
    expected
        .filter_map(|(place, expected)| {
            let (line, found) = commands.get(place).copied().unwrap_or((0, ""));
            let what = || format!("command {} is `{found}`, not `{expected}`", place + 1);
            (found != *expected).then(|| Finding::new("README.md", line, what(), why))
        })
        .collect()
}

/// The commands of a page's blocks of console or shell, in order, each with its line.
fn commands(text: &str) -> Vec<(usize, &str)> {
    let mut commands = Vec::new();
    let (mut in_block, mut in_shell) = (false, false);
    for (line, text) in (1..).zip(text.lines().map(str::trim)) {
        if let Some(language) = text.strip_prefix("```") {
            in_block = !in_block;
            in_shell = in_block && ["console", "sh", "bash", "shell"].contains(&language);
        } else if in_shell && !text.is_empty() {
            commands.push((line, text.strip_prefix("$ ").unwrap_or(text)));
        }
    }
    commands
}

fn shares_lints(manifest: &str) -> bool {
    let manifest = toml::from_str::<toml::Table>(manifest).unwrap_or_default();
    manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_says_what_it_is_for() {
        let found = |name: &str, text: &str| check_source(&Source::new(name, text)).len();
        assert_eq!(found("crates/a/src/lib.rs", "//! This.\nfn b() {}\n"), 0);
        assert_eq!(found("crates/a/src/lib.rs", "fn b() {}\n"), 1);
        assert_eq!(found("crates/a/src/b/c.rs", "// This.\n"), 1);
        assert_eq!(found("crates/a/tests/it/b.rs", "fn b() {}\n"), 0);
    }

    #[test]
    fn long_files_are_noted_and_longer_ones_refused() {
        let source = |lines: usize| Source::new("crates/a/src/lib.rs", &"//!\n".repeat(lines));
        for (lines, noted, refused) in [(400, false, false), (401, true, false), (500, true, false), (501, false, true)]
        {
            let source = source(lines);
            assert_eq!((long_file(&source).is_some(), !check_source(&source).is_empty()), (noted, refused), "{lines}");
        }
    }

    #[test]
    fn crates_share_lints() {
        assert!(shares_lints("[package]\nname = \"a\"\n[lints]\nworkspace = true\n"));
        assert!(!shares_lints("[package]\nname = \"a\"\n"));
        assert!(!shares_lints("[lints.rust]\nmissing_docs = \"warn\"\n"));
    }

    #[test]
    fn the_readme_shows_its_commands() {
        let page = |commands: &[&str]| {
            let blocks = commands.iter().map(|command| format!("Do this:\n```console\n{command}\n```\n"));
            format!("# Name\n```toml\nkey = 1\n```\n{}", blocks.collect::<String>())
        };
        let [first, second] = [README_COMMANDS[0], README_COMMANDS[1]];
        let lines =
            |commands: &[&str]| check_readme(&page(commands)).iter().map(|found| found.line).collect::<Vec<_>>();
        let cases: [(&[&str], &[usize]); 4] = [
            (&[first, second, "grasp-sync run"], &[]),
            // The order counts, and nothing comes before them.
            (&[second, first], &[7, 11]),
            (&["git clone", first, second], &[7, 11]),
            (&[first], &[0]),
        ];
        for (commands, found) in cases {
            assert_eq!(lines(commands), found, "{commands:?}");
        }
        assert_eq!(lines(&[&format!("$ {first}"), second]).len(), 0, "a prompt is no part of a command");
    }
}
