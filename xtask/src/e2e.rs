//! `cargo xtask e2e`: opens the status page in a real browser, headless Chromium, and keeps pictures of it.
//!
//! The tests are ordinary ones of the product, behind a feature since they need Chromium; `testkit::browser` drives it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::run::{Cargo, Failure, target_directory};

/// Where Chromium and its driver are looked for in `PATH`, by any of these names.
const BROWSER: &[&str] = &["chromium", "chromium-browser", "google-chrome"];
const DRIVER: &[&str] = &["chromedriver"];

/// What must be there afterwards: tests that were left out, or filtered away, make no pictures.
const PICTURES: &[&str] = &[
    "desktop-dark.png",
    "desktop-light.png",
    "phone-dark.png",
    "phone-light.png",
    "phone-no-javascript.png",
    "daemon.png",
];

pub(crate) fn run(if_installed: bool) -> Result<(), Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(missing) = [BROWSER, DRIVER].into_iter().find(|names| !is_in(&path, names)) {
        let text = format!("{} is not installed (Debian: apt-get install chromium chromium-driver)", missing[0]);
        if if_installed {
            println!("SKIPPED: the status page in a browser ({text})");
            return Ok(());
        }
        return Err(Failure(text));
    }
    let pictures = fresh_folder()?;
    for target in [&["--lib"][..], &["--test", "it"]] {
        Cargo::new(["test", "--locked", "--package", "grasp-sync", "--features", "e2e"])
            .args(target)
            .args(["browser::"])
            .env("E2E_PICTURES", &pictures)
            .run()?;
    }
    match PICTURES.iter().find(|name| !pictures.join(name).is_file()) {
        Some(name) => Err(Failure(format!("no test made {}: were they left out?", pictures.join(name).display()))),
        None => {
            println!("pictures of the page: {}", pictures.display());
            Ok(())
        }
    }
}

/// A folder for pictures, without those of a former run.
fn fresh_folder() -> Result<PathBuf, Failure> {
    let folder = target_directory()?.join("e2e");
    let failed = |error: std::io::Error| Failure(format!("{}: {error}", folder.display()));
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => fs::create_dir_all(&folder).map_err(failed)?,
    }
    Ok(folder)
}

fn is_in(path: &OsStr, names: &[&str]) -> bool {
    std::env::split_paths(path).any(|folder: PathBuf| names.iter().any(|name| Path::new(&folder).join(name).is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_for_in_the_path() {
        let here = std::env::current_exe().expect("this program");
        let name = here.file_name().and_then(OsStr::to_str).expect("a name");
        let folder = here.parent().expect("a folder");
        let path = std::env::join_paths([Path::new("/nonexistent"), folder]).expect("a path");
        assert!(is_in(&path, &["no-such-program", name]));
        assert!(!is_in(&path, &["no-such-program"]));
        assert!(!is_in(OsStr::new("/nonexistent"), &[name]));
    }
}
