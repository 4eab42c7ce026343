//! A real Prometheus with the project's rules, in which days take minutes, and a real Alertmanager.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use reqwest::Url;
use serde_json::{Value, json};

use crate::exporter::Exporter;
use crate::inbox::Labels;
use crate::process::{Process, free_port, until};
use crate::scene::Scene;

/// Divisor of every duration in the rules: an hour becomes five seconds.
pub(crate) const SCALE: u32 = 720;
/// Thresholds that are times, divided alike. A date that a simulator returns can be any, so its
/// threshold stays. A token of an hour need not be watched for a day.
const VALUES: &str = "
labels: {team: integrations}
thresholds:
  pendingDays: 0.003
  renewalLateMinHours: 0.005
  renewalStoppedHours: 0.015
  staleMinSeconds: 5
  tokenShortLivedHours: 1
  apiTokenEndingDays: 1000
alerts:
  ConnectionApiTokenEndImminent: {enabled: false}
  ConnectionsDiscoveryFailing: {enabled: false}
  ConnectionsExporterClockSkew: {enabled: false}
";
/// Alerts that are not rehearsed: they need a date, hours of real time, or another clock. The tests
/// of `promtool` have them.
pub(crate) const DISABLED: [&str; 3] = [
    "ConnectionApiTokenEndImminent",
    "ConnectionsDiscoveryFailing",
    "ConnectionsExporterClockSkew",
];

/// Programs of one version, by their names below `target/tools`.
pub(crate) struct Version {
    pub(crate) prometheus: &'static str,
    pub(crate) alertmanager: &'static str,
}

/// Interval between scrapes, and between rule evaluations.
///
/// With it, the five minutes of `ConnectionsExporterDown` span two failed scrapes. A machine that
/// is busy for half a second does not look like one that is down.
const OFTEN: &str = "400ms";

/// Returns the scaled duration of this many hours in a rule.
pub(crate) const fn hours(hours: u32) -> Duration {
    Duration::from_millis(3_600_000 / SCALE as u64 * hours as u64)
}

/// Running Prometheus and Alertmanager.
pub(crate) struct Stack {
    prometheus: String,
    targets: PathBuf,
    _processes: [Process; 2],
}

impl Stack {
    /// Starts both. Prometheus scrapes these exporters.
    pub(crate) async fn start(
        version: &Version,
        folder: &Path,
        inbox: SocketAddr,
        exporters: &[&Exporter],
    ) -> Self {
        let alertmanager = format!("127.0.0.1:{}", free_port());
        let prometheus = format!("127.0.0.1:{}", free_port());
        let targets = folder.join("targets.json");
        let in_folder = |flag: &str, name: &str| format!("{flag}={}", folder.join(name).display());
        scrape(&targets, exporters);
        scaled_rules(&folder.join("alerts.yaml"));
        fs::write(folder.join("alertmanager.yml"), alertmanager_yml(inbox)).unwrap();
        fs::write(folder.join("prometheus.yml"), prometheus_yml(&alertmanager)).unwrap();

        let first = serving(
            version.alertmanager,
            &alertmanager,
            &[
                in_folder("--config.file", "alertmanager.yml"),
                in_folder("--storage.path", "alertmanager"),
                "--cluster.listen-address=".to_owned(),
            ],
            &folder.join("alertmanager.log"),
        )
        .await;
        let second = serving(
            version.prometheus,
            &prometheus,
            &[
                in_folder("--config.file", "prometheus.yml"),
                in_folder("--storage.tsdb.path", "prometheus"),
                // About twenty scrapes, as in five minutes. Series that end have a staleness
                // marker, so they are not looked back for.
                "--query.lookback-delta=10s".to_owned(),
            ],
            &folder.join("prometheus.log"),
        )
        .await;
        Self {
            prometheus,
            targets,
            _processes: [first, second],
        }
    }

    /// Replaces the scrape targets by these exporters.
    pub(crate) fn scrape(&self, exporters: &[&Exporter]) {
        scrape(&self.targets, exporters);
    }

    /// Replaces the scrape targets by all exporters of the scene, except for those at these
    /// addresses.
    pub(crate) fn scrape_all_but(&self, scene: &Scene, addresses: &[&str]) {
        let mut all = scene.exporters();
        all.retain(|exporter| !addresses.contains(&&*exporter.address));
        self.scrape(&all);
    }

