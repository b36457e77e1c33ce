//! The program: see the library beside it.

use grasp_sync::config::Environment;
use grasp_sync::strategies::Registry;

fn main() {
    let exit = grasp_sync::main(std::env::args_os(), &Registry::built_in(), &Environment::of_process());
    strategy_host::leave(exit as u8)
}
