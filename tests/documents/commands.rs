//! `docs/flags.md`, the manual pages and the shell completions, generated from clap's definitions.

use std::fmt::Write as _;
use std::io::Write as _;
use std::{fs, process};

use clap::builder::PossibleValue;
use clap::{Arg, Command};
use clap_complete::{Shell, generate};

use super::{GENERATED, code, hold, table};
use crate::cli::Cli;

const NAME: &str = "connections-exporter";

const BEGINNING: &str = "
# Commands and flags

- Every flag except `--help` and `--version` can be set by an environment variable. A flag has
  precedence over its variable.
- In a variable, the values of a list are separated by commas. A switch is `true` or `false`.
- An empty variable counts as not set. Unknown variables are ignored.
- The daemon's flags can stand before or after the name of a command, except `--state.dir`,
  `--config.check` and `--version`, which can stand only before it. With a command, the first two
  have no effect.
- Each command lists the flags that it uses, and accepts the daemon's other flags, so that all
  commands can share their arguments and variables.
- `--help` explains the flags of a command in full, `-h` in short.
";

/// Returns all commands, the daemon's first. The version has no revision, which changes with every
/// commit.
fn command() -> Command {
    let mut command = Cli::complete_command()
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true);
    command.build();
    command
}

fn row(flag: &Arg) -> [String; 4] {
    let long = flag.get_long().unwrap();
    let takes_value = flag.get_action().takes_values();
    let value = flag
        .get_value_names()
        .filter(|_| takes_value)
        .map(|names| format!("={}", names[0]));
    let name = format!("--{long}{}", value.unwrap_or_default());
    let defaults: Vec<_> = flag
        .get_default_values()
        .iter()
        .map(|value| value.to_str().unwrap())
        .collect();
    let default = if takes_value {
        code(defaults)
    } else {
        String::new()
    };
    let env = flag.get_env().map(|name| name.to_str().unwrap());
    // clap removes the full stop at the end.
    let mut help = format!("{}.", flag.get_help().unwrap());
    let possible = flag.get_possible_values();
    if takes_value && !possible.is_empty() {
        let _ = write!(
            help,
            " One of {}.",
            code(possible.iter().map(PossibleValue::get_name))
        );
    }
    [code([name.as_str()]), default, code(env), help]
}

/// Returns a table of the flags that `own` selects.
fn flags(command: &Command, own: impl Fn(&Arg) -> bool) -> String {
    let flags = command
        .get_arguments()
        .filter(|flag| flag.get_long().is_some() && flag.get_id() != "help" && own(flag));
    table(["flag", "default", "variable", ""], flags.map(row))
}

fn page(command: &Command) -> String {
    let about = |command: &Command| format!("{}.", command.get_about().unwrap());
    let mut text = format!("{GENERATED}{BEGINNING}");
    let _ = write!(
        text,
        "\n## {}\n\n{}\n\n",
        command.get_name(),
        about(command)
    );
    text += &flags(command, |_| true);
    for sub in command.get_subcommands() {
        let inherited = |flag: &Arg| {
            command
                .get_arguments()
                .any(|other| other.get_id() == flag.get_id())
        };
        let _ = write!(
            text,
            "\n## {} {}\n\n{}\n",
            command.get_name(),
            sub.get_name(),
            about(sub)
        );
        let shared: Vec<_> = sub
            .get_arguments()
            .filter(|flag| {
                let own = ["help", "version"].contains(&flag.get_id().as_str());
                inherited(flag) && !flag.is_hide_set() && !own
            })
            .filter_map(|flag| flag.get_long().map(|long| format!("--{long}")))
            .collect();
        if sub.get_arguments().any(|flag| !inherited(flag)) {
            let _ = write!(text, "\n{}", flags(sub, |flag| !inherited(flag)));
        }
        let _ = write!(
            text,
            "\nIt also uses these flags of the daemon: {}.\n",
            code(shared.iter().map(String::as_str))
        );
    }
    let after = command.get_after_long_help().unwrap().to_string();
    let _ = write!(text, "\n## Exit codes and signals\n\n{after}\n");
    text
}

