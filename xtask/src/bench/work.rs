//! What the scenarios share: generated events, a relay and a collector of traces in other processes, and a run that is
//! watched.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::run::{Cargo, Failure, target_directory};

/// How often a running program's memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The programs of testkit, built for release.
pub(super) struct Tools {
    folder: PathBuf,
}

impl Tools {
    pub(super) fn build() -> Result<Self, Failure> {
        Cargo::new(["build", "--release", "--locked", "--package", "testkit", "--bins"]).run()?;
        Ok(Self { folder: target_directory()?.join("release") })
    }

    /// A file of `count` signed events, kept for the next time.
    pub(super) fn events(&self, count: usize) -> Result<PathBuf, Failure> {
        let folder = target_directory()?.join("bench");
        fs::create_dir_all(&folder).map_err(|error| io(&folder, &error))?;
        let file = folder.join(format!("events-{count}.jsonl"));
        if !file.exists() {
            // Written under another name first: an interrupted run must not leave half a file under the right one.
            let part = file.with_extension("part");
            let out = File::create(&part).map_err(|error| io(&part, &error))?;
            let mut command = Command::new(self.folder.join("gen-events"));
            crate::run::run(command.arg(count.to_string()).stdout(out))?;
            fs::rename(&part, &file).map_err(|error| io(&file, &error))?;
        }
        Ok(file)
    }

    /// Starts a relay that serves the events of `file`.
    pub(super) fn relay(&self, file: &Path) -> Result<Relay, Failure> {
        let mut command = Command::new(self.folder.join("scripted-relay"));
        let (process, stdin, _, url) = listening(command.arg("--events").arg(file))?;
        Ok(Relay { process, _stdin: stdin, url })
    }

    /// Starts a collector of traces.
    pub(super) fn collector(&self) -> Result<Collector, Failure> {
        let (process, stdin, stdout, url) = listening(&mut Command::new(self.folder.join("otlp-receiver")))?;
        Ok(Collector { process, stdin, stdout, url })
    }
}

/// Starts a program that says `listening URL` and goes on until its stdin ends.
fn listening(command: &mut Command) -> Result<(Child, Option<ChildStdin>, BufReader<ChildStdout>, String), Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |text: String| Failure(format!("{name}: {text}"));
    let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut process = started.map_err(|error| failed(error.to_string()))?;
    let stdin = process.stdin.take();
    let stdout = process.stdout.take().ok_or_else(|| failed("has no stdout".to_owned()))?;
    let (mut stdout, mut line) = (BufReader::new(stdout), String::new());
    stdout.read_line(&mut line).map_err(|error| failed(error.to_string()))?;
    match line.trim().strip_prefix("listening ") {
        Some(url) => Ok((process, stdin, stdout, url.to_owned())),
        None => {
            // Ended already, or of no use.
            let _ = process.kill();
            let _ = process.wait();
            Err(failed(format!("said `{}`", line.trim())))
        }
    }
}

/// A collector of traces in another process; stops when dropped.
pub(super) struct Collector {
    process: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    pub(super) url: String,
}

/// What came to a collector.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Came {
    pub(super) spans: usize,
    pub(super) batches: usize,
}

impl Collector {
    /// Ends it, and tells what came.
    pub(super) fn finish(mut self) -> Result<Came, Failure> {
        self.stdin = None;
        let mut line = String::new();
        self.stdout.read_line(&mut line).map_err(|error| Failure(format!("otlp-receiver: {error}")))?;
        serde_json::from_str(&line).map_err(|error| Failure(format!("otlp-receiver said `{line}`: {error}")))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // Ended already, or about to: either way it has to be waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A relay in another process; stops when dropped.
pub(super) struct Relay {
    process: Child,
    _stdin: Option<ChildStdin>,
    pub(super) url: String,
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Ended already, or about to: either way it has to be waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How a watched run went.
pub(super) struct Watched {
    pub(super) seconds: f64,
    /// The most anonymous memory that was seen, bytes; `None` where the system doesn't tell.
    pub(super) anonymous: Option<u64>,
    pub(super) stdout: String,
}

/// Runs `command` to its end, with an eye on its memory. Its stdout must be short.
pub(super) fn watch(command: &mut Command) -> Result<Watched, Failure> {
    let started = Instant::now();
    let mut process = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Failure(format!("{}: {error}", command.get_program().to_string_lossy())))?;
    let mut anonymous = None;
    let status = loop {
        anonymous = anonymous.max(anonymous_memory(process.id()));
        match process.try_wait().map_err(|error| Failure(error.to_string()))? {
            Some(status) => break status,
            None => sleep(LOOK_EVERY),
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    let mut stdout = String::new();
    if let Some(mut pipe) = process.stdout.take() {
        std::io::Read::read_to_string(&mut pipe, &mut stdout).map_err(|error| Failure(error.to_string()))?;
    }
    if !status.success() {
        return Err(Failure(format!("{}: {status}", command.get_program().to_string_lossy())));
    }
    Ok(Watched { seconds, anonymous, stdout })
}

/// `RssAnon` of a process (Linux): the pages of the memory map don't count.
fn anonymous_memory(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The middle one of an odd number of values.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn io(path: &Path, error: &std::io::Error) -> Failure {
    Failure(format!("{}: {error}", path.display()))
}
