//! The files in `deploy/` match the program. `make deploy-check` runs the tools of each ecosystem.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::daemon::{Daemon, exporter, free_port};
use crate::prometheus::until;
use crate::restarts::files;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

fn read(name: &str) -> String {
    fs::read_to_string(deploy().join(name)).unwrap()
}

fn said(arguments: &[&str]) -> String {
    let output = exporter(arguments).output().unwrap();
    let problems = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {problems}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the exporter's environment variables that a text names, without their common prefix.
fn variables(text: &str) -> BTreeSet<String> {
    let ends = |c: char| !c.is_ascii_uppercase() && c != '_';
    text.split("CONNECTIONS_EXPORTER_")
        .skip(1)
        .map(|rest| rest.split(ends).next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_variables_and_flags_that_are_deployed_exist() {
    let commands = ["", "demo", "check", "simulate"].into_iter();
    let known: BTreeSet<_> = commands
        .flat_map(|command| {
            variables(&said(
                &[command, "--help"][usize::from(command.is_empty())..],
            ))
        })
        .collect();
    let mut used = 0;
    for file in files(&deploy()) {
        for name in variables(&fs::read_to_string(&file).unwrap()) {
            let file = file.display();
            assert!(known.contains(&name), "{file}: CONNECTIONS_EXPORTER_{name}");
            used += 1;
        }
    }
    assert!(used > 3);

    let set: Value = serde_yaml::from_str(&read("kubernetes/base/stateful-set.yaml")).unwrap();
    let arguments = &set["spec"]["template"]["spec"]["containers"][0]["args"];
    let arguments = arguments.as_array().unwrap().iter();
    let arguments = arguments.map(|argument| argument.as_str().unwrap());
    let sharded = read("kubernetes/components/sharded/kustomization.yaml");
    let shards = sharded
        .lines()
        .filter_map(|line| line.split("value: ").nth(1));
    let shards: Vec<_> = shards.filter(|value| value.starts_with("--")).collect();
    assert_eq!(shards.len(), 2);
    let arguments = arguments.chain(shards);
    // Flags are parsed before the help is printed, so an unknown flag is an error.
    said(&arguments.chain(["--help"]).collect::<Vec<_>>());
}

#[test]
fn the_configurations_that_are_deployed_load() {
    // Commented-out settings of the packaged configuration start directly after `#`, or with the
    // indentation of YAML.
    let uncommented: String = read("debian/config.yaml")
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| line.starts_with("  ") || line.starts_with('z'))
        .flat_map(|line| [line, "\n"])
        .collect();
    let kubernetes = read("kubernetes/overlays/example/config.yaml");
    for (text, secrets) in [
        (
            uncommented,
            "/run/credentials/connections-exporter.service/secrets_",
        ),
        (kubernetes, "/run/secrets/connections-exporter/"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        assert!(text.contains(secrets), "{text}");
        let text = text.replace(secrets, &format!("{}/", folder.path().display()));
        for name in ["zuora", "acme_slack"] {
            fs::write(folder.path().join(name), "t\n").unwrap();
        }
        let file = folder.path().join("config.yaml");
        fs::write(&file, text).unwrap();
        let plan = said(&["--config.check", "--config.file", file.to_str().unwrap()]);
        assert!(
            plan.contains("zuora production") && plan.contains("zis acme"),
            "{plan}"
        );
    }
}

#[test]
fn what_the_program_includes_is_sent_to_the_builder_of_the_image() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sent = read("docker/Dockerfile.dockerignore");
    let is_sent = |path: &Path| {
        let folder = path.strip_prefix(root).unwrap().iter().next().unwrap();
        sent.lines()
            .any(|line| line.strip_prefix('!') == folder.to_str())
    };
    for file in files(&root.join("src")) {
        assert!(is_sent(&file));
        let text = fs::read_to_string(&file).unwrap_or_default();
        for start in ["include_str!(\"", "include_bytes!(\""] {
            for rest in text.split(start).skip(1) {
                let name = rest.split('"').next().unwrap();
                let included = file.parent().unwrap().join(name).canonicalize().unwrap();
                let file = file.display();
                assert!(is_sent(&included), "{file} includes {name}");
            }
        }
    }
}

#[test]
fn what_the_containers_mount_exists() {
    let compose: Value = serde_yaml::from_str(&read("docker-compose/docker-compose.yaml")).unwrap();
    let services = compose["services"].as_object().unwrap().values();
    let mounts = services.filter_map(|service| service["volumes"].as_array());
    let mut sources = 0;
    for mount in mounts.flatten() {
        let source = mount.as_str().unwrap().split(':').next().unwrap();
        if source.starts_with('.') {
            let folder = deploy().join("docker-compose").join(source);
            assert!(folder.is_dir(), "{source}");
            sources += 1;
        }
    }
    assert_eq!(sources, 5);
}

#[tokio::test]
#[ignore = "needs prometheus and alertmanager: make test"]
async fn the_neighbours_in_the_compose_file_find_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let [own, prometheus, alertmanager] = [(); 3].map(|()| format!("127.0.0.1:{}", free_port()));
    // The same file, with addresses instead of container names, and a shorter interval.
    let text = read("docker-compose/prometheus/prometheus.yml")
        .replace("connections-exporter:9932", &own)
        .replace("localhost:9090", &prometheus)
        .replace("alertmanager:9093", &alertmanager)
        .replace("15s", "1s")
        .replace("../../prometheus/alerts.yaml", "rules/*.yaml");
    let configuration = folder.path().join("prometheus.yml");
    fs::write(&configuration, text).unwrap();
    fs::create_dir(folder.path().join("rules")).unwrap();
    let rule = "groups: [{name: a, rules: [{alert: Rehearsal, expr: 'up{job=\"connections-exporter\"} == 1'}]}]";
    fs::write(folder.path().join("rules/rehearsal.yaml"), rule).unwrap();

    let _exporter = Daemon::start(
        &mut exporter(&["demo", "--web.listen-address", &own]),
        own.parse().unwrap(),
    );
    let storage = |name: &str| folder.path().join(name).display().to_string();
    let routes = deploy().join("docker-compose/alertmanager/alertmanager.yml");
    let _alertmanager = Daemon::start(
        Command::new("prometheus-alertmanager").args([
            &format!("--config.file={}", routes.display()),
            &format!("--storage.path={}", storage("alerts")),
            &format!("--web.listen-address={alertmanager}"),
            "--cluster.listen-address=",
        ]),
        alertmanager.parse().unwrap(),
    );
    let _prometheus = Daemon::start(
        Command::new("prometheus").args([
            &format!("--config.file={}", configuration.display()),
            &format!("--storage.tsdb.path={}", storage("series")),
            &format!("--web.listen-address={prometheus}"),
        ]),
        prometheus.parse().unwrap(),
    );

    let url = format!("http://{prometheus}/api/v1/query?query=sum(up)");
    until(&url, |answer| {
        answer["data"]["result"][0]["value"][1] == "3"
    })
    .await;
    let alerts = until(&format!("http://{alertmanager}/api/v2/alerts"), |alerts| {
        alerts.as_array().is_some_and(|alerts| !alerts.is_empty())
    })
    .await;
    assert_eq!(alerts[0]["labels"]["alertname"], "Rehearsal");
    assert_eq!(alerts[0]["receivers"][0]["name"], "nobody");
}