#[test]
fn the_page_of_flags_is_what_the_code_says() {
    hold("docs/flags.md", &page(&command()));
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let all = command();
    for one in std::iter::once(&all).chain(all.get_subcommands()) {
        // A date would change every day. Without one, roff needs a space in its place.
        let page = clap_mangen::Man::new(one.clone())
            .date(" ")
            .source(format!(
                "connections-exporter {}",
                env!("CARGO_PKG_VERSION")
            ))
            .manual("User Commands");
        let mut text = Vec::new();
        page.render(&mut text).unwrap();
        // Paragraph spacing as a roff request, because mandoc warns about clap's form. The heading
        // replaces clap's name for the text after the help.
        let text = String::from_utf8(text).unwrap();
        let text = text.replace("\n.br\n\n.br\n", "\n.sp\n");
        let text = text.replace(".SH EXTRA", ".SH EXIT STATUS AND SIGNALS");
        hold(&format!("deploy/man/{}", page.get_filename()), &text);
    }
    let pages = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/man"));
    let commands = 1 + all.get_subcommands().count();
    assert_eq!(
        pages.unwrap().count(),
        commands,
        "deploy/man has pages of commands that are gone"
    );
}

/// Returns what clap generates for a shell.
fn generated(shell: Shell) -> String {
    let mut text = Vec::new();
    generate(shell, &mut command(), NAME, &mut text);
    String::from_utf8(text).unwrap()
}

/// Returns bash completions, with one name for the program.
///
/// clap writes the name of a program with a hyphen in two ways, and then bash completes nothing:
/// <https://github.com/clap-rs/clap/issues/6421>
fn bash() -> String {
    generated(Shell::Bash).replace("connections__subcmd__exporter", "connections__exporter")
}

/// Returns fish completions that find the subcommand with fish's own functions.
///
/// clap uses fish's argparse for that, which refuses flags with dots.
fn fish() -> String {
    let text = generated(Shell::Fish);
    let begin = text.find("complete -c").unwrap();
    let all = command();
    let names: Vec<_> = all.get_subcommands().map(Command::get_name).collect();
    let names = names.join(" ");
    format!(
        "function __fish_connections_exporter_needs_command
    not __fish_seen_subcommand_from {names}
end

function __fish_connections_exporter_using_subcommand
    __fish_seen_subcommand_from $argv
end

{}",
        &text[begin..]
    )
}

#[test]
fn the_shells_complete_what_there_is() {
    hold("deploy/completions/connections-exporter.bash", &bash());
    hold(
        "deploy/completions/_connections-exporter",
        &generated(Shell::Zsh),
    );
    hold("deploy/completions/connections-exporter.fish", &fish());
}

/// Returns what bash offers for the last word.
fn offered(words: &[&str]) -> String {
    let script = r#"source /dev/stdin; COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 ))
        _connections__exporter "$1" "${@: -1}" "${@: -2:1}"; echo "${COMPREPLY[*]}""#;
    let mut bash = process::Command::new("bash");
    bash.args(["--norc", "-c", script, "bash", NAME])
        .args(words);
    let mut bash = bash
        .stdin(process::Stdio::piped())
        .stdout(process::Stdio::piped())
        .spawn()
        .unwrap();
    bash.stdin
        .take()
        .unwrap()
        .write_all(self::bash().as_bytes())
        .unwrap();
    String::from_utf8(bash.wait_with_output().unwrap().stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

#[test]
fn bash_completes_commands_flags_of_each_command_and_values() {
    assert_eq!(offered(&["che"]), "check");
    assert_eq!(offered(&["--config."]), "--config.file --config.check");
    assert_eq!(offered(&["--log.level", "d"]), "debug");
    assert_eq!(offered(&["check", "--form"]), "--format");
    assert_eq!(offered(&["check", "--format", ""]), "table json");
    assert_eq!(
        offered(&["simulate", "--simulator.l"]),
        "--simulator.listen-address"
    );
}
