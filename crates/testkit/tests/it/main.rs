//! The test tools, tested.

mod client;
mod intake;
mod relay;
mod relay_faults;
mod relay_process;
mod relay_socket;
mod sim;
mod world;
