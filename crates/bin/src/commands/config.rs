//! `config show` and `config check`.

use crate::cli::ConfigCommand;
use crate::config::Loaded;
use crate::exit::{CliError, Exit};
use crate::output::{print, say};
use crate::strategies::Registry;

/// Shows or checks.
///
/// # Errors
/// The strategies find something wrong; or stdout can't be written.
pub fn run(command: &ConfigCommand, loaded: &Loaded, registry: &Registry) -> Result<Exit, CliError> {
    let strategies = registry.build(loaded)?;
    match command {
        ConfigCommand::Show { json: false } => print(&loaded.to_toml())?,
        ConfigCommand::Show { json: true } => print(&format!("{:#}\n", loaded.to_json()))?,
        ConfigCommand::Check => {
            strategies.warnings().iter().for_each(|warning| say(format_args!("warning: {warning}")));
            if let Err(errors) = loaded.check_for_run() {
                say(format_args!("note: {errors}"));
            }
            print("ok\n")?;
        }
    }
    Ok(Exit::Done)
}
