//! The command line (CONTRACT.md): what can be asked, and nothing of how it is done.

pub mod filter;
pub mod time;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use nostr::filter::Filter;
use sync_core::model::{RelayUrl, SyncMethod};
use sync_core::strategy::Window;

use crate::config::Flags;
use crate::exit::CliError;
use time::Moment;

/// Keeps one Nostr relay complete: finds the relays that repositories list, fetches what is missing, follows what is new.
#[derive(Debug, Parser)]
#[command(name = "grasp-sync", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli<C: Subcommand = Asked> {
    /// What goes for every command.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: C,
}

/// Everything that can be asked.
#[derive(Debug, Subcommand)]
pub enum Asked {
    /// By a user.
    #[command(flatten)]
    ByUser(Command),
    /// By the program, or by who packages it.
    #[command(flatten)]
    Inward(Inward),
}

/// What is for users, as completions and manual show it.
pub fn for_users() -> clap::Command {
    <Cli<Command> as clap::CommandFactory>::command()
}

/// What goes for every command.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Configuration file [default: ./grasp-sync.toml, $XDG_CONFIG_HOME/grasp-sync/config.toml or /etc/grasp-sync.toml,
    /// the first that exists]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Directory of the store; overrides store.path
    #[arg(long, value_name = "DIR", global = true)]
    pub store: Option<PathBuf>,
    /// What to log to stderr
    #[arg(long, value_name = "LEVEL", global = true, default_value = "info")]
    pub log: LogLevel,
    /// No progress, and only warnings and errors in the log
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

impl Common {
    /// The flags that bear on the configuration.
    pub fn flags(&self) -> Flags {
        Flags { config: self.config.clone(), store: self.store.clone() }
    }

    /// What to log: `--log`, but no more than warnings where it is to be quiet.
    pub fn log_level(&self) -> LogLevel {
        if self.quiet { self.log.min(LogLevel::Warn) } else { self.log }
    }
}

/// How much is logged; each holds those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What failed.
    Error,
    /// What may need somebody.
    Warn,
    /// Changes of state.
    Info,
    /// Each batch.
    Debug,
    /// Each message.
    Trace,
}

impl LogLevel {
    /// The name, as log filters know it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// The command by which the program tries to load a plugin in a process of its own.
pub const LOAD_PLUGIN: &str = "load-plugin";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon: discovery, historic and live sync, admin endpoint
    Run(RunArgs),
    /// Sync once between the store and each relay, in parallel
    Sync(SyncArgs),
    /// Read events as JSON lines, check and store them
    Import(ImportArgs),
    /// Write stored events as JSON lines, newest first
    Export(ExportArgs),
    /// Show the running daemon's relays
    Status(StatusArgs),
    /// Show or check the configuration
    Config {
        /// Which.
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// List every strategy that is available
    Strategies(StrategiesArgs),
    /// Look after the store
    Store {
        /// How.
        #[command(subcommand)]
        command: StoreCommand,
    },
    /// Show a little world in one process, syncing; needs no network
    Demo(DemoArgs),
    /// Write a completion script for a shell to stdout
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

/// What no help shows.
#[derive(Debug, Subcommand)]
pub enum Inward {
    /// Load a plugin and end: for the program itself
    #[command(name = LOAD_PLUGIN, hide = true)]
    LoadPlugin {
        /// The shared library
        file: PathBuf,
    },
    /// Write the manual: for who packages the program
    #[command(name = "man-pages", hide = true)]
    ManPages {
        /// The directory, made when it isn't there
        dir: PathBuf,
    },
}

/// `run`
#[derive(Debug, Clone, Args)]
pub struct RunArgs {}

/// `demo`
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {}

/// `sync`
#[derive(Debug, Clone, Args)]
pub struct SyncArgs {
    /// Relays to sync with; wss where no scheme is given
    #[arg(required = true, value_name = "RELAY", value_parser = RelayUrl::parse)]
    pub relays: Vec<RelayUrl>,
    /// What to sync, as a NIP-01 filter; may be repeated [default: everything]
    #[arg(long = "filter", value_name = "JSON", value_parser = filter::parse)]
    pub filters: Vec<Filter>,
    /// Strategies in order of preference; overrides the configuration
    #[arg(long = "strategy", value_name = "NAME", value_delimiter = ',', value_parser = strategy)]
    pub strategies: Vec<SyncMethod>,
    /// Which way events move
    #[arg(long, default_value = "down")]
    pub direction: Direction,
    /// Only events from then on: unix seconds, RFC 3339, or an age such as 2w
    #[arg(long, value_name = "T", value_parser = Moment::parse)]
    pub since: Option<Moment>,
    /// Only events up to then: unix seconds, RFC 3339, or an age such as 2w
    #[arg(long, value_name = "T", value_parser = Moment::parse)]
    pub until: Option<Moment>,
    /// Only find out what differs; move nothing
    #[arg(long)]
    pub dry_run: bool,
    /// One line of JSON per relay as it ends, then one with the summary
    #[arg(long)]
    pub json: bool,
}

impl SyncArgs {
    /// The window of `--since` and `--until`.
    ///
    /// # Errors
    /// It is empty.
    pub fn window(&self, now: u64) -> Result<Window, CliError> {
        let since = self.since.map_or(Window::ALL.since, |moment| moment.resolve(now));
        let until = self.until.map_or(Window::ALL.until, |moment| moment.resolve(now));
        if since > until {
            return Err(CliError::Usage(format!("--since ({since}) lies after --until ({until})")));
        }
        Ok(Window { since, until })
    }

    /// The filters narrowed to the window; one that matches everything where none was given.
    ///
    /// # Errors
    /// The window is empty, or misses a filter's own; or a filter has a `limit`, with which nothing can be complete.
    pub fn filters(&self, now: u64) -> Result<Vec<Filter>, CliError> {
        let window = self.window(now)?;
        let everything = [Filter::new()];
        let filters = if self.filters.is_empty() { &everything } else { self.filters.as_slice() };
        filters.iter().map(|filter| narrow(filter, window)).collect()
    }
}

fn narrow(filter: &Filter, window: Window) -> Result<Filter, CliError> {
    if filter.limit.is_some() {
        return Err(CliError::Usage(
            "--filter: `limit` has no meaning in a sync, which is of everything that matches".into(),
        ));
    }
    let filter = window.narrow(filter);
    match (filter.since, filter.until) {
        (Some(since), Some(until)) if since > until => {
            Err(CliError::Usage("--filter: its `since` and `until` lie wholly outside of --since and --until".into()))
        }
        _ => Ok(filter),
    }
}

/// Which way events move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Direction {
    /// From the relay to the store
    Down,
    /// From the store to the relay
    Up,
    /// Both
    Both,
}

impl From<Direction> for sync_core::strategy::Direction {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Down => Self::Down,
            Direction::Up => Self::Up,
            Direction::Both => Self::Both,
        }
    }
}

