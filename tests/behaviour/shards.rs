//! Several processes with one configuration, each with its part of the accounts.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use connections_exporter::simulator::Sizes;

use crate::daemon::{configured_in_files, daemon_in, exporter, get, page_when};
use crate::restarts::files;
use crate::rig::{ONCE, Rig};

/// A configuration of sixteen accounts, all of the same simulator.
fn sixteen_accounts(rig: &Rig) -> tempfile::TempDir {
    let folder = configured_in_files(rig, "1h");
    let file = folder.path().join("config.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let account = text.split("zis:\n").nth(1).unwrap().trim_end();
    let accounts =
        (0..15).map(|n| format!("{}\n", account.replace("acme\n", &format!("acme{n}\n"))));
    let zuora = text.split("zis:\n").next().unwrap();
    fs::write(
        &file,
        format!("{zuora}zis:\n{}", accounts.collect::<String>()),
    )
    .unwrap();
    folder
}

/// The samples of accounts that do not depend on the time.
fn samples(page: &str) -> BTreeSet<String> {
    let lines = page.lines().filter(|line| {
        line.starts_with("saas_") && !line.starts_with("saas_connection_token_expires_in")
    });
    lines.map(str::to_owned).collect()
}

#[tokio::test]
async fn three_shards_show_together_what_one_process_shows() {
    let rig = Rig::start(Sizes::default(), ONCE).await;
    rig.ready().await;
    let folder = sixteen_accounts(&rig);
    let ready = async |arguments: &[&str], is: fn(usize) -> bool| {
        let daemon = daemon_in(folder.path(), arguments).await;
        while !get(daemon.address, "/-/ready").await.contains("is ready") {}
        let page = page_when(daemon.address, |page| {
            page.lines()
                .filter(|line| line.contains("target_up{"))
                .all(|line| line.ends_with(" 1"))
        })
        .await;
        let accounts: BTreeSet<_> = page
            .lines()
            .filter_map(|line| line.strip_prefix("connections_exporter_api_rate_limited_total"))
            .collect();
        assert!(is(accounts.len()), "{accounts:?}");
        (samples(&page), page)
    };
    let (whole, page) = ready(&[], |accounts| accounts == 16).await;
    assert!(page.contains("connections_exporter_shards 1\n"));
    let mut joined = BTreeSet::new();
    for index in 0..3 {
        let arguments = [
            format!("--shard.index={index}"),
            "--shard.total=3".to_owned(),
        ];
        let arguments = arguments.each_ref().map(String::as_str);
        let (part, page) = ready(&arguments, |accounts| (1..16).contains(&accounts)).await;
        assert!(page.contains(&format!("connections_exporter_shard_index {index}\n")));
        assert!(page.contains("connections_exporter_shards 3\n"));
        let before = joined.len();
        joined.extend(part.iter().cloned());
        assert_eq!(joined.len(), before + part.len(), "nothing is shown twice");
    }
    assert_eq!(joined, whole);
}

#[tokio::test]
async fn an_account_that_moved_to_another_shard_leaves_nothing_in_the_state_folder() {
    let rig = Rig::start(Sizes::default(), ONCE).await;
    rig.ready().await;
    let (folder, state) = (sixteen_accounts(&rig), tempfile::tempdir().unwrap());
    let flag = format!("--state.dir={}", state.path().display());
    let folders = || -> BTreeSet<_> {
        let files = files(state.path()).into_iter();
        let folders = files.filter_map(|file| file.parent().map(ToOwned::to_owned));
        folders.filter(|folder| folder != state.path()).collect()
    };
    let daemon = daemon_in(folder.path(), &[&flag]).await;
    while folders().len() < 16 {
        tokio::task::yield_now().await;
    }
    drop(daemon);
    let _daemon = daemon_in(folder.path(), &[&flag, "--shard.total=4"]).await;
    while folders().len() > 8 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_shard_that_there_is_not_is_one_sentence() {
    for (arguments, said) in [
        (
            ["--shard.index=3", "--shard.total=3"],
            "--shard.index is 3: expected less than --shard.total, which is 3",
        ),
        (
            ["--shard.index=0", "--shard.total=0"],
            "error: invalid value '0' for '--shard.total <NUMBER>'",
        ),
        (
            ["--shard.index=x", "--shard.total=1"],
            "expected a number from 0, or auto for the ordinal at the end of the host name",
        ),
    ] {
        let mut command: Command = exporter(&arguments);
        let output = command
            .arg("--config.file=config.example.yaml")
            .output()
            .unwrap();
        let problems = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{problems}");
        assert!(problems.contains(said), "{problems}");
    }
}
