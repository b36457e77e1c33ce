//! The relay over loopback, one module for each thing that a client can do to it.

mod bad_clients;
mod counting;
mod http;
mod live;
mod load;
mod publishing;
mod reconciling;
mod reference;
mod shutdown;
mod slow_readers;
mod subscribing;
mod support;
