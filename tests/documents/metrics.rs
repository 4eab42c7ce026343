//! `docs/metrics.md`: every metric, and the label values that are fixed.

use std::fmt::Write as _;

use super::{GENERATED, SYSTEMS, code, hold, table};
use crate::metrics::described;
use crate::metrics::described::Described;
use crate::model::error::Reason;

/// Headings, with prefixes of the metrics below them. The first heading with a matching prefix is
/// used.
const GROUPS: [(&str, &[&str]); 5] = [
    ("What the systems hold", &["saas_"]),
    (
        "Whether that can be believed",
        &[
            "connections_exporter_target_",
            "connections_exporter_discovery_",
            "connections_exporter_polls_",
        ],
    ),
    (
        "What it costs the vendor, and what the vendor says",
        &[
            "connections_exporter_api_",
            "connections_exporter_credential_",
        ],
    ),
    ("The exporter itself", &["connections_exporter_"]),
    ("The process", &["process_"]),
];

const BEGINNING: &str = "
# Metrics

Labels are in the field's own words: `system`, `account` (from the configuration), `target` (the name of an entity or an integration), `connection`
(at Zuora its id, at ZIS its name), `connection_type`. A value over 256 bytes is cut, and ends in `…` and 8 digits of a hash. What does not exist
has no sample: there is no NaN, no infinity and no -1 for unknown. A label that says nothing of a connection is empty.

`/metrics?account=production` is the part of the page that carries this label, and so with `system` and `target`; each as often as needed: values of one
label are alternatives, different labels narrow together. `/metrics?own=1` is what carries neither `account` nor `target`: the exporter and its process, and the request durations,
which all accounts of a system share. So each series is on exactly one of the parts that `/sd` lists: one for each account, and `own=1`. A name that there is not gives
an empty page; a parameter that there is not, an empty value, or `own` with another is refused with status 400, since the whole page in place of a part would store everything many times.

The page is OpenMetrics 1.0 if `Accept` prefers it, as Prometheus does, and else the text format 0.0.4. OpenMetrics also has the units, and
`_created` for the counters and the histogram of the process. There, a counter's metadata has its name without `_total`. All other series are the same.
OpenMetrics 0.0.1 and text 1.0.0 are sent to scrapers that ask for them, with the same lines.
";

fn group(name: &str) -> usize {
    let fits = |(_, begins): &(&str, &[&str])| begins.iter().any(|begin| name.starts_with(begin));
    let group = GROUPS.iter().position(fits);
    group.unwrap_or_else(|| panic!("{name} begins as no metric of ours does"))
}

fn metrics(all: &[Described]) -> String {
    let mut text = String::new();
    for (index, (heading, _)) in GROUPS.iter().enumerate() {
        let rows = all
            .iter()
            .filter(|metric| group(&metric.name) == index)
            .map(|metric| {
                [
                    code([metric.name.as_str()]),
                    format!("{:?}", metric.kind).to_lowercase(),
                    code(metric.labels.iter().map(String::as_str)),
                    metric.help.clone(),
                ]
            });
        let _ = write!(
            text,
            "\n## {heading}\n\n{}",
            table(["metric", "type", "labels", "meaning"], rows)
        );
    }
    text
}

fn values() -> String {
    let families = described::from_the_start();
    let values = described::values(&families);
    let fixed = values
        .iter()
        .filter(|((_, label), values)| *label != "reason" && values.len() > 1)
        .map(|((metric, label), values)| {
            [
                code([*metric]),
                code([*label]),
                code(values.iter().map(String::as_str)),
            ]
        });
    let fixed = table(["metric", "label", "values"], fixed);
    let kinds = SYSTEMS.iter().flat_map(|system| {
        system.zero_series.iter().map(|(kind, status)| {
            let status = if status.is_empty() {
                "(empty)".to_owned()
            } else {
                code([*status])
            };
            [code([system.name]), code([*kind]), status]
        })
    });
    let kinds = table(["`system`", "`connection_type`", "`status`"], kinds);
    let reasons = Reason::ALL.map(|reason| [code([reason.label()]), reason.remedy().to_owned()]);
    let reasons = table(["`reason`", "what to do"], reasons);
    format!(
        "
## Values of labels

### Types and statuses

These pairs of `saas_connections` are there even at 0. What no document of the vendor's knows is `other`, and counted by
`connections_exporter_unknown_values_total`.

{kinds}
### Reasons

Why a poll failed, or a discovery: in `connections_exporter_target_failing` while it does, and counted in
`connections_exporter_api_errors_total`, where each is there at 0 from the start. The log has the vendor's own codes and the id of the request.

{reasons}
### Others

{fixed}"
    )
}

#[test]
fn the_page_of_metrics_is_what_the_code_says() {
    let schema = crate::config::schema::schema();
    for (key, of) in schema["properties"].as_object().unwrap() {
        let told = SYSTEMS.iter().any(|system| system.name == key);
        assert!(
            told || of.get("items").is_none(),
            "{key} is not among SYSTEMS"
        );
    }
    let all = described::all();
    for family in described::from_the_start() {
        let name = family.name();
        assert!(
            all.iter().any(|metric| metric.name == name),
            "{name} is not described"
        );
    }
    hold(
        "docs/metrics.md",
        &format!("{GENERATED}{BEGINNING}{}{}", metrics(&all), values()),
    );
}
