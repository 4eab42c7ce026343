//! Values of both configuration files: how they are read, checked and reported.
//!
//! This module does not depend on vendors or metrics.

mod errors;
mod near;
pub(crate) mod pem;
mod read;
#[cfg(test)]
pub(crate) mod schema;
mod secret;
mod tree;
mod validator;
mod values;

pub use errors::{ConfigError, ConfigErrors, Position};
pub(crate) use read::{Each, entries, filled, given, given_list, read, text_or};
pub use secret::{CurrentSecret, Secret, SecretError};
pub(crate) use tree::{Node, decode};
pub use validator::Validator;
pub use values::{BaseUrl, Count, EnvName, FileName, Period, Rate, Text, base_url};
