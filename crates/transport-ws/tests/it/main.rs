//! The transport against listeners on loopback, one module for each thing that a peer can do.

mod connecting;
mod ending;
mod frames;
mod guard;
mod hosts;
mod keep_alive;
mod nip11;
mod not_reading;
mod support;
mod tls;
