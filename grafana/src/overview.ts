//! Overview: is everything well, what ends next, what is not connected, and what is blind?

import { build, to, toRow } from "./dashboard";
import { GREEN, MUTE, none, stat, table, timeseries } from "./panels";
import { changes, seen } from "./shared";
import { BELIEVED, EDGES, FATES, LOST, SEVERITIES } from "./states";
import * as q from "./queries";

const NOBODY = "no exporter";
const ALERTS = 'alertname=~"Connection.*|ExpectedConnection.*|BasicAuth.*"';
// An alert of an account has no target, one of the exporter no account: those stay, whatever is chosen.
const concerned = ["system", "account", "target"].map((label) => `${label}=~"($${label})|"`).join(",");

const tile = { span: 3, height: 4, unit: "none", empty: NOBODY };
const tiles = [
  stat({
    ...tile,
    title: "Exporters down",
    description: "Instances that Prometheus cannot scrape now, of those that it could within the last day. One of which it scrapes a part for each account is one, and down if any part is. What they watch is not seen meanwhile.",
    expr: `sum(${q.instances} == bool 0)`,
    steps: none("red"),
    runbooks: ["ConnectionsExporterDown", "ConnectionsExporterAbsent"],
    to: to("budget"),
  }),
  stat({
    ...tile,
    title: "Targets blind",
    description: "Targets never listed, or not listed for three of their intervals: what else is shown of them is old or missing.",
    expr: `sum((${q.believed}) >= bool 3)`,
    steps: none("red"),
    runbooks: ["ConnectionsTargetStale", "ConnectionsTargetNeverListed"],
    to: to("budget"),
  }),
  stat({
    ...tile,
    title: "Targets failing",
    description: "Targets whose last poll gave no complete listing. The listing before it stays on show, so this alone is no loss yet.",
    expr: q.counted(q.max(q.TARGET, q.target("connections_exporter_target_failing")), q.interval),
    steps: none("orange"),
    runbooks: ["ConnectionsTargetFailing"],
    to: to("budget"),
  }),
  stat({
    ...tile,
    title: "Expected, missing",
    description: "Connections that the configuration expects and the last listing does not have; at Zuora also those that are there and not connected.",
    expr: `sum(${q.min(`${q.TARGET}, expected`, q.target("saas_connection_expected_present"))} == bool 0)`,
    empty: "none expected",
    emptyColor: MUTE,
    steps: none("red"),
    runbooks: ["ExpectedConnectionMissing"],
    to: to("connections"),
  }),
  stat({
    ...tile,
    title: "Edges lost in 24 h",
    description: "Entity connections that were connected at some time within the last 24 hours and are not now, each counted once although both of its ends may list it. One whose row is no longer listed counts, too.",
    expr: q.counted(q.lost, q.edgeStates),
    empty: "none listed",
    emptyColor: MUTE,
    steps: none("red"),
    runbooks: ["ConnectionDisconnected"],
    to: to("connections"),
  }),
  stat({
    ...tile,
    title: "Edges not connected",
    description: "Entity connections that are listed with a status other than connected, each counted once. A disconnect cannot be undone and its row may stay listed, so old ones are no alarm.",
    expr: `sum((${q.edgeStates}) < bool 3)`,
    empty: "none listed",
    emptyColor: MUTE,
    steps: none("yellow"),
    runbooks: ["ConnectionDisconnected", "ConnectionPending"],
    to: to("connections"),
  }),
  stat({
    ...tile,
    title: "Tokens ending in 24 h",
    description: "Stored tokens that ended or end within 24 hours, have no refresh token and were not seen to renew within 7 days. Of others a past expiry is no alarm, nor of those that never had 2 days ahead: they renew when next used.",
    expr: `sum((${q.fate}) >= bool 6)`,
    empty: "none listed",
    emptyColor: MUTE,
    steps: none("red"),
    runbooks: ["ConnectionTokenExpiring", "ConnectionTokenExpired"],
    to: to("connections"),
  }),
  stat({
    ...tile,
    title: "Tokens ending in 7 d",
    description: "The same for those that end in one to seven days, and for those that are past their expiry for a week although they store a refresh token, or for a day and never had 2 days ahead.",
    expr: q.counted(`0 * ((${q.fate}) >= 3 < 6) + 1`, q.left),
    empty: "none listed",
    emptyColor: MUTE,
    steps: none("orange"),
    runbooks: ["ConnectionTokenExpiring", "ConnectionTokenNotRenewed"],
    to: to("connections"),
  }),
];

