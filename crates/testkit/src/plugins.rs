//! Strategies as shared libraries, built for tests: from a package of this workspace by cargo, from a C source by the system's
//! compiler.
//!
//! What can't be built ends the test: every function panics with what cargo or the compiler said.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::env::consts::{DLL_EXTENSION, DLL_PREFIX, DLL_SUFFIX};
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use serde::Deserialize;

/// What a C source is compiled with. Warnings are errors: an example that a compiler warns of is none.
const C_FLAGS: &[&str] = &["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O2", "-fPIC", "-shared"];

/// The shared library of `package`, a member of this workspace that has one. Built once in a process.
///
/// # Panics
/// It can't be built, or has no shared library.
pub fn rust_library(package: &str) -> PathBuf {
    static BUILT: OnceLock<Mutex<HashMap<String, PathBuf>>> = OnceLock::new();
    // Held while it builds: cargo would have the others wait, too.
    let mut built = BUILT.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    built.entry(package.to_owned()).or_insert_with(|| build(package)).clone()
}

/// The shared library of one C source, compiled by `$CC` or `cc` with `-D` for each of `defines`. The same source with the same
/// defines is compiled once for all processes.
///
/// # Panics
/// It can't be compiled.
pub fn c_library(source: &Path, name: &str, defines: &[&str]) -> PathBuf {
    let compiler = std::env::var("CC").ok().filter(|compiler| !compiler.trim().is_empty());
    let compiler = compiler.as_deref().unwrap_or("cc");
    let include = workspace().join("crates/strategy-abi/include");
    let mut hasher = DefaultHasher::new();
    for file in [source, &include.join("grasp_strategy.h")] {
        fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display())).hash(&mut hasher);
    }
    (compiler, C_FLAGS, defines).hash(&mut hasher);
    let folder = libraries().join(format!("{name}-{:016x}", hasher.finish()));
    let library = folder.join(format!("{DLL_PREFIX}{name}{DLL_SUFFIX}"));
    if library.is_file() {
        return library;
    }
    make_folder(&folder);
    // Under a name of its own until it is whole: others may be at the same.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let unique = NEXT.fetch_add(1, Ordering::Relaxed);
    let unfinished = folder.join(format!("{}-{unique}.unfinished", std::process::id()));
    let mut words = compiler.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or("cc"));
    command.args(words).args(C_FLAGS).args(defines.iter().map(|define| format!("-D{define}")));
    command.arg("-I").arg(&include).arg("-o").arg(&unfinished).arg(source);
    said(&mut command);
    close_to_others(&unfinished);
    fs::rename(&unfinished, &library).unwrap_or_else(|error| panic!("{}: {error}", library.display()));
    library
}

/// A strategy that does what it must not: `[strategy.bad]` says `how`, and `defines` spoil its table.
///
/// # Panics
/// It can't be compiled.
pub fn bad_library(defines: &[&str]) -> PathBuf {
    c_library(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/bad.c"), "bad", defines)
}

/// The example in C, compiled.
///
/// # Panics
/// It can't be compiled.
pub fn by_author_library() -> PathBuf {
    c_library(&workspace().join("plugins/by-author/by_author.c"), "by_author", &[])
}

/// The shared library of a strategy that `cargo xtask new-strategy` lays down in `folder` under `name`; what is there is replaced.
///
/// # Panics
/// It can't be laid down or built.
pub fn new_strategy_library(name: &str, folder: &Path) -> PathBuf {
    let place = folder.join(name);
    if place.exists() {
        fs::remove_dir_all(&place).unwrap_or_else(|error| panic!("{}: {error}", place.display()));
    }
    let mut lays_down = cargo(workspace());
    said(lays_down.args(["run", "--quiet", "--package", "xtask", "--", "new-strategy", name, "--path"]).arg(&place));
    let mut builds = cargo(&place);
    // It depends on nothing but the interface, which is built once for all that are ever laid down here.
    builds.args(["build", "--offline"]).env("CARGO_TARGET_DIR", folder.join("target"));
    library_of(&mut builds)
}

/// A line of what cargo says.
#[derive(Deserialize)]
struct Line {
    reason: String,
    target: Option<Target>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

fn build(package: &str) -> PathBuf {
    library_of(cargo(workspace()).args(["build", "--package", package]))
}

/// A call of cargo in `folder`.
fn cargo(folder: &Path) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(folder);
    // What cargo tells a test of its package, build scripts would take for a change.
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"].iter().any(|prefix| name.starts_with(prefix))
        {
            command.env_remove(&key);
        }
    }
    command
}

