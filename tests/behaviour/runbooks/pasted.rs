//! The commands, queries and configurations that a reader copies from a runbook work.

use std::fs;
use std::process::Command;

use super::{INDEX, RULES, documents, read};
use crate::configurations::{blocks, blocks_of};
use crate::daemon::{Daemon, exporter, free_port};
use crate::documents::{below, root};
use crate::prometheus::{scraping, until};

/// Splits a shell block into commands, and these into words.
fn commands(block: &str) -> Vec<Vec<String>> {
    let lines = block.replace("\\\n", " ");
    let commands = lines
        .split(['\n', '|', ';'])
        .flat_map(|part| part.split("&&"));
    commands
        .map(|command| command.split_whitespace().map(str::to_owned).collect())
        .collect()
}

#[test]
fn the_commands_of_the_runbooks_are_shell_and_know_our_flags_paths_and_log_lines() {
    let flags = read("docs/flags.md");
    let readme = read("README.md");
    let code: String = below(&root().join("src"), "rs")
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let flag_exists = |flag: &str| {
        let name = flag.split('=').next().unwrap();
        ["=", "`"]
            .iter()
            .any(|end| flags.contains(&format!("| `{name}{end}")))
    };
    let (mut ours, mut messages) = (0, 0);
    for document in documents() {
        let blocks = blocks_of("sh", &document);
        for block in &blocks {
            let parsed = Command::new("bash").args(["-n", "-c", block]).output();
            let parsed = parsed.unwrap();
            assert!(parsed.status.success(), "{document}: {parsed:?}");
            for path in block.split("$exporter/").skip(1) {
                let path = path.split(['"', ' ']).next().unwrap();
                assert!(readme.contains(&format!("| `/{path}` |")), "/{path}");
            }
            for quoted in block.split("grep --fixed-strings '").skip(1) {
                messages += said(&code, quoted);
            }
            for quoted in block.split("--regexp='").skip(1) {
                messages += said(&code, quoted);
            }
        }
        for command in blocks.iter().flat_map(|block| commands(block)) {
            if command
                .first()
                .is_none_or(|word| word != "connections-exporter")
            {
                continue;
            }
            for word in &command[1..] {
                let known = match word.strip_prefix("--") {
                    Some(_) => flag_exists(word),
                    None => flags.contains(&format!("\n## connections-exporter {word}\n")),
                };
                assert!(known, "{document}: {word}");
            }
            ours += 1;
        }
        // In these documents only the exporter's flags contain a dot.
        let text = read(&document);
        let spans = text.split('`').filter(|span| span.starts_with("--"));
        for span in spans.filter(|span| span.split('=').next().unwrap().contains('.')) {
            assert!(flag_exists(span.split(' ').next().unwrap()), "{span}");
        }
    }
    assert!(ours >= 5, "{ours}");
    assert!(messages >= 15, "{messages}");
}

/// Asserts that the code logs the message or reason that a command searches for; returns 1.
fn said(code: &str, quoted: &str) -> usize {
    let text = quoted.split('\'').next().unwrap();
    let literal = match text.strip_prefix("reason=") {
        Some(reason) => format!("=> \"{reason}\""),
        None => text.to_owned(),
    };
    let there = code
        .lines()
        .any(|line| line.contains('"') && line.contains(&literal));
    assert!(there, "no line of the log has {text}");
    1
}

/// Returns a query with a matcher in place of each label value that the reader fills in.
fn filled(query: &str) -> String {
    let mut parts = query.split("=\"$");
    let mut filled = parts.next().unwrap().to_owned();
    for part in parts {
        let (label, rest) = part.split_once('"').unwrap();
        let known = [
            "system",
            "account",
            "target",
            "connection",
            "instance",
            "entity",
        ];
        assert!(known.contains(&label), "${label} of {query}");
        // Any value that is not empty. Otherwise a label that does not exist would match.
        filled += "=~\".+\"";
        filled += rest;
    }
    assert!(!filled.contains('$'), "{filled}");
    filled
}

/// A query that may return nothing has the comment `# nothing`.
#[tokio::test]
#[ignore = "needs prometheus: make test"]
async fn each_query_is_understood_by_prometheus_and_finds_what_it_is_for() {
    let folder = tempfile::tempdir().unwrap();
    let own = format!("127.0.0.1:{}", free_port());
    let _daemon = Daemon::start(
        &mut exporter(&["demo", "--demo.still", "--web.listen-address", &own]),
        own.parse().unwrap(),
    );
    // Rules with an interval of minutes are evaluated every second here.
    let mut rules = String::new();
    for line in read(RULES)
        .lines()
        .filter(|line| !line.starts_with("    interval: "))
    {
        rules += line;
        rules += "\n";
        if line.starts_with("  - name: ") {
            rules += "    interval: 1s\n";
        }
    }
    let file = folder.path().join("rules.yaml");
    fs::write(&file, rules).unwrap();
    let jobs = format!(
        "  - job_name: exporter\n    static_configs: [{{targets: ['{own}']}}]\nrule_files: \
            ['{}']\n",
        file.display()
    );
    let prometheus = scraping(folder.path(), &jobs);
    let ask = format!("http://{}/api/v1/query", prometheus.address);
    let mut found = 0;
    for document in documents() {
        for block in blocks_of("promql", &document) {
            let query = filled(&block)
                .replace(":1m]", ":1s]")
                .replace(":5m]", ":1s]");
            let url = reqwest::Url::parse_with_params(&ask, [("query", &query)]).unwrap();
            let may_be_nothing = block.contains("# nothing");
            until(url.as_str(), |answer| {
                let understood = answer["status"] == "success";
                understood && (may_be_nothing || !answer["data"]["result"][0].is_null())
            })
            .await;
            found += usize::from(!may_be_nothing);
        }
    }
    assert!(found >= 40, "{found}");
}

