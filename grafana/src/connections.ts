//! Connections: what the systems hold, of the accounts and targets that are chosen, and how it became so.

import { build, to, toRow } from "./dashboard";
import { MUTE, NEUTRAL, stat, table, timeline, timeseries } from "./panels";
import { changes, oldest, seen } from "./shared";
import { BELIEVED, EDGES, FATES, LOST, truth } from "./states";
import * as q from "./queries";

const dated = (metric: string) => `1000 * ${q.max(q.CONNECTION, q.target(metric))}`;

const tile = { span: 4, height: 4, unit: "none", empty: "nothing listed" };
const tiles = [
  stat({
    ...tile,
    title: "Connections",
    description: "How many there are, each once: an entity connection that both of its ends list is one.",
    steps: NEUTRAL,
    expr: `sum(${q.connections})`,
  }),
  stat({
    ...tile,
    title: "Entity connections up",
    description: "The share of entity connections that are connected, each counted once. Old disconnected rows may stay listed for ever.",
    unit: "percentunit",
    decimals: 0,
    empty: "none listed",
    emptyColor: MUTE,
    steps: [[null, "yellow"], [1, "green"]],
    expr: `avg((${q.edgeStates}) == bool 3)`,
    runbooks: ["ConnectionDisconnected"],
  }),
  stat({
    ...tile,
    title: "Tokens with an expiry",
    description: "Connections whose stored token has an expiry that the vendor tells.",
    steps: NEUTRAL,
    expr: `count(${q.left})`,
    empty: "none listed",
    emptyColor: MUTE,
  }),
  stat({
    ...tile,
    title: "Renewing",
    description: "Of the stored tokens, those whose expiry moved forward within 7 days. One that nobody uses does not renew, and is well all the same if it can.",
    steps: NEUTRAL,
    expr: `sum((${q.fate}) == bool 0)`,
    empty: "none listed",
    emptyColor: MUTE,
  }),
  stat({
    ...tile,
    title: "By password",
    description: "ZIS connections of type basic_auth. One that holds an API token of Zendesk's stops working on 2027-04-30, when the vendor ends those.",
    steps: NEUTRAL,
    expr: q.counted(q.max(q.CONNECTION, q.target("saas_connection_info", 'connection_type="basic_auth"')), q.max(q.TARGET, q.target("saas_connections"))),
    runbooks: ["BasicAuthConnections"],
  }),
  oldest({ ...tile, to: to("budget") }),
];

const counts = timeseries({
  title: "Connections by target",
  description: "How many rows each target's last listing had. An entity connection between two polled entities is a row of both.",
  span: 12,
  height: 8,
  unit: "none",
  decimals: 0,
  empty: "Nothing was listed yet",
  runbooks: ["ConnectionsFell"],
  queries: [{ expr: q.sum(q.TARGET, q.max(`${q.TARGET}, connection_type, status`, q.target("saas_connections"))), legend: "{{account}} · {{target}}" }],
});

const edges = timeline({
  title: "Entity connections over time",
  description: "The status of each, each counted once although both of its ends may list it. A gap: no listing has it, or none is on show.",
  span: 12,
  height: 11,
  unit: "none",
  empty: "No entity connections among what is chosen",
  runbooks: ["ConnectionDisconnected"],
  queries: [{ expr: q.edgeStates, legend: "{{source_name}} → {{target_name}}" }],
  states: EDGES,
});

const edgeTable = table({
  title: "Entity connections",
  description: "Each once, with both ends by name where the vendor tells it; also those lost within the last 24 hours that are no longer listed. Within a day: whether it was connected at some time within the last 24 hours.",
  span: 12,
  height: 11,
  unit: "none",
  empty: "No entity connections among what is chosen",
  runbooks: ["ConnectionDisconnected", "ConnectionPending"],
  queries: [q.allEdges, q.whetherLost(q.allEdges, `2 * (${q.allEdges} == bool 3)`)],
  columns: [
    { from: "source_name", title: "From" },
    { from: "target_name", title: "To" },
    { from: "#A", title: "Status", states: EDGES, width: 120 },
    { from: "#B", title: "Within a day", states: [...LOST, ["connected", "green"]], width: 130 },
    { from: "account", title: "Account", width: 110 },
    { from: "connection", title: "Connection" },
  ],
  sort: [["Status", false], ["From", false]],
});

const tokens = table({
  title: "Stored tokens",
  description:
    "All that have an expiry. It is in the past of any connection that nobody uses: systems renew a token when it is next used. So red needs more: no refresh token, no renewal seen within 7 days, and once seen with two days ahead. Renewals: since the exporter's start. Listing: how much of the row can be believed.",
  span: 24,
  height: 11,
  unit: "none",
  empty: "No stored token has an expiry",
  runbooks: ["ConnectionTokenExpiring", "ConnectionTokenNotRenewed", "ConnectionTokenExpired"],
  queries: [q.fate, q.left, dated("saas_connection_token_expiry_timestamp_seconds"), q.refresh, q.renewals, q.believedOf(q.left)],
  columns: [
    { from: "connection", title: "Connection" },
    { from: "connection_type", title: "Type", width: 90 },
    { from: "account", title: "Account" },
    { from: "target", title: "Target", link: toRow("connections", ["system", "account", "target"]) },
    { from: "#A", title: "Judgement", states: FATES },
    { from: "#B", title: "Ends in", unit: "dtdurations", decimals: 0 },
    { from: "#C", title: "Ends at", unit: "dateTimeAsIso", width: 170 },
    { from: "#D", title: "Refresh token", states: [["none", "text"], ["stored", "green"]], width: 120 },
    { from: "#E", title: "Renewals", unit: "none", decimals: 0, width: 100 },
    { from: "#F", title: "Listing", states: BELIEVED, width: 110 },
    { from: "system", title: "System", width: 80 },
  ],
  sort: [["Judgement", true], ["Ends in", false]],
});

