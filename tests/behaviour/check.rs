//! The command `check`, as an operator uses it before the daemon runs.

use std::process::Output;

use connections_exporter::simulator::{Fault, Kind, Sizes};

use crate::daemon::{configured_in_files, exporter};
use crate::rig::{ONCE, Rig};

async fn check(rig: &Rig, arguments: &[&str]) -> (i32, String, String) {
    let folder = configured_in_files(rig, "1h");
    let file = folder.path().join("config.yaml").display().to_string();
    let mut command = exporter(&["check", "--config.file", &file]);
    command.args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let Output {
        status,
        stdout,
        stderr,
    } = output.await.unwrap();
    (
        status.code().unwrap(),
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    )
}

#[tokio::test]
async fn every_target_is_polled_once_and_shown_with_totals() {
    let rig = Rig::start(Sizes::default(), ONCE).await;
    rig.ready().await;
    let before = rig.simulator.requests("connections_all");
    let (code, said, problems) = check(&rig, &[]).await;
    assert_eq!((code, problems.as_str()), (0, ""), "{said}");
    assert_eq!(rig.simulator.requests("connections_all") - before, 3);
    // A heading, seven targets, and the totals.
    assert_eq!(said.lines().count(), 9, "{said}");
    assert!(
        said.lines()
            .all(|line| !line.ends_with(' ') && !line.contains('\u{1b}'))
    );
    let line = |name: &str| said.lines().find(|line| line.contains(name)).unwrap();
    let slack: Vec<_> = line("acme_slack").split_whitespace().collect();
    assert_eq!(
        slack[..4],
        ["zis", "acme", "acme_slack", "listed,"],
        "{said}"
    );
    assert!(line("acme_slack").contains("misses zendesk"), "{said}");
    assert!(line("acme_slack").contains("4 oauth"), "{said}");
    let total: Vec<_> = line("total").split_whitespace().collect();
    assert_eq!(total[..4], ["total", "7", "0", "failed"]);
    let column = |line: &str, text: &str| line.find(text).unwrap();
    let heading = said.lines().next().unwrap();
    assert_eq!(
        column(heading, "TARGET"),
        column(line("acme_slack"), "acme_slack")
    );
}

#[tokio::test]
async fn a_failure_comes_with_what_to_do_and_ends_with_1() {
    let rig = Rig::start(Sizes::default(), ONCE).await;
    rig.ready().await;
    rig.simulator.fail(Fault {
        target: Some("acme_slack".to_owned()),
        ..Fault::new(Kind::Refuse)
    });
    let (code, said, problems) = check(&rig, &[]).await;
    assert_eq!(
        (code, problems.as_str()),
        (1, "not every target could be listed\n")
    );
    assert!(
        said.contains("zis acme acme_slack: forbidden (HTTP 403)\n"),
        "{said}"
    );
    assert!(
        said.contains("(vendor code Forbidden)") && said.contains("request id is"),
        "{said}"
    );
    assert!(
        said.contains("To do: the credential lacks a permission"),
        "{said}"
    );

    let (code, said, _) = check(&rig, &["--format=json"]).await;
    assert_eq!(code, 1);
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    let targets = report["targets"].as_array().unwrap();
    assert_eq!(targets.len(), 7);
    let failed: Vec<_> = targets
        .iter()
        .filter(|target| !target["failure"].is_null())
        .collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0]["failure"]["reason"], "forbidden");
}

#[tokio::test]
async fn an_account_whose_targets_cannot_be_listed_is_a_failure_and_not_the_end_of_the_others() {
    let rig = Rig::start(Sizes::default(), ONCE).await;
    rig.ready().await;
    rig.simulator.fail(Fault {
        endpoint: Some("entities".to_owned()),
        ..Fault::new(Kind::InternalServerError)
    });
    let (code, said, _) = check(&rig, &[]).await;
    assert_eq!(code, 1);
    assert!(
        said.contains("zuora production: its targets could not be listed: server_error"),
        "{said}"
    );
    assert_eq!(said.matches("zis ").count(), 3, "{said}");
}

#[tokio::test]
async fn whoever_has_read_enough_of_a_report_may_go() {
    let rig = Rig::start(Sizes::default(), ONCE).await;
    let folder = configured_in_files(&rig, "1h");
    let file = folder.path().join("config.yaml").display().to_string();
    for arguments in [
        ["check", "--config.file"],
        ["--config.check", "--config.file"],
    ] {
        let mut command = exporter(&arguments);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        command.arg(&file).stdout(writer);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let Output { status, stderr, .. } = output.await.unwrap();
        assert!(status.success(), "{status}");
        assert_eq!(String::from_utf8(stderr).unwrap(), "");
    }
}
