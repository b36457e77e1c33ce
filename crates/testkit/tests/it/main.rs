//! The test tools, tested.

mod client;
mod conformance;
mod history;
mod intake;
mod old_negentropy;
mod relay;
mod relay_faults;
mod relay_process;
mod relay_socket;
mod sim;
mod world;