/// `import`
#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// Events, one JSON object a line [default: stdin; also `-`]
    pub file: Option<PathBuf>,
}

/// `export`
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// What to export, as a NIP-01 filter; may be repeated [default: everything]
    #[arg(long = "filter", value_name = "JSON", value_parser = filter::parse)]
    pub filters: Vec<Filter>,
}

/// `status`
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// The whole document as JSON
    #[arg(long)]
    pub json: bool,
    /// Show it anew with each change, until interrupted; with --json one document a line
    #[arg(long)]
    pub watch: bool,
    /// Where the daemon's admin endpoint is [default: by admin.listen]
    #[arg(long, value_name = "URL")]
    pub admin: Option<String>,
}

/// `config …`
#[derive(Debug, Clone, Subcommand)]
pub enum ConfigCommand {
    /// Print the effective configuration, each value with where it came from
    Show {
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Say what is wrong with the configuration, or `ok`
    Check,
}

/// `strategies`
#[derive(Debug, Clone, Args)]
pub struct StrategiesArgs {
    /// As one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `store …`
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum StoreCommand {
    /// Count events per kind; show sizes
    Stats,
    /// Check every index and tree against the events
    Verify,
    /// Give unused space back to the disk
    Compact,
}

fn strategy(name: &str) -> Result<SyncMethod, String> {
    if name.trim().is_empty() { Err("an empty name".to_owned()) } else { Ok(SyncMethod::new(name.trim())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_holds_together() {
        use clap::CommandFactory;
        <Cli>::command().debug_assert();
        for_users().debug_assert();
    }

    fn sync(args: &[&str]) -> SyncArgs {
        let command = ["grasp-sync", "sync", "relay.example.com"];
        match <Cli>::try_parse_from(command.iter().chain(args)).expect("valid").command {
            Asked::ByUser(Command::Sync(args)) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn window_and_filters_are_joined() {
        let args =
            sync(&["--filter", r#"{"kinds":[1],"since":50}"#, "--filter", "{}", "--since", "10", "--until", "1m"]);
        let filters = args.filters(1060).expect("possible");
        let ends: Vec<_> =
            filters.iter().map(|f| (f.since.map(|t| t.as_secs()), f.until.map(|t| t.as_secs()))).collect();
        assert_eq!(ends, [(Some(50), Some(1000)), (Some(10), Some(1000))]);
        assert_eq!(sync(&[]).filters(0).expect("possible"), [Filter::new()]);
    }

    #[test]
    fn windows_that_hold_nothing_are_refused() {
        assert!(sync(&["--since", "20", "--until", "10"]).filters(0).is_err());
        assert!(sync(&["--since", "20", "--filter", r#"{"until":10}"#]).filters(0).is_err());
        assert!(sync(&["--filter", r#"{"limit":10}"#]).filters(0).is_err());
    }

    #[test]
    fn common_flags_go_anywhere() {
        for args in [["-q", "--store", "x", "demo"], ["demo", "--store", "x", "-q"]] {
            let cli = <Cli>::try_parse_from(["grasp-sync"].iter().chain(&args)).expect("valid");
            assert!(cli.common.quiet);
            assert_eq!(cli.common.log_level(), LogLevel::Warn);
            assert_eq!(cli.common.flags().store, Some("x".into()));
        }
    }

    #[test]
    fn strategies_are_split_at_commas() {
        let names = sync(&["--strategy", "req,negentropy"]).strategies;
        assert_eq!(names, [SyncMethod::new("req"), SyncMethod::new("negentropy")]);
    }
}
