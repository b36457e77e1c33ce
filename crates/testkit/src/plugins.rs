//! Strategies as shared libraries, built where tests need them: those of this workspace, and some in C.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// The workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(Path::to_owned).unwrap_or_default()
}

/// The library of a package of the workspace, built by cargo unless it is there already.
///
/// # Panics
/// It can't be built; what cargo says is told.
pub fn rust_library(package: &str) -> PathBuf {
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = built.get(package) {
        return path.clone();
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root()).args(["build", "--package", package, "--message-format", "json-render-diagnostics"]);
    // What describes the package under test would make build scripts think that they must run again.
    for (name, _) in std::env::vars_os() {
        let described = name.to_str().is_some_and(|name| {
            ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_"].iter().any(|start| name.starts_with(start))
        });
        if described {
            command.env_remove(name);
        }
    }
    let output = command.output().unwrap_or_else(|error| panic!("cargo can't be run: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{package} can't be built:\n{said}");
    let files = String::from_utf8_lossy(&output.stdout);
    let path = files.lines().filter_map(|line| library_in(line, package)).next_back();
    let path = path.unwrap_or_else(|| panic!("{package} is no shared library:\n{said}"));
    built.insert(package.to_owned(), path.clone());
    path
}

/// The shared library that a message of cargo's names for a package.
fn library_in(line: &str, package: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let target = message.get("target")?;
    let ours = target["name"] == package.replace('-', "_");
    let is_shared = target["kind"].as_array()?.iter().any(|kind| kind == "cdylib");
    let extension = std::env::consts::DLL_EXTENSION;
    let mut files = message.get("filenames")?.as_array()?.iter().filter_map(|file| file.as_str());
    let file = files.find(|file| Path::new(file).extension().is_some_and(|found| found == extension))?;
    (ours && is_shared).then(|| file.into())
}

/// A library of one C file, built by the system's compiler (`CC`, else `cc`) with `defines` such as `-DNAME="x"`.
///
/// # Panics
/// It can't be built; what the compiler says is told.
pub fn c_library(source: &Path, defines: &[&str]) -> PathBuf {
    let text = std::fs::read(source).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
    let include = root().join("crates/strategy-abi/include");
    let header = std::fs::read(include.join("grasp_strategy.h")).expect("the header is there");
    let mut hasher = DefaultHasher::new();
    (&text, &header, defines).hash(&mut hasher);
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let dir = target.join("c-plugins");
    std::fs::create_dir_all(&dir).expect("a directory");
    let stem = source.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let path = dir.join(format!("{stem}-{:016x}.{}", hasher.finish(), std::env::consts::DLL_EXTENSION));
    if path.exists() {
        return path;
    }
    // Under another name first: somebody else may be building the same.
    let unfinished = dir.join(format!("{stem}-{}-{:?}", std::process::id(), std::thread::current().id()));
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let output = Command::new(&compiler)
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", "-fPIC", "-shared", "-I"])
        .arg(&include)
        .args(defines)
        .arg(source)
        .arg("-o")
        .arg(&unfinished)
        .output()
        .unwrap_or_else(|error| panic!("{compiler} is needed: {error}"));
    assert!(output.status.success(), "{}:\n{}", source.display(), String::from_utf8_lossy(&output.stderr));
    std::fs::rename(&unfinished, &path).expect("renamed");
    path
}

/// A strategy that does what it must not: `[strategy.bad]` has `how`; `defines` spoil its table.
pub fn bad_library(defines: &[&str]) -> PathBuf {
    c_library(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/bad.c"), defines)
}
