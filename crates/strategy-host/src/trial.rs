//! Loading a library in a process of its own first. Its constructors run while the system's loader holds a lock that every
//! process needs to go on and to end: one that hangs there, crashes or ends its process must do so to another one.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::library::LoadError;
use crate::table::Table;

/// The program that is to call [`try_loading`] with this file, and nothing else.
pub type Trial = fn(&Path) -> std::io::Result<Command>;

/// How a process ends that could load the library, or was told in due form why not.
const RETURNED: i32 = 42;
/// How soon and how seldom the end of the process is looked for.
const LOOKS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// Loads a library as [`Plugin::load`](crate::Plugin::load) would, and ends the process. Whoever began the process learns from
/// its exit code that loading returned; if that one ends first, so does this one.
pub fn try_loading(file: &Path) -> ! {
    // The other side holds the input open as long as it waits.
    std::thread::spawn(|| {
        let _ = std::io::stdin().lock().read(&mut [0]);
        std::process::abort()
    });
    // What is wrong with it is found again, and told, where it is loaded to stay.
    let _ = Table::load(file);
    std::process::exit(RETURNED)
}

/// # Errors
/// Loading ends the process, or doesn't return within `limit`; or no process can be had.
pub(crate) fn run(trial: Trial, file: &Path, limit: Duration) -> Result<(), LoadError> {
    let no_process = |error: std::io::Error| LoadError::NotTried(error.to_string());
    let mut command = trial(file).map_err(no_process)?;
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(no_process)?;
    match end_of(&mut child, limit).map_err(no_process)? {
        Some(status) if status.code() == Some(RETURNED) => Ok(()),
        Some(status) => Err(LoadError::EndsTheProcess(status.to_string())),
        None => Err(LoadError::Hangs(limit)),
    }
}

/// Its end, or `None` where it had to be killed.
fn end_of(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let (deadline, mut pause) = (Instant::now() + limit, LOOKS.0);
    loop {
        // Nothing in the standard library waits for a process with a limit.
        match child.try_wait() {
            Ok(None) if Instant::now() < deadline => std::thread::sleep(pause),
            Ok(Some(status)) => return Ok(Some(status)),
            unclear => {
                child.kill()?;
                child.wait()?;
                return unclear;
            }
        }
        pause = (pause * 2).min(LOOKS.1);
    }
}
