//! Whether a file may be loaded at all, decided before any of its code runs.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::library::LoadError;

/// A file that may be loaded.
pub(crate) struct Checked {
    /// Without links and dots.
    pub(crate) path: PathBuf,
    /// In hex.
    pub(crate) sha256: String,
}

/// # Errors
/// Why it may not.
pub(crate) fn check(path: &Path, pinned: Option<&str>) -> Result<Checked, LoadError> {
    if !path.is_absolute() {
        return Err(LoadError::NotAbsolute);
    }
    let path = fs::canonicalize(path).map_err(|error| LoadError::Unreadable(error.to_string()))?;
    let unreadable = |error: std::io::Error| LoadError::Unreadable(error.to_string());
    let no_file = || LoadError::Unreadable("it is no regular file".to_owned());
    // Before it is opened: whoever opens a pipe waits for somebody to write to it.
    if !fs::metadata(&path).map_err(unreadable)?.is_file() {
        return Err(no_file());
    }
    let mut file = File::open(&path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(no_file());
    }
    if is_open_to_all(&metadata, false) {
        return Err(LoadError::WorldWritable(path));
    }
    for folder in path.ancestors().skip(1) {
        if is_open_to_all(&fs::metadata(folder).map_err(unreadable)?, true) {
            return Err(LoadError::WorldWritable(folder.to_owned()));
        }
    }
    let sha256 = hash(&mut file).map_err(unreadable)?;
    match pinned.filter(|pinned| !pinned.eq_ignore_ascii_case(&sha256)) {
        Some(pinned) => Err(LoadError::WrongHash { expected: pinned.to_ascii_lowercase(), found: sha256 }),
        None => Ok(Checked { path, sha256 }),
    }
}

fn hash(file: &mut File) -> std::io::Result<String> {
    let (mut hasher, mut buffer) = (Sha256::new(), [0; 64 << 10]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    let mut text = String::new();
    for byte in hasher.finalize() {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// Whether anybody may change it; in a folder with the sticky bit nobody may change what is another's.
#[cfg(unix)]
fn is_open_to_all(metadata: &fs::Metadata, folder: bool) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode();
    mode & 0o002 != 0 && !(folder && mode & 0o1000 != 0)
}

#[cfg(not(unix))]
fn is_open_to_all(_metadata: &fs::Metadata, _folder: bool) -> bool {
    false
}

#[cfg(all(test, unix))]
mod tests {
    use std::process::Command;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_pipe_is_not_waited_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let pipe = dir.path().join("pipe.so");
        assert!(Command::new("mkfifo").arg(&pipe).status().expect("there is a mkfifo").success());
        let (told, hears) = channel();
        std::thread::spawn(move || told.send(check(&pipe, None).err()));
        let error = hears.recv_timeout(Duration::from_secs(30)).expect("it must not be opened");
        assert_eq!(error, Some(LoadError::Unreadable("it is no regular file".to_owned())));
    }
}
