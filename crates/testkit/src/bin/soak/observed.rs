//! The daemon as a process, seen from outside.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nostr::event::{Event, EventId};
use serde_json::Value;
use sync_core::model::RelayUrl;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::Error;

/// How often the status is looked at while something is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const START: Duration = Duration::from_secs(30);

/// A running daemon. Killed when dropped.
pub(crate) struct Daemon {
    binary: PathBuf,
    folder: PathBuf,
    child: Child,
    process: u32,
    admin: String,
    started: Instant,
    /// When the last sample was taken, and the processor time by then.
    last: (Instant, Duration),
}

/// What the process takes at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    at: f64,
    /// Anonymous memory, bytes: the pages of the memory map don't count.
    pub(crate) memory: u64,
    /// Open file descriptors.
    pub(crate) descriptors: usize,
    threads: u64,
    /// Processor time since the sample before, percent of one core.
    pub(crate) cpu: f64,
}

impl Sample {
    pub(crate) const HEADER: &str = "      s   memory KiB   files   threads   cpu %";

    pub(crate) fn line(&self, what: &str) -> String {
        let Self { at, memory, descriptors, threads, cpu } = self;
        format!("{at:>7.1} {:>12} {descriptors:>7} {threads:>9} {cpu:>7.1}   {what}", memory >> 10)
    }
}

impl Daemon {
    /// Starts it in a folder of its own, with back-offs of a second instead of minutes.
    pub(crate) async fn start(binary: &Path, domain: &str, bootstrap: &RelayUrl) -> Result<Self, Error> {
        let folder = std::env::temp_dir().join(format!("grasp-sync-soak-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let config = format!(
            "service.domain = [\"{domain}\"]\nsync.bootstrap_relays = [\"{bootstrap}\"]\n\
             sync.batch_window = \"500ms\"\nhealth.base_backoff = \"1s\"\nhealth.max_backoff = \"10s\"\nhealth.fault_memory = \"20s\"\n\
             limits.allow_private_addresses = true\nlimits.max_connections_per_host = 10000\n\
             admin.listen = \"127.0.0.1:0\"\n"
        );
        std::fs::write(folder.join("grasp-sync.toml"), config)?;
        let binary = binary.canonicalize().map_err(|error| format!("{}: {error}", binary.display()))?;
        let mut command = Command::new(&binary);
        command.arg("run").current_dir(&folder).env_clear().env("HOME", &folder).kill_on_drop(true);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take().ok_or("no stderr")?;
        let process = child.id().ok_or("it ended at once")?;
        let mut lines = BufReader::new(stderr).lines();
        let address = async {
            while let Some(line) = lines.next_line().await? {
                if let Some((_, rest)) = line.split_once("address=") {
                    return Ok(rest.split_whitespace().next().unwrap_or_default().to_owned());
                }
            }
            Err::<_, Error>("it ended without an admin endpoint".into())
        };
        let admin = timeout(START, address).await.map_err(|_| "it has no admin endpoint")??;
        // A pipe that nobody reads would hold it up; errors it tells are told here.
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if line.contains(" ERROR ") {
                    eprintln!("{line}");
                }
            }
        });
        let started = Instant::now();
        Ok(Self { binary, folder, child, process, admin, started, last: (started, Duration::ZERO) })
    }

    /// Seconds since it started.
    pub(crate) fn age(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Waits until so many relays are complete, and nothing is pending.
    pub(crate) async fn settled(&self, relays: usize, patience: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + patience;
        loop {
            let status = self.status().await?;
            let all = status["relays"].as_array().map_or(&[][..], Vec::as_slice);
            let complete = all.iter().filter(|relay| relay["status"] == "Connected").count();
            if complete == relays && status["totals"]["pending_batches"] == 0 {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let others = all.iter().filter(|relay| relay["status"] != "Connected");
                let others: Vec<String> = others
                    .map(|relay| format!("{} is {}: {}", relay["url"], relay["status"], relay["reason"]))
                    .collect();
                return Err(format!("{complete} of {relays} relays are complete; {}", others.join("; ")).into());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn status(&self) -> Result<Value, Error> {
        let mut stream = TcpStream::connect(&self.admin).await?;
        stream.write_all(b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (_, body) = answer.split_once("\r\n\r\n").ok_or("half an answer from the admin endpoint")?;
        Ok(serde_json::from_str(body)?)
    }

    /// What it takes now.
    pub(crate) fn sample(&mut self) -> Result<Sample, Error> {
        let folder = PathBuf::from(format!("/proc/{}", self.process));
        let status = std::fs::read_to_string(folder.join("status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next()).and_then(|word| word.parse().ok());
            number.ok_or_else(|| format!("no {name} in {}", folder.display()))
        };
        let (memory, threads): (u64, u64) = (field("RssAnon:")?, field("Threads:")?);
        let descriptors = std::fs::read_dir(folder.join("fd"))?.count();
        let (now, used) = (Instant::now(), processor_time(&folder)?);
        let (before, used_before) = std::mem::replace(&mut self.last, (now, used));
        let cpu = 100.0 * (used - used_before).as_secs_f64() / (now - before).as_secs_f64();
        Ok(Sample { at: self.age(), memory: memory << 10, descriptors, threads, cpu })
    }

    /// The ids of all events in its store, by `export` beside it.
    pub(crate) async fn stored(&self) -> Result<BTreeSet<EventId>, Error> {
        let mut command = Command::new(&self.binary);
        let output = command.arg("export").current_dir(&self.folder).env_clear().output().await?;
        if !output.status.success() {
            return Err(format!("export: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let lines = std::str::from_utf8(&output.stdout)?.lines();
        lines.map(|line| Ok(serde_json::from_str::<Event>(line)?.id)).collect()
    }

    /// Stops it, and removes its folder.
    pub(crate) async fn stop(mut self) -> Result<(), Error> {
        std::process::Command::new("kill").args(["-TERM", &self.process.to_string()]).status()?;
        let status = timeout(Duration::from_secs(5), self.child.wait()).await.map_err(|_| "it doesn't stop")??;
        if !status.success() {
            return Err(format!("it ended with {status}").into());
        }
        Ok(std::fs::remove_dir_all(&self.folder)?)
    }
}

/// Processor time of a process by now, threads that ended included.
fn processor_time(folder: &Path) -> Result<Duration, Error> {
    /// `CLK_TCK` of every Linux that Rust's standard library runs on.
    const TICKS_PER_SECOND: u64 = 100;
    let stat = std::fs::read_to_string(folder.join("stat"))?;
    // The name, in brackets, may hold anything; after it the third field of the line is the first.
    let (_, fields) = stat.rsplit_once(')').ok_or("no name in stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}
