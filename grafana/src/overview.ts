//! Overview: is everything well, what expires next, what is not connected, and what is blind?

import { build, to, toRow } from "./dashboard";
import { DATE, DURATION, GREEN, MUTE, NEUTRAL, NO_RULES, ORIGIN, legend, none, stat, states, table, timeseries } from "./panels";
import { HISTORY, changes, dated, seen, withHistory } from "./shared";
import { BELIEVED, EDGES, SEVERITIES, TOKENS, truth } from "./states";
import * as q from "./queries";

const NOBODY = "no exporter";
const ALERTS = 'alertname=~"Connection.*|ExpectedConnection.*|BasicAuth.*"';
// An alert of an account has no target, one of the exporter no account: those stay, whatever is chosen.
const concerned = ["cluster", "job", "system", "account", "target"].map((label) => `${label}=~"($${label})|"`).join(",");

const tile = { span: 3, height: 4, unit: "none", empty: NOBODY };
const tiles = [
  stat({
    ...tile,
    span: 2,
    title: "Exporters down",
    description:
      "Instances that Prometheus cannot scrape now, of those that it could within the last day. An instance of which it scrapes a part for each account counts as one, and is down if any part is. An instance that Prometheus no longer knows does not count: see the alerts.",
    expr: `sum(${q.instances} == bool 0)`,
    steps: none("red"),
    runbooks: ["ConnectionsExporterDown", "ConnectionsExporterAbsent", "ConnectionsAccountMissing"],
    to: to("budget"),
  }),
  stat({
    ...tile,
    span: 2,
    title: "Alert rules",
    description:
      "Whether the data source has results of the recording rules in deploy/prometheus/alerts.yaml. Without them the list of alerts is empty and no token is judged.",
    expr: q.rules,
    steps: NEUTRAL,
    mappings: states(truth("not found", "loaded")),
  }),
  stat({
    ...tile,
    span: 2,
    title: "Targets blind",
    description:
      "Targets that were never listed, or whose listing is stale: older than three polling intervals and a minute. What is shown of them is old or missing. They are the rows stale and never listed of the table Blind targets.",
    expr: `sum((${q.believed}) >= bool 3)`,
    steps: none("red"),
    runbooks: ["ConnectionsTargetStale"],
    to: to("budget"),
  }),
  stat({
    ...tile,
    title: "Targets failing",
    description:
      "Targets whose last poll gave no complete listing: the rows with a reason in the table Blind targets. Until the listing before it is stale, nothing is lost. Blind targets that fail count here, too.",
    expr: q.counted(q.max(q.TARGET, q.target("connections_exporter_target_failing")), q.interval),
    steps: none("orange"),
    runbooks: ["ConnectionsTargetFailing", "ConnectionsVendorOutage"],
    to: to("budget"),
  }),
  stat({
    ...tile,
    title: "Expected missing",
    description:
      "Connections that the configuration expects and the last listing does not have, or has with a status other than connected: the rows of the table Expected connections missing. Of a target without a current listing the last known answer counts.",
    expr: `sum(${q.expected} == bool 0)`,
    empty: "none expected",
    emptyColor: MUTE,
    steps: none("red"),
    runbooks: ["ExpectedConnectionMissing"],
    to: to("connections"),
  }),
  stat({
    ...tile,
    title: "Connections lost in 7 d",
    description:
      "Entity connections that were connected, and within the last 7 days were first seen disconnected or gone; until the two entities are connected again. Each counts once, although both of its ends may list it. They are the rows with a date in column Lost of the table Not connected.",
    expr: q.counted(q.lost, q.edgeStates),
    empty: "none listed",
    emptyColor: MUTE,
    steps: none("red"),
    runbooks: ["ConnectionDisconnected"],
    to: to("connections"),
  }),
  stat({
    ...tile,
    title: "Not connected now",
    description:
      "Entity connections with a status other than connected, and lost ones that are no longer listed: all rows of the table Not connected. A disconnect cannot be undone and its row may stay listed, so old ones are no alarm.",
    expr: q.counted(q.notConnected, q.edgeStates),
    empty: "none listed",
    emptyColor: MUTE,
    steps: none("yellow"),
    runbooks: ["ConnectionDisconnected", "ConnectionPending"],
    to: to("connections"),
  }),
  stat({
    ...tile,
    title: "Tokens to replace",
    description:
      "Stored tokens that have expired or expire within a day and that nothing is known to renew, and tokens whose regular renewal stopped more than a day ago: the red rows of the table Expiring next.",
    expr: q.tokensToReplace,
    mappings: NO_RULES,
    empty: "none listed",
    emptyColor: MUTE,
    steps: none("red"),
    runbooks: ["ConnectionTokenExpiryImminent", "ConnectionTokenRenewalStopped", "ConnectionTokenExpired"],
    to: to("connections"),
  }),
  stat({
    ...tile,
    title: "Tokens to check",
    description:
      "Stored tokens that expire soon and that nothing is known to renew, whose regular renewal is late, or whose refresh token was not used for 20 days: the yellow and orange rows of the table Expiring next.",
    expr: q.tokensToCheck,
    mappings: NO_RULES,
    empty: "none listed",
    emptyColor: MUTE,
    steps: none("orange"),
    runbooks: ["ConnectionTokenExpiring", "ConnectionTokenRenewalLate", "ConnectionRefreshTokenIdle"],
    to: to("connections"),
  }),
];

