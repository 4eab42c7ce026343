//! What each command's `--help` shows: its own flags, and of the daemon's only those that it uses.

use clap::{Arg, Command, CommandFactory as _};

use super::Cli;

/// The flags of the daemon that each command uses. The daemon's other flags are accepted, too,
/// as in a container whose variables or arguments are the same for all commands, and not shown.
const USED: [(&str, &[&str]); 4] = [
    ("check", &["config.file", "shard.", "log."]),
    ("demo", &["web.", "log."]),
    ("simulate", &["log."]),
    ("healthcheck", &["web.listen-address", "web.config.file"]),
];

impl Cli {
    /// clap's description of all commands, as the program and its documentation use it.
    #[must_use]
    pub(crate) fn complete_command() -> Command {
        let mut command = Cli::command();
        let global: Vec<Arg> = command
            .get_arguments()
            .filter(|flag| flag.is_global_set())
            .cloned()
            .collect();
        for (name, used) in USED {
            if command.find_subcommand(name).is_none() {
                // It belongs to a feature that is off.
                continue;
            }
            let unused = global.iter().filter(|flag| {
                let long = flag.get_long().unwrap_or_default();
                !used.iter().any(|used| long.starts_with(used))
            });
            // What a command describes itself is not taken over from the daemon.
            let hidden: Vec<_> = unused.map(|flag| flag.clone().hide(true)).collect();
            command = command.mut_subcommand(name, |command| command.args(hidden));
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help(name: &str) -> String {
        let mut command = Cli::complete_command();
        command.build();
        let command = command.find_subcommand_mut(name).unwrap();
        command.render_long_help().to_string()
    }

    #[test]
    fn a_commands_help_shows_the_flags_that_it_uses_under_headings() {
        for (name, shown, hidden) in [
            (
                "check",
                ["\nCheck:\n", "--timeout", "\nShards:\n", "--config.file"],
                ["--web.", "--state.dir", "--simulator.", "--config.check"],
            ),
            (
                "healthcheck",
                [
                    "\nWeb:\n",
                    "--web.listen-address",
                    "--web.config.file",
                    "--help",
                ],
                ["--web.max-requests", "--config.", "--shard.", "--log."],
            ),
            (
                "simulate",
                [
                    "\nSimulator:\n",
                    "--simulator.listen-address",
                    "\nLog:\n",
                    "--log.level",
                ],
                ["--web.", "--config.", "--shard.", "--state.dir"],
            ),
            (
                "demo",
                [
                    "\nSimulator:\n",
                    "--simulator.seed",
                    "\nWeb:\n",
                    "--web.listen-address",
                ],
                ["--config.", "--shard.", "--state.dir", "--format"],
            ),
        ] {
            let help = help(name);
            assert!(
                shown.iter().all(|part| help.contains(part)),
                "{name}: {help}"
            );
            assert!(
                hidden.iter().all(|part| !help.contains(part)),
                "{name}: {help}"
            );
        }
    }

    #[test]
    fn every_command_says_which_flags_it_uses() {
        let command = Cli::command();
        for command in command.get_subcommands() {
            let name = command.get_name();
            assert!(USED.iter().any(|(known, _)| *known == name), "{name}");
        }
    }
}
