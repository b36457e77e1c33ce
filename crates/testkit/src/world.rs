//! Generated worlds
