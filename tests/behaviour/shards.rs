//! Several processes with one configuration, each polling its own shard of the accounts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use connections_simulator::Sizes;

use crate::daemon::{configured_in_files, daemon_in, exporter, page_when, ready};
use crate::discovery::{held, is_timeless, once, stored, until_some};
use crate::harness::{Harness, ONCE};
use crate::prometheus::{agree, query, scraping};
use crate::restarts::files_when;

fn sixteen_accounts(harness: &Harness) -> tempfile::TempDir {
    accounts(harness, 16)
}

/// Writes a configuration of this many accounts on one simulator: one of Zuora, the others of ZIS.
///
/// The ZIS accounts are named acme0, acme1 and so on.
pub(crate) fn accounts(harness: &Harness, number: usize) -> tempfile::TempDir {
    let folder = configured_in_files(harness, "1h");
    let file = folder.path().join("config.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let account = text.split("zis:\n").nth(1).unwrap().trim_end();
    let accounts =
        (0..number - 1).map(|n| format!("{}\n", account.replace("acme\n", &format!("acme{n}\n"))));
    let zuora = text.split("zis:\n").next().unwrap();
    fs::write(
        &file,
        format!("{zuora}zis:\n{}", accounts.collect::<String>()),
    )
    .unwrap();
    folder
}

/// Returns the samples of accounts that do not depend on the time.
fn samples(page: &str) -> BTreeSet<String> {
    let metric = |line: &str| line.split('{').next().map(str::to_owned);
    let lines = page
        .lines()
        .filter(|line| metric(line).is_some_and(|metric| is_timeless(&metric)));
    lines.map(str::to_owned).collect()
}

#[tokio::test]
async fn three_shards_show_together_what_one_process_shows() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    harness.ready().await;
    let folder = sixteen_accounts(&harness);
    let started = async |arguments: &[&str], is: fn(usize) -> bool| {
        let daemon = daemon_in(folder.path(), arguments).await;
        ready(daemon.address).await;
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
    let (whole, page) = started(&[], |accounts| accounts == 16).await;
    assert!(page.contains("connections_exporter_shards 1\n"));
    let mut joined = BTreeSet::new();
    for index in 0..3 {
        let arguments = [
            format!("--shard.index={index}"),
            "--shard.total=3".to_owned(),
        ];
        let arguments = arguments.each_ref().map(String::as_str);
        let (part, page) = started(&arguments, |accounts| (1..16).contains(&accounts)).await;
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
    let harness = Harness::start(Sizes::default(), ONCE).await;
    harness.ready().await;
    let (folder, state) = (sixteen_accounts(&harness), tempfile::tempdir().unwrap());
    let flag = format!("--state.dir={}", state.path().display());
    let folders = |files: &[PathBuf]| {
        let folders = files.iter().filter_map(|file| file.parent());
        let folders: BTreeSet<_> = folders.filter(|folder| *folder != state.path()).collect();
        folders.len()
    };
    let daemon = daemon_in(folder.path(), &[&flag]).await;
    files_when(state.path(), |files| folders(files) == 16).await;
    drop(daemon);
    let _daemon = daemon_in(folder.path(), &[&flag, "--shard.total=4"]).await;
    files_when(state.path(), |files| folders(files) <= 8).await;
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

#[tokio::test]
#[ignore = "needs prometheus: make test"]
async fn prometheus_joins_three_shards_to_what_one_process_shows() {
    let harness = Harness::start(Sizes::default(), ONCE).await;
    harness.ready().await;
    let folder = sixteen_accounts(&harness);
    let started = async |arguments: &[&str]| {
        let daemon = daemon_in(folder.path(), arguments).await;
        ready(daemon.address).await;
        daemon
    };
    let one = started(&[]).await;
    let mut fleet = Vec::new();
    for index in ["--shard.index=0", "--shard.index=1", "--shard.index=2"] {
        fleet.push(started(&[index, "--shard.total=3"]).await);
    }
    let each = |what: fn(SocketAddr) -> String| {
        let each: Vec<_> = fleet.iter().map(|daemon| what(daemon.address)).collect();
        each.join(", ")
    };
    let jobs = format!(
        "  - job_name: one\n    static_configs: [{{targets: ['{}']}}]\n  - job_name: fleet\n    \
            static_configs: [{{targets: [{}]}}]\n  - job_name: parts\n    http_sd_configs: [{}]\n",
        one.address,
        each(|address| format!("'{address}'")),
        each(|address| format!("{{url: 'http://{address}/sd', refresh_interval: 1s}}")),
    );
    let scraper = scraping(folder.path(), &jobs);
    let prometheus = format!("http://{}", scraper.address);
    // The size of a page is shown on the next one, so it is missing on the first.
    for (job, targets) in [("one", 1), ("fleet", 3), ("parts", 16 + 3)] {
        let up = format!("count(up{{job=\"{job}\"}} == 1) == {targets}");
        until_some(&prometheus, &up).await;
        let sized = if job == "one" { 1 } else { 3 };
        let sized = format!("count(connections_exporter_page_series{{job=\"{job}\"}}) == {sized}");
        until_some(&prometheus, &sized).await;
    }
    let of_accounts = |samples: &[(BTreeMap<String, String>, f64)]| {
        let of = samples
            .iter()
            .filter(|(labels, _)| labels.contains_key("account"));
        of.cloned().collect::<Vec<_>>()
    };
    let names = |samples: &[(BTreeMap<String, String>, f64)]| -> BTreeSet<_> {
        samples.iter().map(|(labels, _)| labels.clone()).collect()
    };
    for job in ["fleet", "parts"] {
        agree(async || {
            let whole = stored(&prometheus, "one").await;
            let joined = stored(&prometheus, job).await;
            let of = |samples: &[_]| {
                let of_accounts = once(&of_accounts(samples));
                // Each process has series without an account, so those are compared as sums below.
                (of_accounts, held(samples), names(samples))
            };
            // Both must be complete. Without this check two incomplete results would be equal.
            let is_whole = held(&whole).len() > 16 * 20;
            ((true, of(&joined)), (is_whole, of(&whole)))
        })
        .await;
        for sum in [
            "connections_exporter_api_requests_total",
            "connections_exporter_api_request_duration_seconds_count",
        ] {
            let of = async |job: &str| {
                let sum = format!("sum without (instance, job) ({sum}{{job=\"{job}\"}})");
                let samples = query(&prometheus, &sum).await.into_iter();
                let samples =
                    samples.map(|(labels, value)| (labels.to_string(), value.to_string()));
                samples.collect::<BTreeMap<_, _>>()
            };
            agree(async || {
                let whole = of("one").await;
                ((true, of(job).await), (whole.len() > 3, whole))
            })
            .await;
        }
    }
}