/// The shared library that `build`, a call of cargo, comes to.
fn library_of(build: &mut Command) -> PathBuf {
    let text = said(build.args(["--message-format", "json"]));
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let libraries = lines.filter(|line| {
        let of_c = |target: &Target| target.kind.iter().any(|kind| kind == "cdylib");
        line.reason == "compiler-artifact" && line.target.as_ref().is_some_and(of_c)
    });
    let is_shared = |file: &PathBuf| file.extension().is_some_and(|extension| extension == DLL_EXTENSION);
    let mut files: Vec<_> = libraries.flat_map(|line| line.filenames).filter(is_shared).collect();
    // What it depends on is built before it.
    files.pop().unwrap_or_else(|| panic!("{build:?}: no shared library:\n{text}"))
}

/// Runs `command` and returns what it wrote to stdout.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The root of the workspace that this was built in.
fn workspace() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here)
}

/// Where compiled libraries are kept: beside the program that runs.
fn libraries() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_else(|error| panic!("where does this program lie? {error}"));
    program.parent().map_or_else(std::env::temp_dir, Path::to_owned).join("c-libraries")
}

/// Makes a folder of [`libraries`] that nobody else may write to: the host refuses what lies in any other.
fn make_folder(folder: &Path) {
    let all = libraries();
    assert_eq!(folder.parent(), Some(&*all), "{} is no folder for compiled libraries", folder.display());
    fs::create_dir_all(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    close_to_others(&all);
    close_to_others(folder);
}

/// Nobody but the owner may write to `path` any more, a file or folder of [`libraries`].
///
/// # Panics
/// It lies elsewhere, or is a link: what that leads to may be anybody's.
#[cfg(unix)]
fn close_to_others(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let is_ours = path.starts_with(libraries()) && path.components().all(|part| part != Component::ParentDir);
    let found = fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let is_plain = found.is_file() || found.is_dir();
    assert!(is_ours && is_plain, "{} is no file or folder of compiled libraries", path.display());
    let closed = fs::set_permissions(path, fs::Permissions::from_mode(0o755));
    closed.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

#[cfg(not(unix))]
fn close_to_others(_path: &Path) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_of_c_is_compiled_once() {
        let folder = libraries().join("tests");
        make_folder(&folder);
        let source = folder.join("nothing.c");
        fs::write(
            &source,
            "#include \"grasp_strategy.h\"\nconst gs_strategy *grasp_sync_strategy_v1(void) { return ANSWER; }\n",
        )
        .expect("written");
        let first = c_library(&source, "nothing", &["ANSWER=0"]);
        let made = fs::metadata(&first).and_then(|metadata| metadata.modified()).expect("a file");
        let threads: Vec<_> = (0..4)
            .map(|_| source.clone())
            .map(|source| std::thread::spawn(move || c_library(&source, "nothing", &["ANSWER=0"])))
            .collect();
        for thread in threads {
            assert_eq!(thread.join().expect("it returns"), first);
        }
        assert_eq!(fs::metadata(&first).and_then(|metadata| metadata.modified()).expect("a file"), made);
        assert_ne!(c_library(&source, "nothing", &["ANSWER=(void *)0"]), first, "defines count");
    }

    #[test]
    fn the_example_in_c_compiles_without_a_warning() {
        let library = by_author_library();
        assert!(library.is_file(), "{}", library.display());
    }

    #[cfg(unix)]
    #[test]
    fn nothing_else_has_its_mode_changed() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o7777;
        let folder = libraries().join("modes");
        make_folder(&folder);
        assert_eq!((mode(&libraries()), mode(&folder)), (0o755, 0o755));
        let outside = libraries().with_file_name(format!("outside-{}", std::process::id()));
        fs::write(&outside, "").expect("written");
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o600)).expect("ours");
        let link = folder.join(format!("link-{}", std::process::id()));
        symlink(&outside, &link).expect("a link");
        let beside = libraries().join("..").join(outside.file_name().expect("a name"));
        for path in [&outside, &link, &beside, Path::new("/dev/null")] {
            let before = mode(path);
            let refused = std::panic::catch_unwind(|| close_to_others(path)).is_err();
            assert!(refused && mode(path) == before, "{}", path.display());
        }
        let refused = std::panic::catch_unwind(|| make_folder(&libraries().join("../beside"))).is_err();
        assert!(refused && !libraries().join("../beside").exists());
        fs::remove_file(&link).and_then(|()| fs::remove_file(&outside)).expect("removed");
    }

    #[test]
    fn a_package_has_its_library() {
        let library = rust_library("window-req");
        assert!(library.is_file(), "{}", library.display());
        assert_eq!(rust_library("window-req"), library);
    }
}