/** What fires with such a severity, at its rank; one that fires with two is shown with the higher. */
const firing = (severity: string, rank: number) =>
  `${rank} * ${q.max(
    "alertname, system, account, target, connection",
    `label_replace(ALERTS{alertstate="firing",severity=~"${severity}",${ALERTS},${concerned}}, "connection", "$1", "expected", "(.+)")`,
  )}`;

const alerts = table({
  title: "Alerts",
  description: "What fires now, by the rules in deploy/prometheus/alerts.yaml. Without these rules it is empty, and says nothing; a click on a name leads to what to do.",
  span: 12,
  height: 8,
  unit: "none",
  empty: "No alert fires. (Only true with the rules of deploy/prometheus loaded.)",
  queries: [[".*", "info", "warning", "critical"].map(firing).reverse().join("\nor ")],
  columns: [
    { from: "#A", title: "Severity", states: SEVERITIES, width: 90 },
    { from: "alertname", title: "Alert", runbook: true, width: 240 },
    { from: "account", title: "Account", width: 110 },
    { from: "target", title: "Target" },
    { from: "connection", title: "Connection" },
  ],
  sort: [["Severity", true]],
});

const ending = table({
  title: "What ends next",
  description:
    "Stored tokens that will not renew by all that is known: no refresh token, and no renewal seen within 7 days; or past their expiry for a week although a refresh token is stored. Short-lived: never seen with two days ahead, as by client_credentials, and past for a day. A click on the target shows all of its tokens.",
  span: 12,
  height: 9,
  unit: "none",
  empty: "Nothing that is listed now ends without renewing",
  runbooks: ["ConnectionTokenExpiring", "ConnectionTokenNotRenewed", "ConnectionTokenExpired"],
  queries: [`(${q.fate}) > 1`, `${q.left} and ((${q.fate}) > 1)`, `${q.believedOf(q.left)} and ((${q.fate}) > 1)`],
  columns: [
    { from: "connection", title: "Connection" },
    { from: "account", title: "Account", width: 110 },
    { from: "target", title: "Target", link: toRow("connections", ["system", "account", "target"]) },
    { from: "#B", title: "Ends in", unit: "dtdurations", decimals: 0, width: 130 },
    { from: "#A", title: "Judgement", states: FATES, width: 140 },
    { from: "#C", title: "Listing", states: BELIEVED, width: 90 },
    { from: "system", title: "System", hidden: true },
  ],
  sort: [["Judgement", true], ["Ends in", false]],
});

const apart = table({
  title: "What is not connected",
  description: "Entity connections whose status is not connected, and those lost within the last 24 hours that are no longer listed, each once, although both of its ends may list it. Within a day: whether it was connected at some time within the last 24 hours, so that it was lost since.",
  span: 12,
  height: 9,
  unit: "none",
  empty: "Nothing that is listed now is disconnected or pending, and nothing was lost within a day",
  runbooks: ["ConnectionDisconnected", "ConnectionPending"],
  queries: [q.notConnected, q.whetherLost(q.notConnected, `0 * ${q.notConnected}`)],
  columns: [
    { from: "source_name", title: "From" },
    { from: "target_name", title: "To" },
    { from: "account", title: "Account", link: toRow("connections", ["system", "account"]), width: 110 },
    { from: "#A", title: "Status", states: EDGES, width: 115 },
    { from: "#B", title: "Within a day", states: LOST, width: 125 },
    { from: "connection", title: "Connection" },
    { from: "system", title: "System", hidden: true },
  ],
  sort: [["Within a day", true], ["Status", false]],
});