#[test]
#[ignore = "needs promtool, amtool and jsonnet: make test"]
fn what_the_index_gives_to_prometheus_and_alertmanager_is_well() {
    let folder = tempfile::tempdir().unwrap();
    let well = |program: &str, arguments: &[&str]| {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(&folder)
            .output()
            .unwrap();
        assert!(output.status.success(), "{program}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let mut checked = 0;
    for block in blocks(INDEX) {
        fs::write(folder.path().join("block.yaml"), &block).unwrap();
        match block.split(':').next() {
            Some("# rules-values.yaml\nlabels") => continue,
            Some("groups") => well("promtool", &["check", "rules", "block.yaml"]),
            Some("route") => well("amtool", &["check-config", "block.yaml"]),
            _ => well(
                "promtool",
                &["check", "config", "--syntax-only", "block.yaml"],
            ),
        };
        checked += 1;
    }
    assert!(checked >= 4, "{checked}");

    // The example of settings.
    let shell = blocks_of("sh", INDEX);
    let mut examples = shell.iter();
    let example = examples.find(|block| block.starts_with("jsonnet "));
    let mut values = blocks(INDEX).into_iter();
    let values = values.find(|block| block.starts_with("# rules-values.yaml"));
    fs::write(folder.path().join("rules-values.yaml"), values.unwrap()).unwrap();
    std::os::unix::fs::symlink(root().join("deploy"), folder.path().join("deploy")).unwrap();
    well("bash", &["-e", "-c", example.unwrap()]);
    let rules = fs::read_to_string(folder.path().join("alerts.yaml")).unwrap();
    for (text, there) in [
        ("team: integrations", true),
        ("https://grafana.example.com/d/", true),
        ("14 * 86400", true),
        ("> 0.95", true),
        ("alert: BasicAuthConnections", false),
        ("for: 15m\n        keep_firing_for: 6h", true),
    ] {
        assert_eq!(rules.contains(text), there, "{text}");
    }
    // The mixin has the same settings.
    let mixin = blocks_of("jsonnet", INDEX).remove(0);
    let mixin = mixin.replace("mixin.libsonnet", "deploy/mixin/mixin.libsonnet");
    let alerts = format!("({mixin}).prometheusAlerts");
    let alerts = well("jsonnet", &["--exec", &alerts]);
    assert!(alerts.contains("\"team\": \"integrations\"") && alerts.contains("> 0.95"));
    // kube-prometheus makes one object of both.
    let both = format!(
        "local m = {mixin}; {{groups: m.prometheusRules.groups + m.prometheusAlerts.groups}}"
    );
    let file = folder.path().join("mixin.json");
    fs::write(&file, well("jsonnet", &["--exec", &both])).unwrap();
    well("promtool", &["check", "rules", file.to_str().unwrap()]);
    let dashboards = well(
        "jsonnet",
        &[
            "--exec",
            &format!("std.objectFields(({mixin}).grafanaDashboards)"),
        ],
    );
    assert_eq!(dashboards.matches(".json").count(), 3);
}

/// Runs jsonnet with these values, and returns the rules or the error.
fn rules_of(values: &str) -> Result<String, String> {
    let output = Command::new("jsonnet")
        .args(["--string", "--tla-str", &format!("values={values}")])
        .arg(root().join("deploy/mixin/manifest.jsonnet"))
        .output()
        .unwrap();
    let [said, error] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    if output.status.success() {
        Ok(said)
    } else {
        Err(error)
    }
}

#[test]
#[ignore = "needs jsonnet: make test"]
fn a_wrong_setting_of_the_rules_is_an_error_that_says_what_is_allowed() {
    for (values, said) in [
        (
            "treshold: {}",
            "unknown name \"treshold\" in the file; allowed: alerts, grafanaUrl",
        ),
        (
            "thresholds: {pending: 3}",
            "unknown name \"pending\" in thresholds; allowed: apiToken",
        ),
        (
            "thresholds: {pendingDays: often}",
            "thresholds.pendingDays is often; allowed: a number above 0",
        ),
        (
            "thresholds: {pendingDays: -1}",
            "thresholds.pendingDays is -1",
        ),
        (
            "alerts: {ConnectionFell: {}}",
            "unknown name \"ConnectionFell\" in alerts; allowed: BasicAuth",
        ),
        (
            "alerts: {ConnectionsFell: 1}",
            "alerts.ConnectionsFell is 1; allowed: a map of enabled",
        ),
        (
            "alerts: {ConnectionsFell: {severity: page}}",
            "severity is page; allowed: critical, info, warning",
        ),
        (
            "alerts: {ConnectionsFell: {for: soon}}",
            "for is soon; allowed: a duration such as 15m",
        ),
        (
            "alerts: {ConnectionsFell: {for: mm}}",
            "for is mm; allowed: a duration such as 15m",
        ),
        (
            "alerts: {ConnectionsFell: {expr: up}}",
            "unknown name \"expr\" in alerts.ConnectionsFell",
        ),
        (
            "labels: {team: [a]}",
            "labels is {\"team\": [\"a\"]}; allowed: a map of texts",
        ),
        ("grafanaUrl: 3", "grafanaUrl is 3; allowed: a URL"),
    ] {
        let error = rules_of(values).expect_err(values);
        assert!(error.contains(said), "{values}: {error}");
    }
    // A file with nothing but comments changes nothing.
    for values in ["", "# nothing\n", "\n\n"] {
        assert_eq!(rules_of(values), Ok(read(RULES)), "{values:?}");
    }
}
