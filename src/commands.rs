//! One file for each command of the program.

pub mod check;
pub mod daemon;
pub mod healthcheck;
