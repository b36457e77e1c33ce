//! `cargo xtask new-strategy`: lays down a crate that builds at once, and is an honest strategy that does little.

use std::fs;
use std::path::{Path, PathBuf};

use crate::run::{Failure, root};
use crate::tidy::workspace::Workspace;

const MANIFEST: &str = include_str!("../templates/Cargo.toml.template");
const SOURCE: &str = include_str!("../templates/lib.rs.template");
const TESTS: &str = include_str!("../templates/tests.rs.template");

/// Characters of a name at most: as the host says.
const MAX_NAME: usize = 64;
/// Names of strategies that are built in.
const BUILT_IN: &[&str] = &["negentropy", "req"];
/// What no crate can be called.
const RESERVED: &[&str] = &[
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// Where a crate is laid down.
enum Place {
    /// In this workspace, as one of its members.
    Inside,
    /// Anywhere else, on its own.
    Outside,
}

/// Lays down the strategy `name` in `folder`, or among the plugins of this workspace.
pub(crate) fn run(name: &str, folder: Option<&Path>) -> Result<(), Failure> {
    check_name(name)?;
    let place = if folder.is_some() { Place::Outside } else { Place::Inside };
    let folder = folder.map_or_else(|| root().join("plugins").join(name), Path::to_owned);
    if let Place::Inside = place
        && Workspace::load()?.packages.iter().any(|package| package.name == name)
    {
        return Err(Failure(format!("{name}: the workspace has a package of that name; take another")));
    }
    lay_down(name, &folder, &place)?;
    let (shown, build) = (folder.display(), "cargo build --release");
    match place {
        Place::Inside => println!("{shown}\n  {build} --package {name}\n  cargo test --package {name}"),
        Place::Outside => println!("{shown}\n  cd {shown}\n  {build}\n  cargo test"),
    }
    println!("what comes next is in docs/writing-a-strategy.md");
    Ok(())
}

fn check_name(name: &str) -> Result<(), Failure> {
    let refuse = |why: &str| Err(Failure(format!("{name:?} can't be the name of a strategy: {why}")));
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(allowed) || name.len() > MAX_NAME {
        return refuse("it must be 1 to 64 of a-z, 0-9, - and _, and begin with a letter");
    }
    if BUILT_IN.contains(&name) {
        return refuse("a built-in strategy has it");
    }
    if RESERVED.contains(&name) || name == "strategy-abi" || name == "strategy_abi" {
        return refuse("no crate can be called so");
    }
    Ok(())
}

fn lay_down(name: &str, folder: &Path, place: &Place) -> Result<(), Failure> {
    if folder.symlink_metadata().is_ok() {
        return Err(Failure(format!("{} exists; nothing was written", folder.display())));
    }
    let failed = |path: &Path, error: std::io::Error| Failure(format!("{}: {error}", path.display()));
    let source = folder.join("src");
    fs::create_dir_all(&source).map_err(|error| failed(&source, error))?;
    for (file, text) in files(name, place) {
        let path = folder.join(file);
        fs::write(&path, text).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

/// The files of a crate, by their paths in it.
fn files(name: &str, place: &Place) -> Vec<(PathBuf, String)> {
    let abi = root().join("crates/strategy-abi").display().to_string();
    let (package, dependency, rest) = match place {
        Place::Inside => {
            let keys = ["version", "edition", "rust-version", "license"];
            let package = keys.map(|key| format!("{key}.workspace = true")).join("\n") + "\npublish = false";
            (package, "strategy-abi.workspace = true".to_owned(), "\n[lints]\nworkspace = true")
        }
        Place::Outside => {
            let package = "version = \"0.1.0\"\nedition = \"2024\"\npublish = false".to_owned();
            (package, format!("strategy-abi = {{ path = {} }}", toml::Value::from(abi)), "\n[workspace]")
        }
    };
    let fill = |text: &str| {
        let pairs = [
            ("{{name}}", name),
            ("{{Type}}", &type_name(name)),
            ("{{package}}", &package),
            ("{{dependency}}", &dependency),
            ("{{rest}}", rest),
        ];
        pairs.iter().fold(text.to_owned(), |text, (key, value)| text.replace(key, value))
    };
    [("Cargo.toml", MANIFEST), ("src/lib.rs", SOURCE), ("src/tests.rs", TESTS)]
        .map(|(file, text)| (PathBuf::from(file), fill(text)))
        .into()
}

/// `my-own_way` as `MyOwnWay`.
fn type_name(name: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
    };
    name.split(['-', '_']).map(capital).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// A folder that is gone when the test is over.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("grasp-sync-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&folder);
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_is_laid_down_builds_and_is_honest() {
        let folder = Folder::new("new-strategy");
        let place = folder.0.join("my-own_way2");
        run("my-own_way2", Some(&place)).expect("laid down");
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command
            .args(["test", "--offline", "--quiet"])
            .current_dir(&place)
            .env("CARGO_TARGET_DIR", folder.0.join("target"));
        let output = command.output().expect("cargo runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("warning"), "{said}\n{:?}", output.stdout);
        let again = run("my-own_way2", Some(&place)).expect_err("it is there");
        assert!(again.0.contains("exists; nothing was written"), "{again}");
    }

    #[test]
    fn it_is_short_and_whole() {
        for place in [Place::Inside, Place::Outside] {
            let files = files("a-way", &place);
            let lines: usize = files.iter().map(|(_, text)| text.lines().count()).sum();
            assert!(lines < 150, "{lines} lines");
            assert!(files.iter().all(|(_, text)| !text.contains("{{")), "something was not filled in");
            let manifest = toml::from_str::<toml::Table>(&files[0].1).expect("a manifest");
            assert_eq!(manifest["package"]["name"].as_str(), Some("a-way"));
            assert!(files[1].1.contains("pub struct AWay(") && files[1].1.starts_with("//! "));
        }
    }

    #[test]
    fn names_are_checked() {
        for name in ["a", "my-own_way2"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        let long = "a".repeat(65);
        for name in
            ["", "2a", "-a", "A", "a b", "../a", "ä", "req", "negentropy", "match", "test", "strategy-abi", &long]
        {
            let refused = check_name(name).expect_err(name);
            assert!(refused.0.contains(name), "{refused}");
        }
    }
}
