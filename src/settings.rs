//! Values of both configuration files: how they are read, checked and reported.
//!
//! This module does not depend on vendors or metrics.

mod checker;
mod near;
pub(crate) mod pem;
mod problems;
mod read;
#[cfg(test)]
pub(crate) mod schema;
mod secret;
mod tree;
mod values;

pub use checker::Validator;
pub use problems::{ConfigError, ConfigErrors, Position};
pub(crate) use read::{Each, entries, filled, given, given_list, read, text_or};
pub use secret::{CurrentSecret, Secret, SecretError};
pub(crate) use tree::{Node, decode};
pub use values::{BaseUrl, Count, EnvName, FileName, Period, Rate, Text, base_url};