const tokenStates = timeline({
  title: "Tokens over time",
  description: "Whether each stored token's expiry is ahead or past. One that changes between the two is renewed when it is used; one that stays past is idle, or dead if it cannot renew.",
  span: 12,
  height: 10,
  unit: "none",
  empty: "No stored token has an expiry",
  queries: [{ expr: `${q.left} > bool 0`, legend: "{{target}} · {{connection}}" }],
  states: [["past its expiry", "blue"], ["valid", "green"]],
});

const timeLeft = timeseries({
  title: "Time left of the twenty that end first",
  description: "A line that falls through the red one without coming back is a token that nobody renewed. It comes back when the token is renewed.",
  span: 12,
  height: 10,
  unit: "dtdurations",
  decimals: 0,
  steps: [[null, "red"], [0, "transparent"]],
  line: true,
  empty: "No stored token has an expiry",
  runbooks: ["ConnectionTokenNotRenewed"],
  queries: [{ expr: `bottomk(20, ${q.left})`, legend: "{{target}} · {{connection}}" }],
});

const info = q.max(`${q.CONNECTION}, status, header_name, allowed_domain, permission_scope`, q.target("saas_connection_info"));
const rows = table({
  title: "All rows",
  description: "Every row of the last listings; an entity connection is a row of both of its ends. Dates are there where the vendor tells them.",
  span: 24,
  height: 11,
  unit: "none",
  empty: "Nothing is listed",
  queries: [
    `0 * ${info} + on (${q.TARGET}) group_left () (\n${q.believed}\n)`,
    `0 * ${info} + on (${q.CONNECTION}) group_left () ${dated("saas_connection_created_timestamp_seconds")}`,
    `0 * ${info} + on (${q.CONNECTION}) group_left () ${dated("saas_connection_updated_timestamp_seconds")}`,
  ],
  columns: [
    { from: "connection", title: "Connection" },
    { from: "connection_type", title: "Type", width: 110 },
    { from: "status", title: "Status", width: 110 },
    { from: "account", title: "Account", width: 110 },
    { from: "target", title: "Target", link: toRow("connections", ["system", "account", "target"]) },
    { from: "allowed_domain", title: "Allowed domain" },
    { from: "header_name", title: "Header" },
    { from: "permission_scope", title: "Scope" },
    { from: "#B", title: "Made", unit: "dateTimeAsIso", width: 170 },
    { from: "#C", title: "Changed", unit: "dateTimeAsIso", width: 170 },
    { from: "#A", title: "Listing", states: BELIEVED, width: 110 },
    { from: "system", title: "System", width: 80 },
  ],
  sort: [["Target", false], ["Type", false]],
});

const expected = table({
  title: "Expected",
  description: "What the configuration expects of each target (`expect`), and whether its last listing has it.",
  span: 8,
  height: 9,
  unit: "none",
  empty: "Nothing is expected: see `expect` in the configuration",
  runbooks: ["ExpectedConnectionMissing"],
  queries: [q.min(`${q.TARGET}, expected`, q.target("saas_connection_expected_present"))],
  columns: [
    { from: "expected", title: "Expected" },
    { from: "target", title: "Target" },
    { from: "account", title: "Account" },
    { from: "#A", title: "State", states: truth("missing", "there"), width: 100 },
  ],
  sort: [["State", false]],
});

const renewed = timeseries({
  title: "Renewals",
  description: "How often the expiry of a stored token moved forward between two polls, by target. More often than polls, renewals are not seen one by one.",
  span: 8,
  height: 9,
  unit: "none",
  decimals: 0,
  empty: "Nothing was renewed",
  bars: true,
  queries: [{ expr: `${q.sum("account, target", q.increase(q.target("saas_connection_token_renewals_total")))} > 0`, legend: "{{account}} · {{target}}" }],
});

export const connections = () =>
  build("connections", "Connections: what the systems hold", "Of the accounts and targets that are chosen: what there is, in what state, and how it became so.", "6h", [
    { title: "In view", panels: [...tiles, counts, seen({ span: 12, height: 8 })] },
    { title: "Between entities", panels: [edges, edgeTable] },
    { title: "Stored tokens", panels: [tokens, tokenStates, timeLeft] },
    { title: "Expected, changed, renewed", panels: [expected, changes({ span: 8, height: 9 }), renewed] },
    { title: "All rows", panels: [rows] },
  ]);