const failing = q.max(`${q.TARGET}, reason, runbook`, ["ConnectionsTargetFailing:.+", "ConnectionsTargetUnauthorized:unauthorized|credential", "ConnectionsTargetMismatch:integration_mismatch", "ConnectionsTargetForbidden:forbidden", "ConnectionsTargetRateLimited:rate_limited"]
  .map((rule) => rule.split(":"))
  .reduce((inner, [alert, reasons]) => `label_replace(${inner}, "runbook", "${alert}", "reason", "${reasons}")`, q.target("connections_exporter_target_failing")));
const blind = table({
  title: "What is blind, and why",
  description: "Targets whose last poll failed: for how many polls, and how old what is shown of them is. The reason leads to what to do; the exporter's log has the vendor's request id.",
  span: 14,
  height: 8,
  unit: "none",
  empty: "Every target was listed when last polled",
  runbooks: ["ConnectionsTargetFailing", "ConnectionsTargetStale"],
  queries: [
    `${failing} * 0 + on (${q.TARGET}) group_left () (\n${q.believed}\n)`,
    `${failing} * 0 + on (${q.TARGET}) group_left () ${q.max(q.TARGET, q.target("connections_exporter_target_consecutive_failures"))}`,
    `${failing} * 0 + on (${q.TARGET}) group_left () (${q.age})`,
  ],
  columns: [
    { from: "target", title: "Target", link: toRow("budget", ["system", "account", "target"]) },
    { from: "account", title: "Account", width: 90 },
    { from: "#A", title: "Listing", states: BELIEVED, width: 85 },
    { from: "reason", title: "Reason", width: 120 },
    { from: "runbook", title: "What to do", runbook: true, width: 210 },
    { from: "#B", title: "Failed polls", unit: "none", decimals: 0, width: 100 },
    { from: "#C", title: "Age", unit: "s", decimals: 0, width: 90 },
    { from: "system", title: "System", hidden: true },
  ],
  sort: [["Listing", true], ["Age", true]],
});

const missing = table({
  title: "What is missing",
  description: "What the configuration expects of a target (`expect`) and its last listing does not have: a connection's name, or the id of an entity that there is no connected edge to.",
  span: 10,
  height: 8,
  unit: "none",
  empty: "Nothing that is expected of a listed target is missing",
  runbooks: ["ExpectedConnectionMissing"],
  queries: [`${q.min(`${q.TARGET}, expected`, q.target("saas_connection_expected_present"))} == 0`],
  columns: [
    { from: "expected", title: "Expected" },
    { from: "target", title: "Target", link: toRow("connections", ["system", "account", "target"]) },
    { from: "account", title: "Account" },
    { from: "#A", title: "State", states: [["missing", "red"]] },
    { from: "system", title: "System", hidden: true },
  ],
  sort: [["Account", false]],
});

const counts = timeseries({
  title: "Connections",
  description: "How many there are, by system, type and status. A Zuora connection between two polled entities counts as outbound of one and as inbound of the other. A fall can also be a listing that is on show no more: see what is seen of each target.",
  span: 12,
  height: 8,
  unit: "none",
  decimals: 0,
  steps: GREEN,
  empty: "Nothing was listed yet",
  runbooks: ["ConnectionsFell", "BasicAuthConnections"],
  queries: [
    {
      expr: q.sum("system, connection_type, status", q.max(`${q.TARGET}, connection_type, status`, q.target("saas_connections"))),
      legend: "{{system}} {{connection_type}} {{status}}",
    },
  ],
});

export const overview = () =>
  build("overview", "Connections: overview", "Is everything well, what ends next, what is not connected, and what is blind?", "24h", [
    { title: "Is everything well?", panels: [...tiles, alerts, seen({ span: 12, height: 8 })] },
    { title: "What ends next, and what is not connected?", panels: [ending, apart] },
    { title: "What is blind, and what is missing?", panels: [blind, missing] },
    { title: "What changed?", panels: [counts, changes({ span: 12, height: 8 })] },
  ]);
