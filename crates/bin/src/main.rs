//! The program: see the library beside it.

use std::process::ExitCode;

use grasp_sync::config::Environment;
use grasp_sync::strategies::Registry;

fn main() -> ExitCode {
    grasp_sync::main(std::env::args_os(), &Registry::built_in(), &Environment::of_process()).into()
}