/** What an alert is about, in one row whatever other labels it has. */
const about = (of: string) => `label_replace(${of}, "connection", "$1", "expected", "(.+)")`;
const ROW = `alertname, ${q.INSTANCE}, system, account, target, connection, credential`;
const firing = (severity: string) => `ALERTS{alertstate="firing",severity=~"${severity}",${ALERTS},${concerned}}`;
/** What fires with such a severity, at its rank; one that fires with two is shown with the higher. */
const ranked = (severity: string, rank: number) => `${rank} * ${q.max(ROW, about(firing(severity)))}`;
const since = q.min(ROW, about(`(ALERTS_FOR_STATE{${ALERTS},${concerned}} and ignoring (alertstate) ${firing(".*")})`));

const alerts = table({
  title: "Alerts",
  description:
    "Alerts of deploy/prometheus/alerts.yaml that fire now. Since: when Prometheus first saw the condition, before the alert had waited for its duration; a restart of Prometheus starts it anew, except for alerts that wait for ten minutes or longer. A name leads to the runbook.",
  span: 24,
  height: 8,
  unit: "none",
  empty: "No alert fires, or the data source has no results of the rules: see the tile Alert rules",
  queries: [[".*", "info", "warning", "critical"].map(ranked).reverse().join("\nor "), dated(since), `time() - ${since}`],
  columns: [
    { from: "#A", title: "Severity", states: SEVERITIES, width: 90 },
    { from: "alertname", title: "Alert", runbook: true, width: 270 },
    { from: "#B", title: "Since", unit: DATE, width: 140 },
    { from: "#C", title: "For", ...DURATION, width: 110 },
    { from: "system", title: "System", width: 80 },
    { from: "account", title: "Account", width: 130 },
    { from: "target", title: "Target" },
    { from: "connection", title: "Connection" },
    { from: "credential", title: "Credential", width: 130 },
    { from: "instance", title: "Instance", width: 170 },
    ...ORIGIN,
  ],
  sort: [["Severity", true], ["Since", true]],
});

const failing = q.max(
  `${q.TARGET}, reason, runbook`,
  [
    "ConnectionsTargetFailing:.+",
    "ConnectionsTargetUnauthorized:unauthorized|credential",
    "ConnectionsTargetMismatch:integration_mismatch",
    "ConnectionsTargetForbidden:forbidden",
    "ConnectionsTargetRateLimited:rate_limited",
  ]
    .map((rule) => rule.split(":"))
    .reduce((inner, [alert, reasons]) => `label_replace(${inner}, "runbook", "${alert}", "reason", "${reasons}")`, q.target("connections_exporter_target_failing")),
);
const unreasoned = `label_replace(${q.blind} unless on (${q.TARGET}) ${failing}, "runbook", "ConnectionsTargetStale", "", "")`;
const ofBlind = (of: string) => `0 * (${failing} or ${unreasoned}) + on (${q.TARGET}) group_left () (${of})`;
const blind = table({
  title: "Blind targets",
  description:
    "Targets whose listing is stale or that were never listed (blind), and those whose last poll failed. Without a reason the polls do not fail but do not come, or have not come yet. Age: of the last complete listing, also in polling intervals. The exporter's log has the vendor's request id.",
  span: 24,
  height: 7,
  unit: "none",
  empty: "None of the targets of scraped exporters is blind or failing",
  runbooks: ["ConnectionsTargetFailing", "ConnectionsTargetStale"],
  queries: [
    ofBlind(q.believed),
    ofBlind(q.max(q.TARGET, q.target("connections_exporter_target_consecutive_failures"))),
    ofBlind(`round(${q.age})`),
    ofBlind(`${q.age} / ${q.interval}`),
  ],
  columns: [
    { from: "target", title: "Target", link: toRow("budget", ["job", "system", "account", "target"]) },
    { from: "account", title: "Account", width: 110 },
    { from: "#A", title: "Listing", states: BELIEVED, width: 95 },
    { from: "reason", title: "Reason", width: 110 },
    { from: "runbook", title: "Runbook", runbook: true, width: 215 },
    { from: "#B", title: "Failed polls", unit: "none", decimals: 0, width: 95 },
    { from: "#C", title: "Age", ...DURATION, width: 100 },
    { from: "#D", title: "In intervals", unit: "none", decimals: 1, width: 95 },
    ...ORIGIN,
    { from: "system", title: "System", hidden: true },
  ],
  sort: [["Listing", true], ["Age", true]],
});

