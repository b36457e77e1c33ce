//! The commands, one module each: what they do once command line and configuration are understood.

pub mod completions;
pub mod config;
pub mod demo;
pub mod export;
pub mod import;
pub mod man_pages;
pub mod run;
pub mod status;
pub mod store;
pub mod strategies;
pub mod sync;

use std::time::{SystemTime, UNIX_EPOCH};

use crate::cli::{Asked, Cli, Command, Common, Inward};
use crate::config::{Config, Environment, Loaded};
use crate::exit::{CliError, Exit};
use crate::output::say;
use crate::strategies::{Registry, Strategies};

/// A configuration ready for work: checked by the strategies too.
#[derive(Clone)]
pub struct Context {
    /// The flags that go for every command.
    pub common: Common,
    /// The configuration.
    pub config: Config,
    /// The strategies, made of their sections.
    pub strategies: Strategies,
    /// The environment, for what there is no key for.
    pub environment: Environment,
}

/// Does what the command line asks.
///
/// # Errors
/// Why it could not be done; [`CliError::exit`] is the exit code.
pub fn dispatch(cli: Cli, registry: &Registry, env: &Environment) -> Result<Exit, CliError> {
    let Cli { common, command } = cli;
    let command = match command {
        Asked::ByUser(command) => command,
        Asked::Inward(Inward::LoadPlugin { file }) => strategy_host::try_loading(&file),
        Asked::Inward(Inward::ManPages { dir }) => return man_pages::run(&dir),
    };
    let load = || Loaded::read(&common.flags(), env);
    let registry = |loaded: &Loaded| registry.clone().with_plugins(&loaded.config.plugins);
    let context = |loaded: Loaded| -> Result<Context, CliError> {
        let strategies = registry(&loaded).build(&loaded)?;
        Ok(Context { common: common.clone(), config: loaded.config, strategies, environment: env.clone() })
    };
    match command {
        Command::Run(args) => {
            let loaded = load()?;
            loaded.check_for_run()?;
            run::run(args, context(loaded)?)
        }
        Command::Sync(args) => {
            let loaded = load()?;
            let registry = registry(&loaded);
            if let Some(text) = registry.unknown(&args.strategies) {
                return Err(CliError::Usage(format!("--strategy: {text}")));
            }
            let strategies = registry.build(&loaded)?;
            if let Some(text) = strategies.unusable(&args.strategies) {
                return Err(CliError::Usage(format!("--strategy: {text}")));
            }
            strategies.warnings().iter().for_each(|warning| say(format_args!("warning: {warning}")));
            let environment = env.clone();
            sync::run(args, Context { common: common.clone(), config: loaded.config, strategies, environment })
        }
        Command::Demo(args) => demo::run(args, context(load()?)?),
        Command::Import(args) => import::run(&args, &common, &load()?.config),
        Command::Export(args) => export::run(&args, &load()?.config),
        Command::Status(args) => status::run(&args, || Ok(load()?.config)),
        Command::Config { command } => {
            let loaded = load()?;
            config::run(&command, &loaded, &registry(&loaded))
        }
        Command::Strategies(args) => {
            let loaded = load()?;
            strategies::run(&args, &loaded, &registry(&loaded))
        }
        Command::Store { command } => store::run(command, &load()?.config),
        Command::Completions { shell } => completions::run(shell),
    }
}

/// Unix seconds; 0 where the clock is before 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
