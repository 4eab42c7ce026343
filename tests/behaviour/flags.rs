//! Flags and environment variables with typing errors.

use std::process::{Command, Output};

use crate::daemon::{Daemon, exporter, free_port, get};

/// Asserts the exit code of a command; returns its standard error.
fn said(command: &mut Command, code: i32) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(code), "{said}");
    said
}

#[test]
fn an_empty_variable_is_not_set_for_any_flag_of_any_command() {
    let help = |command: &str| {
        let output = exporter(&[command, "--help"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let commands = ["check", "demo", "simulate", "healthcheck"];
    let helps = commands.map(help).concat() + &help("--log.level=info");
    let variables: Vec<_> = helps
        .split("[env: ")
        .skip(1)
        .map(|rest| rest.split('=').next().unwrap())
        .collect();
    assert!(variables.len() > 30, "{variables:?}");
    let folder = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (
            &["--config.check"][..],
            "config.yaml: there is no such file in this folder",
        ),
        (
            &["check"],
            "config.yaml: there is no such file in this folder",
        ),
        (
            &["healthcheck", "--web.listen-address=127.0.0.1:1"],
            "no answer from 127.0.0.1:1",
        ),
        (
            &["simulate", "--simulator.listen-address=[::1]:x"],
            "expected a port from 0 to 65535",
        ),
        (
            &["demo", "--web.listen-address=:x"],
            "expected a port from 0 to 65535",
        ),
    ] {
        let mut command = exporter(arguments);
        command.current_dir(folder.path());
        command.envs(variables.iter().map(|name| (name, "")));
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}

#[test]
fn an_error_that_comes_from_a_variable_names_it() {
    for (variable, value, arguments) in [
        ("LOG_LEVEL", "loud", &["check"][..]),
        ("LOG_LEVEL", "loud", &[]),
        ("WEB_LISTEN_ADDRESS", "9932", &[]),
        ("WEB_ENABLE_LIFECYCLE", "maybe", &[]),
        ("SHARD_INDEX", "3", &[]),
        ("TIMEOUT", "120", &["check"]),
        ("SIMULATOR_LISTEN_ADDRESS", "0.0.0.0:1", &["simulate"]),
    ] {
        let name = format!("CONNECTIONS_EXPORTER_{variable}");
        let said = said(exporter(arguments).env(&name, value), 2);
        let tip = format!("tip: the value is that of the environment variable {name}\n");
        assert!(said.contains(&tip), "{said}");
    }
    let both = &mut exporter(&["--log.level=louder"]);
    let said = said(both.env("CONNECTIONS_EXPORTER_LOG_LEVEL", "loud"), 2);
    assert!(!said.contains("variable"), "the flag is at fault: {said}");
}

#[test]
fn what_is_misspelt_is_answered_with_what_to_write() {
    for (typed, expected) in [
        ("--web.listen-address=::1:9932", "write [::1]:9932"),
        ("--web.listen-address=9932", "did you mean :9932?"),
        (
            "--web.listen-adress=:9932",
            "a similar argument exists: '--web.listen-address'",
        ),
        (
            "--config.chek",
            "a similar argument exists: '--config.check'",
        ),
        ("chek", "a similar subcommand exists: 'check'"),
    ] {
        let said = said(&mut exporter(&[typed]), 2);
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn without_a_configuration_file_it_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&[][..], &["--config.check"], &["check"]] {
        let said = said(exporter(arguments).current_dir(folder.path()), 1);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(
            said.contains("--config.file") && said.contains("demo"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_simulator_bears_sighup() {
    let address = format!("127.0.0.1:{}", free_port());
    let mut simulator = Daemon::start(
        &mut exporter(&["simulate", "--simulator.listen-address", &address]),
        address.parse().unwrap(),
    );
    simulator.signal("HUP");
    assert!(get(simulator.address, "/simulator").await.contains("holds"));
    simulator.signal("TERM");
    let (status, ..) = simulator.end();
    assert!(status.success(), "{status}");
}