const expiring = table({
  title: "Expiring next",
  description: `Stored tokens that need attention, and those that nothing is known to renew; also of targets without a current listing, where alerts still watch them. The red ones are counted by the tile Tokens to replace, the yellow and orange ones by Tokens to check, the others by neither. Not judged: no results of the recording rules yet. ${HISTORY}`,
  span: 24,
  height: 9,
  unit: "none",
  empty: "No known token needs attention",
  runbooks: ["ConnectionTokenExpiring", "ConnectionTokenRenewalLate", "ConnectionTokenExpired", "ConnectionRefreshTokenIdle"],
  ...(({ queries, columns }) => ({
    queries,
    columns: [
      { from: "connection", title: "Connection" },
      { from: "account", title: "Account", width: 120 },
      { from: "target", title: "Target", link: toRow("connections", ["job", "system", "account", "target"]) },
      { from: "#A", title: "State", states: TOKENS, width: 160 },
      ...columns,
      ...ORIGIN,
      { from: "system", title: "System", hidden: true },
    ],
  }))(withHistory([q.toWatch(q.tokenState)], ["left", "expiry", "grant", "lastRenewal", "nextRenewal", "lateBy", "listing"], q.toWatch)),
  sort: [["State", true], ["Expires in", false]],
});

const apart = table({
  title: "Not connected",
  description:
    "Entity connections whose status is not connected, and lost ones that are no longer listed, each once although both of its ends may list it. Lost: when a listing first showed that it is no longer connected, for 7 days; without a date it was lost earlier, replaced by another connection of the two entities, or never connected. Status since: when the exporter saw the status change.",
  span: 24,
  height: 8,
  unit: "none",
  empty: "No entity connection of a current listing is disconnected, pending or lost",
  runbooks: ["ConnectionDisconnected", "ConnectionPending"],
  queries: [q.notConnected, dated(q.lostAt), dated(q.apartLastConnectedAt), dated(q.apartStatusChangedAt)],
  columns: [
    { from: "source_name", title: "From" },
    { from: "target_name", title: "To" },
    { from: "account", title: "Account", link: toRow("connections", ["job", "system", "account"]), width: 110 },
    { from: "#A", title: "Status", states: EDGES, width: 115 },
    { from: "#B", title: "Lost", unit: DATE, width: 136 },
    { from: "#C", title: "Last connected", unit: DATE, width: 136 },
    { from: "#D", title: "Status since", unit: DATE, width: 136 },
    { from: "connection", title: "Connection" },
    ...ORIGIN,
    { from: "system", title: "System", hidden: true },
  ],
  sort: [["Lost", true], ["Status", false]],
});

const missing = table({
  title: "Expected connections missing",
  description:
    "What the configuration expects of a target (`expect`) and its last listing does not have: a connection's name, or the id of an entity without a connection to it that is connected.",
  span: 12,
  height: 8,
  unit: "none",
  empty: "No expected connection is known to be missing",
  runbooks: ["ExpectedConnectionMissing"],
  queries: [`${q.expected} == 0`, `0 * ${q.expected} + on (${q.TARGET}) group_left () (${q.believed}) and ${q.expected} == 0`],
  columns: [
    { from: "expected", title: "Expected" },
    { from: "target", title: "Target", link: toRow("connections", ["job", "system", "account", "target"]) },
    { from: "account", title: "Account", width: 110 },
    { from: "#A", title: "State", states: [["missing", "red"]], width: 80 },
    { from: "#B", title: "Listing", states: BELIEVED, width: 90 },
    ...ORIGIN,
    { from: "system", title: "System", hidden: true },
  ],
  sort: [["Account", false]],
});

const counts = timeseries({
  title: "Connections",
  description:
    "Connections by system, type and status. A Zuora connection between two polled entities counts as outbound of one and as inbound of the other. A fall can also be a listing that is no longer exported: see Listing of each target.",
  span: 12,
  height: 8,
  unit: "none",
  decimals: 0,
  steps: GREEN,
  empty: "No listing in this time",
  runbooks: ["ConnectionsFell", "BasicAuthConnections"],
  queries: [
    {
      expr: q.sum(`${q.ORIGIN}, system, connection_type, status`, q.max(`${q.TARGET}, connection_type, status`, q.target("saas_connections"))),
      legend: legend("{{system}} {{connection_type}} {{status}}"),
    },
  ],
});

export const overview = () =>
  build("overview", "Connections: overview", "Is everything well, what expires next, what is not connected, and what is blind?", "24h", [
    { title: "Status", panels: [...tiles, alerts] },
    { title: "Targets", panels: [blind, seen({ span: 24, height: 8 })] },
    { title: "Tokens", panels: [expiring] },
    { title: "Connections", panels: [apart, missing, counts] },
    { title: "Changes", panels: [changes({ span: 24, height: 8 })] },
  ]);
