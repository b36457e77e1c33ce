//! The store in memory, and through it the decisions of the intake.

mod intake;
