//! What is a strategy, and what isn't.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use strategy_host::{LoadError, Plugin};
use testkit::plugins::{bad_library, rust_library};

use crate::support::patient;

fn refused(path: &Path, sha256: Option<&str>) -> LoadError {
    Plugin::load(path, sha256, patient()).expect_err("it must not be loaded")
}

/// A directory that only we can write to, and a copy of the library in it.
fn copy() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("bad.so");
    fs::copy(bad_library(&[]), &path).expect("copied");
    (dir, path)
}

#[test]
fn a_library_says_what_it_is() {
    let file = rust_library("plugin-req");
    let plugin = Plugin::load(&file, None, patient()).expect("it loads");
    let info = plugin.info();
    assert_eq!((info.name.as_str(), info.version.as_str(), info.abi.as_str()), ("req-plugin", "0.1.0", "1.0"));
    assert_eq!(info.file, file.canonicalize().expect("it is there"));
    assert_eq!(info.sha256.len(), 64);
    assert_eq!(plugin.barred(), None);
    // The same file again is the same library, and its hash may be given in capitals.
    Plugin::load(&file, Some(&info.sha256.to_uppercase()), patient()).expect("it is pinned to what it is");
}

#[test]
fn what_is_no_strategy_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().expect("a directory");
    let text = dir.path().join("text.so");
    fs::write(&text, "no library").expect("written");
    assert!(matches!(refused(&text, None), LoadError::NotALibrary(_)));
    assert!(matches!(refused(&dir.path().join("none.so"), None), LoadError::Unreadable(_)));
    assert!(matches!(refused(dir.path(), None), LoadError::Unreadable(_)));
    assert_eq!(refused(Path::new("bad.so"), None), LoadError::NotAbsolute);
    assert_eq!(refused(&bad_library(&["SYMBOL=other"]), None), LoadError::NoSymbol);
    let table = |define: &str, words: &str| {
        let error = refused(&bad_library(&[define]), None).to_string();
        assert!(error.contains("answers no table") && error.contains(words), "{define}: {error}");
    };
    table("NOTHING", "nothing");
    table("MAGIC=7", "0x0000000000000007");
    table("SIZE=64", "64 bytes");
    table("NO_CREATE", "`create` is missing");
    assert_eq!(refused(&bad_library(&["MAJOR=2"]), None), LoadError::WrongMajor { expected: 1, found: 2 });
    assert_eq!(refused(&bad_library(&["NAME=\"Bad\""]), None), LoadError::BadName("Bad".to_owned()));
    assert_eq!(refused(&bad_library(&["NAME=\"\""]), None), LoadError::BadName(String::new()));
    let long = format!("NAME=\"{}\"", "x".repeat(65));
    assert!(matches!(refused(&bad_library(&[&long]), None), LoadError::NotATable(_)));
}

#[test]
fn a_pinned_file_must_be_that_file() {
    let (_dir, path) = copy();
    let other = "0".repeat(64);
    assert!(matches!(refused(&path, Some(&other)), LoadError::WrongHash { expected, .. } if expected == other));
}

#[test]
fn what_everybody_may_change_is_not_loaded() {
    let (dir, path) = copy();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
    mode(&path, 0o666);
    assert!(matches!(refused(&path, None), LoadError::WorldWritable(_)));
    mode(&path, 0o644);
    mode(dir.path(), 0o777);
    assert!(matches!(refused(&path, None), LoadError::WorldWritable(_)), "it could be replaced");
    // What is another's can't be replaced there.
    mode(dir.path(), 0o1777);
    Plugin::load(&path, None, patient()).expect("it loads");
    // A link is followed to what would be loaded.
    let link = dir.path().join("link.so");
    std::os::unix::fs::symlink(&path, &link).expect("linked");
    mode(&path, 0o666);
    assert!(matches!(refused(&link, None), LoadError::WorldWritable(_)));
}
