//! Flags from environment variables: an empty one is not set, and a bad one is named.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error, FromArgMatches as _};

use super::Cli;
use crate::polling::shard::{Shard, host_name};

impl Cli {
    /// Parses a command line and the environment variables of this process.
    ///
    /// The error is the text that clap prints, also for `--help` and `--version`.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Error> {
        let arguments: Vec<_> = arguments.into_iter().collect();
        let command = without_variables(Cli::complete_command(), &|_, value| value.is_empty());
        parse(command.clone(), &arguments, "")
            .map_err(|error| name_variable(error, &command, &arguments))
    }

    /// Which part of the accounts this process polls.
    pub fn shard(&self) -> anyhow::Result<Shard> {
        let flags = &self.daemon;
        Shard::new(flags.shard_index, flags.shard_total, &host_name())
    }
}

/// `note` is added to a problem of ours, to which clap cannot add anything later.
fn parse(mut command: Command, arguments: &[OsString], note: &str) -> Result<Cli, Error> {
    let matches = command.try_get_matches_from_mut(arguments)?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    // Only these two have shards. Flags that do not fit each other are bad usage like any other.
    if matches!(cli.command, None | Some(super::Command::Check(_))) {
        cli.shard().map_err(|problem| {
            command.error(ErrorKind::ValueValidation, format!("{problem}{note}"))
        })?;
    }
    Ok(cli)
}

/// The command, of whose variables these are as if they were not set.
fn without_variables(command: Command, unset: &dyn Fn(&str, &str) -> bool) -> Command {
    let command = command.mut_args(|flag| {
        let value = |name: &std::ffi::OsStr| {
            let value = std::env::var_os(name)?;
            unset(name.to_str()?, &value.to_string_lossy()).then_some(())
        };
        match flag.get_env().and_then(value) {
            Some(()) => flag.env(None::<&str>),
            None => flag,
        }
    });
    command.mut_subcommands(|command| without_variables(command, unset))
}

/// Adds to an error which variable it comes from, if it comes from one: without that variable there
/// is another error, or none.
fn name_variable(mut error: Error, command: &Command, arguments: &[OsString]) -> Error {
    if !error.use_stderr() {
        return error;
    }
    let said = error.to_string();
    let is_cause = |name: &String| {
        let command = without_variables(command.clone(), &|other, _| other == name);
        parse(command, arguments, "").map_or_else(|error| error.to_string() != said, |_| true)
    };
    let mut set = variables(command).into_iter();
    let Some(name) = set.find(|name| std::env::var_os(name).is_some() && is_cause(name)) else {
        return error;
    };
    let tip = format!("the value is that of the environment variable {name}");
    if error.context().next().is_none() {
        let noted = parse(command.clone(), arguments, &format!("\n\n  tip: {tip}"));
        return noted.err().unwrap_or(error);
    }
    let tip = ContextValue::StyledStrs(vec![tip.into()]);
    error.insert(ContextKind::Suggested, tip);
    error
}

/// The names of all variables that are flags.
fn variables(command: &Command) -> Vec<String> {
    let mut names: Vec<_> = command
        .get_arguments()
        .chain(command.get_subcommands().flat_map(Command::get_arguments))
        .filter_map(|flag| Some(flag.get_env()?.to_str()?.to_owned()))
        .collect();
    // Flags that commands share stand there once for each.
    names.sort();
    names.dedup();
    names
}
