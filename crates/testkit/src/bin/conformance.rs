//! Runs the conformance suite over a strategy, built in or a shared library: `cargo xtask strategy check FILE`.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use strategy_host::{Limits, Plugin, PluginInfo};
use sync_core::strategy::{ConfigError, StrategyConfig, SyncStrategy};
use testkit::conformance::{self, Options};

const USAGE: &str = "usage: conformance [--seeds N] [--first SEED] [--only CHECK] [--config JSON] STRATEGY
  --seeds N      run this many seeds (default 100)
  --first SEED   the first of them (default 1)
  --only CHECK   run this check alone
  --config JSON  the strategy's section of the configuration (default {})
  STRATEGY       negentropy, req, or the path of a shared library";

/// By which this program tries to load a library in a process of its own.
const LOAD: &str = "--load";
/// How long a call of a library may take: whole runs hold up the cores.
const CALL: Duration = Duration::from_secs(30);

/// What is asked for.
struct Call {
    options: Options,
    config: StrategyConfig,
    name: String,
}

impl Call {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut options, mut name) = (Options::default(), None);
        let mut config = StrategyConfig::Object(serde_json::Map::new());
        while let Some(word) = words.next() {
            if !word.starts_with("--") {
                if name.replace(word).is_some() {
                    return Err("one strategy at a time".to_owned());
                }
                continue;
            }
            let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
            let number = || value.parse::<u64>().map_err(|error| format!("{word} {value}: {error}"));
            match word.as_str() {
                "--seeds" => options.seeds = number()?,
                "--first" => options.first = number()?,
                "--config" => {
                    config = serde_json::from_str(&value).map_err(|error| format!("--config {value}: {error}"))?;
                }
                "--only" if conformance::checks().any(|check| check == value) => options.only = Some(value),
                "--only" => {
                    let checks: Vec<_> = conformance::checks().collect();
                    return Err(format!("--only {value}: the checks are {}", checks.join(", ")));
                }
                _ => return Err(format!("unknown flag {word}")),
            }
        }
        Ok(Self { options, config, name: name.ok_or("which strategy?")? })
    }
}

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    if let (Some(LOAD), Some(file)) = (words.next().as_deref().and_then(|word| word.to_str()), words.next()) {
        strategy_host::try_loading(Path::new(&file));
    }
    let call = Call::parse(std::env::args().skip(1));
    let (options, strategy) =
        match call.and_then(|Call { options, config, name }| Ok((options, strategy(&name, &config)?))) {
            Ok(call) => call,
            Err(error) => {
                eprintln!("{error}\n{USAGE}");
                return ExitCode::from(2);
            }
        };
    let report = conformance::check(&strategy, &options);
    print!("{report}");
    if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The strategy of that name, or the one in that file.
fn strategy(name: &str, config: &StrategyConfig) -> Result<Arc<dyn SyncStrategy>, String> {
    let wrong = |error: ConfigError| error.to_string();
    Ok(match name {
        strategy_negentropy::NAME => {
            Arc::new(strategy_negentropy::NegentropyStrategy::from_config(config).map_err(wrong)?)
        }
        strategy_req::NAME => Arc::new(strategy_req::ReqStrategy::from_config(config).map_err(wrong)?),
        path => {
            let told = |error: &dyn std::fmt::Display| format!("{path}: {error}");
            let file = std::path::absolute(path).map_err(|error| told(&error))?;
            let limits = Limits {
                call: CALL,
                trial: Some(|file| {
                    let mut command = Command::new(std::env::current_exe()?);
                    command.arg(LOAD).arg(file);
                    Ok(command)
                }),
                ..Limits::default()
            };
            let plugin = Plugin::load(&file, None, limits).map_err(|error| told(&error))?;
            let PluginInfo { name, version, abi, sha256, .. } = plugin.info();
            println!("{name} {version}, interface {abi}, sha256 {sha256}\n");
            plugin.strategy(config).map_err(|error| told(&error))?
        }
    })
}