    /// Returns labels and value of each sample of an instant query.
    pub(crate) async fn query(&self, query: &str) -> Vec<(Labels, f64)> {
        let url = format!("http://{}/api/v1/query", self.prometheus);
        let url = Url::parse_with_params(&url, [("query", query)]).unwrap();
        let answer = reqwest::get(url).await.unwrap().bytes().await.unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        let samples = answer["data"]["result"].as_array();
        let samples = samples.unwrap_or_else(|| panic!("{query}: {answer}"));
        let sample = |sample: &Value| {
            let labels = serde_json::from_value(sample["metric"].clone()).unwrap();
            let value = sample["value"][1].as_str().unwrap().parse();
            (labels, value.unwrap())
        };
        samples.iter().map(sample).collect()
    }

    /// Waits until the query returns a sample.
    pub(crate) async fn until(&self, query: &str) {
        let otherwise = format!("nothing came of {query}");
        until(&otherwise, async || !self.query(query).await.is_empty()).await;
    }
}

/// Starts a program with these flags, and waits until it is ready at this address.
async fn serving(program: &str, address: &str, flags: &[String], log: &Path) -> Process {
    let mut command = Command::new(program);
    command
        .args(flags)
        .arg(format!("--web.listen-address={address}"));
    let process = Process::start(&mut command, log);
    let url = format!("http://{address}/-/ready");
    until(&format!("{url} does not come"), async || {
        let answer = reqwest::get(&url).await;
        answer.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
    process
}

fn scrape(targets: &Path, exporters: &[&Exporter]) {
    let group = |exporter: &&Exporter| {
        // Pages of megabytes are scraped less often.
        let every = if exporter.job == "large" {
            "2s"
        } else {
            "250ms"
        };
        json!({
            "targets": [exporter.address],
            "labels": {"job": exporter.job, "__scrape_interval__": every, "__scrape_timeout__": every},
        })
    };
    let groups: Vec<_> = exporters.iter().map(group).collect();
    // In one step, because Prometheus reads the file as soon as it changes.
    let new = targets.with_extension("new");
    fs::write(&new, json!(groups).to_string()).unwrap();
    fs::rename(&new, targets).unwrap();
}

/// Writes the rules with scaled thresholds and durations.
fn scaled_rules(file: &Path) {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let well = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        fs::write(file, output.stdout).unwrap();
    };
    let values = ["--tla-str", &format!("values={VALUES}")];
    let mut made = Command::new("jsonnet");
    well(
        made.arg("--string")
            .args(values)
            .arg(deploy.join("mixin/manifest.jsonnet")),
    );
    let mut scaled = Command::new(deploy.join("prometheus/scale.sh"));
    let rules = fs::File::open(file).unwrap();
    well(scaled.arg(SCALE.to_string()).stdin(rules));
    let mut command = Command::new("promtool");
    let checked = command.args(["check", "rules"]).arg(file).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

/// Returns the configuration of the docker-compose example with the inbox as receiver, and with
/// shorter intervals.
fn alertmanager_yml(inbox: SocketAddr) -> String {
    let file = "deploy/docker-compose/alertmanager/alertmanager.yml";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = fs::read_to_string(file).unwrap();
    let (route, receiver) = ("route:\n", "  - name: nobody\n");
    assert!(text.contains(route) && text.ends_with(receiver), "{text}");
    let sooner = "  group_wait: 2s\n  group_interval: 500ms\n  repeat_interval: 1h\n";
    let hook = format!("    webhook_configs: [{{url: 'http://{inbox}/', send_resolved: true}}]\n");
    text.replace(route, &[route, sooner].concat()) + &hook
}

fn prometheus_yml(alertmanager: &str) -> String {
    format!(
        "global:
  scrape_interval: {OFTEN}
  evaluation_interval: {OFTEN}
  external_labels: {{cluster: test, grafana_url: 'http://grafana.test'}}
rule_files: [alerts.yaml]
alerting:
  alertmanagers:
    - static_configs: [{{targets: ['{alertmanager}']}}]
scrape_configs:
  - job_name: exporters
    file_sd_configs: [{{files: [targets.json]}}]
    metric_relabel_configs:
      # Tens of thousands of connections, of which only how large they make the page is rehearsed.
      # The account is not missed when the target leaves.
      - source_labels: [job, __name__]
        regex: 'large;(saas_|connections_exporter_api_budget_).*'
        action: drop
"
    )
}
