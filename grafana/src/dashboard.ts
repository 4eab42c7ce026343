//! What the dashboards have in common: variables, annotations, links, and where panels stand.

import type { Builder } from "@grafana/grafana-foundation-sdk/cog";
import * as dashboard from "@grafana/grafana-foundation-sdk/dashboard";
import { DataqueryBuilder } from "@grafana/grafana-foundation-sdk/prometheus";
import { SOURCE } from "./panels";
import { effective, exporter, ours, paused } from "./queries";

const PROJECT = "https://github.com/connections-exporter/connections-exporter";
const TAG = "connections-exporter";

const UIDS = { overview: `${TAG}-overview`, connections: `${TAG}-connections`, budget: `${TAG}-budget` };
export type Name = keyof typeof UIDS;

const carried = (variables: string[]) => ["${__url_time_range}", ...variables.map((name) => `\${${name}:queryparam}`)].join("&");
/** Another dashboard, of the same accounts and targets at the same time. */
export const to = (name: Name) => `/d/${UIDS[name]}?${carried(["datasource", "cluster", "job", "system", "account", "target"])}`;
/** Another dashboard, of a row's account, or of its target alone. Rows may have no cluster. */
export const toRow = (name: Name, columns: ("job" | "system" | "account" | "target")[]) =>
  `/d/${UIDS[name]}?${carried(["datasource", "cluster"])}&${columns.map((column) => `var-${column}=\${__data.fields.${column}:percentencode}`).join("&")}`;

const all = { text: ["All"], value: ["$__all"], selected: true };

/** A choice among the values of a label, narrowed by the choices before it. */
const choice = (name: string, label: string, description: string, values: string, everything = ".+") =>
  new dashboard.QueryVariableBuilder(name)
    .label(label)
    .description(description)
    .datasource(SOURCE)
    .query({ query: values, refId: name, qryType: 1 })
    .refresh(dashboard.VariableRefresh.OnTimeRangeChanged)
    .sort(dashboard.VariableSort.AlphabeticalAsc)
    .multi(true)
    .includeAll(true)
    .allValue(everything)
    .current(all);

// There before the first poll, and while all of them fail.
const TARGETS = "connections_exporter_target_poll_interval_seconds";
const variables = [
  new dashboard.DatasourceVariableBuilder("datasource").label("Data source").type("prometheus").current({ text: "default", value: "default", selected: true }),
  // Without clusters no series has the label: what matches everything matches its absence, too.
  choice("cluster", "Cluster", "Label of the Prometheus server; none if it sets none", `label_values(${TARGETS}, cluster)`, ".*"),
  choice("job", "Job", "Scrape job of the exporters", `label_values(${TARGETS}{cluster=~"$cluster"}, job)`),
  choice("system", "System", "zuora or zis", `label_values(${TARGETS}{cluster=~"$cluster",job=~"$job"}, system)`),
  choice("account", "Account", "Name of the account in the exporter's configuration", `label_values(${TARGETS}{cluster=~"$cluster",job=~"$job",system=~"$system"}, account)`),
  choice(
    "target",
    "Target",
    "An entity or an integration",
    `label_values(${TARGETS}{cluster=~"$cluster",job=~"$job",system=~"$system",account=~"$account"}, target)`,
  ),
];

/** Marks on all panels over time. With `dated` the value is when it happened, else it is 1 for as long as it lasts. */
function annotation(name: string, color: string, expr: string, text: string, dated: boolean) {
  const built = new dashboard.AnnotationQueryBuilder()
    .name(name)
    .enable(true)
    .iconColor(color)
    .datasource(SOURCE)
    .expr(expr)
    .step("15s")
    .titleFormat(name)
    .textFormat(text)
    .tagKeys("")
    .useValueForTime(dated);
  return built.target(new DataqueryBuilder().refId(name).expr(expr).datasource(SOURCE));
}

const annotations = [
  annotation("Restart", "blue", `1000 * (${ours(exporter("process_start_time_seconds"))})`, "{{instance}} started", true),
  annotation("Reload", "green", `1000 * ${exporter("connections_exporter_config_last_reload_success_timestamp_seconds")}`, "{{instance}} loaded its configuration", true),
  annotation("Reload refused", "red", `${exporter("connections_exporter_config_last_reload_successful")} == bool 0`, "{{instance}} refused its configuration file and keeps the earlier one", false),
  annotation("Pause", "orange", `(1 + 0 * ${paused}) or 0 * ${effective}`, "No requests to {{system}} {{account}}: its vendor asked to wait, or the quota is used up", false),
];

const links = [
  new dashboard.DashboardLinkBuilder("Dashboards").type(dashboard.DashboardLinkType.Dashboards).tags([TAG]).includeVars(true).keepTime(true),
  new dashboard.DashboardLinkBuilder("Runbooks")
    .type(dashboard.DashboardLinkType.Link)
    .icon("doc")
    .tooltip("What to do about each alert")
    .url(`${PROJECT}/tree/main/docs/runbooks`)
    .targetBlank(true),
  new dashboard.DashboardLinkBuilder("Metrics")
    .type(dashboard.DashboardLinkType.Link)
    .icon("info")
    .tooltip("What each metric means")
    .url(`${PROJECT}/blob/main/docs/metrics.md`)
    .targetBlank(true),
];

export interface Section {
  title: string;
  panels: Builder<dashboard.Panel>[];
}

/**
 * What the SDK sets by default and Grafana 12.1 has no types for: a menu that links of a dashboard are put into, also those of panels and cells; and
 * on every variable what only intervals have.
 */
const foreign = (key: string, value: unknown) => (key === "placement" && value === "inControlsMenu") || ["auto", "auto_min", "auto_count"].includes(key);
const known = <T>(built: T): T => JSON.parse(JSON.stringify(built, (key, value) => (foreign(key, value) ? undefined : value)));

/** A dashboard of these sections, from above; rows of panels fill 24 columns. */
export function build(name: Name, title: string, description: string, range: string, sections: Section[]): dashboard.Dashboard {
  const builder = new dashboard.DashboardBuilder(title)
    .uid(UIDS[name])
    .description(description)
    .tags([TAG])
    .readonly()
    .timezone("browser")
    .tooltip(dashboard.DashboardCursorSync.Crosshair)
    .refresh("1m")
    .time({ from: `now-${range}`, to: "now" })
    .variables(variables)
    .annotations(annotations)
    .links(links);
  for (const { title, panels } of sections) {
    builder.withRow(new dashboard.RowBuilder(title));
    panels.forEach((panel) => builder.withPanel(panel));
  }
  const built = builder.build();
  built.panels?.forEach((panel, index) => (panel.id = index + 1));
  return known(built);
}
