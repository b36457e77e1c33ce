//! The program from its command line, and `import` and `export` over a store in memory.

mod command_line;
mod config_errors;
mod config_layers;
mod crash;
mod daemon;
mod demo;
mod example_file;
mod full_store;
mod import_export;
mod memory;
mod net;
mod output_closed;
mod program;
mod run_beside_others;
mod run_fresh_start;
mod run_hostile;
mod run_judging;
mod run_live;
mod run_wanted;
mod signed;
mod status_endpoint;
mod store_on_disk;
mod strategies_listed;
mod sync_command;
mod sync_directions;
mod sync_hostile;
