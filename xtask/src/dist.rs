//! `cargo xtask dist`: what is handed to others, in one archive: the program, its manual, completions, and what goes along.
//!
//! The same sources, toolchain and commit date give the same archive: entries are sorted, owned by nobody in particular, and as old
//! as the commit (`SOURCE_DATE_EPOCH`, where that is set). GNU tar, gzip and sha256sum are needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Failure, output, release_binary, root, run, target_directory};

const SHELLS: &[(&str, &str)] = &[
    ("bash", "grasp-sync.bash"),
    ("zsh", "_grasp-sync"),
    ("fish", "grasp-sync.fish"),
    ("powershell", "_grasp-sync.ps1"),
    ("elvish", "grasp-sync.elv"),
];

/// Files that go along as they are.
const ALONG: &[&str] = &[
    "README.md",
    "CHANGELOG.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "grasp-sync.example.toml",
    "docs/metrics.md",
    "docs/traces.md",
];

/// Builds the release binary, and the archive with it.
pub(crate) fn run_it() -> Result<(), Failure> {
    let binary = release_binary()?;
    let name = format!("grasp-sync-{}-{}", version(&binary)?, host()?);
    let above = target_directory()?.join("dist");
    let dir = above.join(&name);
    if dir.exists() {
        done(fs::remove_dir_all(&dir), &dir)?;
    }
    make(&dir, &binary)?;
    let archive = pack(&above, &name)?;
    println!("{}", archive.display());
    Ok(())
}

fn make(dir: &Path, binary: &Path) -> Result<(), Failure> {
    copy(binary, &dir.join("bin").join("grasp-sync"))?;
    run(Command::new(binary).arg("man-pages").arg(dir.join("share/man/man1")))?;
    let completions = dir.join("share/completions");
    done(fs::create_dir_all(&completions), &completions)?;
    for (shell, file) in SHELLS {
        let script = output(Command::new(binary).args(["completions", shell]))?;
        let path = completions.join(file);
        done(fs::write(&path, script), &path)?;
    }
    for file in ALONG {
        copy(&root().join(file), &dir.join(file))?;
    }
    copy_all(&root().join("contrib"), &dir.join("contrib"))
}

/// `NAME.tar.gz` beside the folder, with its hash in `SHA256SUMS`.
fn pack(above: &Path, name: &str) -> Result<PathBuf, Failure> {
    let (tar, gz) = (format!("{name}.tar"), format!("{name}.tar.gz"));
    let mut pack = Command::new("tar");
    pack.args(["--create", "--format=ustar", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"]);
    pack.args(["--mode=u=rwX,go=rX", &format!("--mtime=@{}", age()?), "--file", &tar, name]).current_dir(above);
    run(&mut pack)?;
    run(Command::new("gzip").args(["--best", "--no-name", "--force", &tar]).current_dir(above))?;
    let sums = output(Command::new("sha256sum").arg(&gz).current_dir(above))?;
    let path = above.join("SHA256SUMS");
    done(fs::write(&path, sums), &path)?;
    Ok(above.join(gz))
}

/// The time that everything in the archive has, unix seconds.
fn age() -> Result<u64, Failure> {
    let text = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => output(Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(root())).map_err(
            |Failure(text)| Failure(format!("{text}: outside of a repository, set SOURCE_DATE_EPOCH to unix seconds")),
        )?,
    };
    text.trim()
        .parse()
        .map_err(|error| Failure(format!("SOURCE_DATE_EPOCH = {text:?}: unix seconds are needed ({error})")))
}

/// What the binary says of itself.
fn version(binary: &Path) -> Result<String, Failure> {
    let said = output(Command::new(binary).arg("--version"))?;
    let version = said.trim().strip_prefix("grasp-sync ").map(str::to_owned);
    version.ok_or_else(|| Failure(format!("{} says `{}` of its version", binary.display(), said.trim())))
}

/// What the compiler builds for where nothing else is asked.
fn host() -> Result<String, Failure> {
    let said = output(Command::new("rustc").arg("-vV").current_dir(root()))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| Failure("rustc -vV names no host".to_owned()))
}

fn copy_all(from: &Path, to: &Path) -> Result<(), Failure> {
    for entry in done(fs::read_dir(from), from)? {
        let path = done(entry, from)?.path();
        let Some(name) = path.file_name() else { continue };
        if path.is_dir() { copy_all(&path, &to.join(name))? } else { copy(&path, &to.join(name))? }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    if let Some(above) = to.parent() {
        done(fs::create_dir_all(above), above)?;
    }
    done(fs::copy(from, to), from).map(drop)
}

fn done<T>(result: std::io::Result<T>, path: &Path) -> Result<T, Failure> {
    result.map_err(|error| Failure(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_along_is_there() {
        for file in ALONG.iter().chain(&["contrib"]) {
            assert!(root().join(file).exists(), "{file}");
        }
    }
}
