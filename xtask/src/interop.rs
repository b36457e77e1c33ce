//! `cargo xtask interop`: builds the product, then runs the tests of `interop/`, which is a workspace of its own: the
//! relays and clients there are old, heavy or unmaintained, and must not reach the product's lock file.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::run::{Cargo, Failure, release_binary, root};

pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    let binary = release_binary()?;
    let manifest = root().join("interop").join("Cargo.toml");
    let mut cargo = Cargo::new(["test", "--locked", "--manifest-path"])
        .args([manifest.as_os_str()])
        // The tables are half of what these tests are for, and that real events are missing must be seen.
        .args(["--", "--nocapture"])
        .args(args)
        .env("INTEROP_GRASP_SYNC", binary)
        .env("CARGO_TARGET_DIR", root().join("interop").join("target"));
    if let Some(protoc) = protoc(&manifest)? {
        cargo = cargo.env("PROTOC", protoc);
    }
    cargo.run()
}

/// The compiler that building nostr-rs-relay calls: `None` where the system has one, else the one that a crate ships.
fn protoc(manifest: &Path) -> Result<Option<PathBuf>, Failure> {
    let mut probe = Command::new("protoc");
    let installed = probe.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if installed || std::env::var_os("PROTOC").is_some() {
        return Ok(None);
    }
    let metadata = Cargo::new(["metadata", "--locked", "--format-version", "1", "--manifest-path"])
        .args([manifest.as_os_str()])
        .output()?;
    let name = shipped_by(std::env::consts::OS, std::env::consts::ARCH);
    let found = shipped(&metadata, &name)?;
    found.map(Some).ok_or_else(|| Failure(format!("no crate `{name}` ships protoc: install it, or name it in PROTOC")))
}

fn shipped_by(os: &str, arch: &str) -> String {
    match (os, arch) {
        ("windows", _) => "protoc-bin-vendored-win32".to_owned(),
        (os, "aarch64") => format!("protoc-bin-vendored-{os}-aarch_64"),
        (os, "x86") => format!("protoc-bin-vendored-{os}-x86_32"),
        (os, arch) => format!("protoc-bin-vendored-{os}-{arch}"),
    }
}

fn shipped(metadata: &str, name: &str) -> Result<Option<PathBuf>, Failure> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        manifest_path: PathBuf,
    }
    let metadata: Metadata =
        serde_json::from_str(metadata).map_err(|error| Failure(format!("cargo metadata: {error}")))?;
    let package = metadata.packages.into_iter().find(|package| package.name == name);
    let program = format!("protoc{}", std::env::consts::EXE_SUFFIX);
    Ok(package.map(|package| package.manifest_path.with_file_name("bin").join(program)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protoc_is_found_beside_the_manifest_of_the_crate_that_ships_it() {
        let name = shipped_by("linux", "x86_64");
        let metadata = serde_json::json!({ "packages": [
            { "name": "other", "manifest_path": "/r/other/Cargo.toml" },
            { "name": name, "manifest_path": "/r/shipped/Cargo.toml" },
        ]});
        let found = shipped(&metadata.to_string(), &name).expect("metadata");
        assert_eq!(found, Some(Path::new("/r/shipped/bin").join(format!("protoc{}", std::env::consts::EXE_SUFFIX))));
        assert_eq!(shipped(&metadata.to_string(), &shipped_by("linux", "riscv64")).expect("metadata"), None);
        assert_eq!(shipped_by("macos", "aarch64"), "protoc-bin-vendored-macos-aarch_64");
    }
}
