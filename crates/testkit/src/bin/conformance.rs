//! Runs the conformance suite over a strategy: `cargo run -p testkit --bin conformance -- req`.

use std::process::ExitCode;
use std::sync::Arc;

use sync_core::strategy::{StrategyConfig, SyncStrategy};
use testkit::conformance::{self, Options};

const USAGE: &str = "usage: conformance [--seeds N] [--first SEED] [--only CHECK] NAME
  --seeds N      run this many seeds (default 100)
  --first SEED   the first of them (default 1)
  --only CHECK   run this check alone
  NAME           negentropy or req";

/// What is asked for.
struct Call {
    options: Options,
    name: String,
}

impl Call {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut options, mut name) = (Options::default(), None);
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
                "--only" if conformance::checks().any(|check| check == value) => options.only = Some(value),
                "--only" => {
                    let checks: Vec<_> = conformance::checks().collect();
                    return Err(format!("--only {value}: the checks are {}", checks.join(", ")));
                }
                _ => return Err(format!("unknown flag {word}")),
            }
        }
        Ok(Self { options, name: name.ok_or("which strategy?")? })
    }
}

fn main() -> ExitCode {
    let call = Call::parse(std::env::args().skip(1));
    let (options, strategy) = match call.and_then(|Call { options, name }| Ok((options, strategy(&name)?))) {
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

/// The strategy of that name, with the defaults of its configuration.
fn strategy(name: &str) -> Result<Arc<dyn SyncStrategy>, String> {
    let nothing = StrategyConfig::Object(serde_json::Map::new());
    let strategy: Arc<dyn SyncStrategy> = match name {
        strategy_negentropy::NAME => {
            Arc::new(strategy_negentropy::NegentropyStrategy::from_config(&nothing).map_err(|error| error.to_string())?)
        }
        strategy_req::NAME => {
            Arc::new(strategy_req::ReqStrategy::from_config(&nothing).map_err(|error| error.to_string())?)
        }
        _ => return Err(format!("no strategy {name:?}")),
    };
    Ok(strategy)
}
