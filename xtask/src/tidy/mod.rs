//! `cargo xtask tidy`: the invariants of the architecture, read from manifests and sources (ARCHITECTURE.md).
//!
//! A rule is a function from what was read to findings. It says where, what, and why; a person decides nothing here.

mod code;
mod deps;
mod house;
mod scrub;
mod uses;
pub(crate) mod workspace;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::run::Failure;
use scrub::Source;
use workspace::Workspace;

/// A breach of a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Relative to the workspace's root.
    file: String,
    /// From 1; 0 where the file as a whole is meant.
    line: usize,
    what: String,
    why: &'static str,
}

impl Finding {
    fn new(file: impl Into<String>, line: usize, what: impl Into<String>, why: &'static str) -> Self {
        Self { file: file.into(), line, what: what.into(), why }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}; {}", self.what, self.why)
    }
}

/// Checks the workspace in `root`, and prints what it finds.
pub(crate) fn run(root: &Path) -> Result<(), Failure> {
    let workspace = Workspace::load()?;
    let sources = read_sources(root)?;
    let mut findings = deps::check(&workspace);
    findings.extend(house::check_files(root, &workspace));
    for source in &sources {
        findings.extend(code::check(source));
        findings.extend(house::check_source(source));
    }
    findings.sort();
    for note in sources.iter().filter_map(house::long_file) {
        println!("note: {note}");
    }
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("tidy: {} crates, {} source files, nothing found", workspace.packages.len(), sources.len());
        return Ok(());
    }
    Err(Failure(format!("tidy: {} findings", findings.len())))
}

/// Every source file of the repository, the workspaces that stand apart included.
fn read_sources(root: &Path) -> Result<Vec<Source>, Failure> {
    let mut files = Vec::new();
    for folder in ["crates", "plugins", "xtask", "interop", "fuzz"] {
        collect(&root.join(folder), &mut files)?;
    }
    files.sort();
    let read = |file: &PathBuf| {
        let text = fs::read_to_string(file).map_err(|error| Failure(format!("{}: {error}", file.display())))?;
        let name = file.strip_prefix(root).unwrap_or(file).to_string_lossy().replace('\\', "/");
        Ok(Source::new(&name, &text))
    };
    files.iter().map(read).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    if !folder.is_dir() {
        return Ok(());
    }
    let failed = |error: std::io::Error| Failure(format!("{}: {error}", folder.display()));
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                collect(&path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}
