//! Connections: what the systems hold, of the accounts and targets that are chosen, and how it became so.

import { build, to, toRow } from "./dashboard";
import { DATE, MUTE, NEUTRAL, NO_RULES, ORIGIN, type States, legend, none, stat, table, timeline, timeseries } from "./panels";
import { HISTORY, changes, dated, oldest, seen, withHistory } from "./shared";
import { BELIEVED, EDGES, TOKENS, truth } from "./states";
import * as q from "./queries";

const tile = { span: 3, height: 4, unit: "none", empty: "nothing listed" };
const tiles = [
  stat({
    ...tile,
    title: "Connections",
    description:
      "Number of connections. An entity connection that both of its ends list counts once here, and is two rows of the table All rows.",
    steps: NEUTRAL,
    expr: `count(${q.connections})`,
  }),
  stat({
    ...tile,
    title: "Connected",
    description:
      "Share of the listed entity connections that are connected, each counted once. Old disconnected rows may stay listed for ever. Rows of the table Entity connections that are no longer listed do not count.",
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
    title: "Entities not reached",
    description:
      "Provisioned entities that the credential cannot access, so that their connections are not monitored. Known where the vendor's list decides what is polled.",
    steps: none("orange"),
    expr: `sum(${q.unreached})`,
    empty: "not known",
    emptyColor: MUTE,
    runbooks: ["ConnectionsEntitiesUnreached"],
  }),
  stat({
    ...tile,
    title: "Tokens with an expiry",
    description: "Connections whose stored token has an expiry that the vendor tells: the rows of the table Stored tokens. Of a target without a current listing only those that alerts still watch.",
    steps: NEUTRAL,
    expr: `count(${q.tokens})`,
    empty: "none listed",
    emptyColor: MUTE,
  }),
  stat({
    ...tile,
    title: "Renewed tokens",
    description:
      "Stored tokens that were seen to be renewed and are not late: the rows renewed of the table Stored tokens. Others can be well, too: a connection that nobody uses does not renew its token.",
    steps: NEUTRAL,
    mappings: NO_RULES,
    expr: q.tokensRenewed,
    empty: "none listed",
    emptyColor: MUTE,
  }),
  stat({
    ...tile,
    title: "basic_auth",
    description:
      "ZIS connections of type basic_auth. One that holds an API token of Zendesk's stops working on 2027-04-30, when the vendor ends those.",
    steps: NEUTRAL,
    expr: q.counted(q.max(q.CONNECTION, q.target("saas_connection_info", 'connection_type="basic_auth"')), q.max(q.TARGET, q.target("saas_connections"))),
    runbooks: ["BasicAuthConnections", "ConnectionApiTokenEnding"],
  }),
  oldest({ ...tile, span: 6, to: to("budget") }),
];

const usable = timeseries({
  title: "Usable connections by target",
  description:
    "Connections of each target that can be used: connected ones, and all of a system without statuses. The alert ConnectionsFell compares them. An entity connection between two polled entities counts for both.",
  span: 12,
  height: 8,
  unit: "none",
  decimals: 0,
  empty: "No listing in this time, or no results of the recording rules",
  runbooks: ["ConnectionsFell"],
  queries: [{ expr: q.usable, legend: legend("{{account}} · {{target}}") }],
});

const edges = timeline({
  title: "Entity connections over time",
  description: "Status of each entity connection, counted once although both of its ends may list it. A gap: no current listing has it.",
  span: 24,
  height: 10,
  unit: "none",
  empty: "No entity connections in this time",
  runbooks: ["ConnectionDisconnected"],
  queries: [{ expr: q.edgeStates, legend: legend("{{source_name}} → {{target_name}}") }],
  states: EDGES,
});

const NO_TARGET: States = [...BELIEVED, ["no target of this name", "text"]];
const entities = table({
  title: "Entities",
  description:
    "Every entity that a Zuora tenant lists, polled or not, with its parent. Target: whether a target has the entity's name, and whether its listing is current; a target that the configuration names otherwise is not found. The variable Target selects by the same names. The tile Entities not reached counts the provisioned ones that the credential cannot access.",
  span: 24,
  height: 7,
  unit: "none",
  empty: "No list of entities is known",
  queries: [`0 * ${q.entities} + on (${q.ACCOUNT}, name) group_left () ${q.believedByName}\nor 5 + 0 * ${q.entities}`],
  columns: [
    { from: "parent_name", title: "Parent" },
    { from: "name", title: "Entity" },
    { from: "status", title: "Status", width: 110 },
    { from: "#A", title: "Target", states: NO_TARGET, width: 180 },
    { from: "account", title: "Account", width: 110 },
    { from: "entity", title: "Id" },
    ...ORIGIN,
  ],
  sort: [["Account", false], ["Parent", false], ["Entity", false]],
});

const edgeTable = table({
  title: "Entity connections",
  description:
    "Each once, with both ends by name where the vendor tells it; also those that had been connected and are no longer listed, for 7 days. Lost: when a listing first showed that it is no longer connected, unless another connection of the two entities replaced it. Dates are those of the exporter's listings; without one it was not seen.",
  span: 24,
  height: 10,
  unit: "none",
  empty: "No entity connections in current listings",
  runbooks: ["ConnectionDisconnected", "ConnectionPending"],
  queries: [q.allEdges, ...[q.lostAt, q.statusChangedAt, q.lastConnectedAt, q.firstSeenAt].map(dated)],
  columns: [
    { from: "source_name", title: "From" },
    { from: "target_name", title: "To" },
    { from: "#A", title: "Status", states: EDGES, width: 130 },
    { from: "#B", title: "Lost", unit: DATE, width: 140 },
    { from: "#C", title: "Status since", unit: DATE, width: 140 },
    { from: "#D", title: "Last connected", unit: DATE, width: 140 },
    { from: "#E", title: "First seen", unit: DATE, width: 140 },
    { from: "account", title: "Account", width: 120 },
    { from: "connection", title: "Connection" },
    ...ORIGIN,
  ],
  sort: [["Status", false], ["From", false]],
});

const ofTokens = withHistory([q.tokenState], ["left", "expiry", "refresh", "grant", "lastRenewal", "nextRenewal", "lateBy", "lifetime", "listing"]);
const tokens = table({
  title: "Stored tokens",
  description: `All that have an expiry, also those of targets without a current listing where alerts still watch them. A past expiry alone is no failure: a token is renewed when its connection is next used. Red ones are expired, expire within a day, or are no longer renewed, and nothing is known to renew them. Not judged: no results of the recording rules yet. ${HISTORY} Refresh: whether a refresh token is stored. Lifetime: from when a listing first showed the expiry to the expiry.`,
  span: 24,
  height: 11,
  unit: "none",
  empty: "No expiry of a stored token is known",
  runbooks: ["ConnectionTokenExpiring", "ConnectionTokenRenewalLate", "ConnectionTokenExpired", "ConnectionRefreshTokenIdle"],
  queries: ofTokens.queries,
  columns: [
    { from: "connection", title: "Connection" },
    { from: "account", title: "Account", width: 80 },
    { from: "target", title: "Target", link: toRow("connections", ["job", "system", "account", "target"]) },
    { from: "#A", title: "State", states: TOKENS, width: 150 },
    ...ofTokens.columns,
    ...ORIGIN,
    { from: "system", title: "System", hidden: true },
  ],
  sort: [["State", true], ["Expires in", false]],
});

const tokenStates = timeline({
  title: "Tokens over time",
  description:
    "Whether each stored token's expiry is in the future. A token that changes between the two is renewed when its connection is used. One that stays past its expiry is idle, or dead if nothing renews it.",
  span: 12,
  height: 10,
  unit: "none",
  empty: "No stored token with an expiry in this time",
  queries: [{ expr: `${q.left} > bool 0`, legend: legend("{{target}} · {{connection}}") }],
  states: [["past its expiry", "blue"], ["valid", "green"]],
});

const timeLeft = timeseries({
  title: "Time left of the twenty tokens that expire first",
  description: "A line that falls through the red one without coming back is a token that was not renewed. It comes back when the token is renewed.",
  span: 12,
  height: 10,
  unit: "dtdurations",
  decimals: 0,
  steps: [[null, "red"], [0, "transparent"]],
  line: true,
  empty: "No stored token with an expiry in this time",
  runbooks: ["ConnectionTokenExpired"],
  queries: [{ expr: `bottomk(20, ${q.left})`, legend: legend("{{target}} · {{connection}}") }],
});

const info = q.max(`${q.CONNECTION}, status, header_name, allowed_domain, permission_scope, grant_type`, q.target("saas_connection_info"));
const onRows = (metric: string) => `0 * ${info} + on (${q.CONNECTION}) group_left () ${dated(q.max(q.CONNECTION, q.target(metric)))}`;
const rows = table({
  title: "All rows",
  description:
    "Every row of the last listings; an entity connection is a row of both of its ends. Created and updated are the vendor's dates, where it tells them; first seen is the exporter's.",
  span: 24,
  height: 11,
  unit: "none",
  empty: "No current listing has a row",
  queries: [
    `0 * ${info} + on (${q.TARGET}) group_left () (\n${q.believed}\n)`,
    ...["created", "updated", "first_seen"].map((date) => onRows(`saas_connection_${date}_timestamp_seconds`)),
  ],
  columns: [
    { from: "connection", title: "Connection" },
    { from: "connection_type", title: "Type", width: 95 },
    { from: "status", title: "Status", width: 110 },
    { from: "account", title: "Account", width: 95 },
    { from: "target", title: "Target", link: toRow("connections", ["job", "system", "account", "target"]) },
    { from: "allowed_domain", title: "Allowed domain" },
    { from: "header_name", title: "Header", width: 80 },
    { from: "permission_scope", title: "Scope", width: 90 },
    { from: "grant_type", title: "Grant", width: 148 },
    { from: "#B", title: "Created", unit: DATE, width: 136 },
    { from: "#C", title: "Updated", unit: DATE, width: 136 },
    { from: "#D", title: "First seen", unit: DATE, width: 136 },
    { from: "#A", title: "Listing", states: BELIEVED, width: 90 },
    ...ORIGIN,
    { from: "system", title: "System", hidden: true },
  ],
  sort: [["Target", false], ["Type", false]],
});

const expected = table({
  title: "Expected",
  description:
    "What the configuration expects of each target (`expect`), and whether its last listing has it. Of a target without a current listing the last known answer is shown.",
  span: 12,
  height: 9,
  unit: "none",
  empty: "No expected connection is known: see `expect` in the configuration",
  runbooks: ["ExpectedConnectionMissing"],
  queries: [q.expected],
  columns: [
    { from: "expected", title: "Expected" },
    { from: "target", title: "Target" },
    { from: "account", title: "Account", width: 110 },
    { from: "#A", title: "State", states: truth("missing", "present"), width: 90 },
    ...ORIGIN,
  ],
  sort: [["State", false]],
});

const renewed = timeseries({
  title: "Renewals",
  description: "How often the expiry of a stored token moved forward between two polls, by target. Renewals between the same two polls count as one.",
  span: 6,
  height: 9,
  unit: "none",
  decimals: 0,
  empty: "No renewal seen in this time",
  bars: true,
  queries: [
    {
      expr: `${q.sum(q.TARGET, q.increaseOf(q.CONNECTION, q.target("saas_connection_token_renewals_total")))} > 0`,
      legend: legend("{{account}} · {{target}}"),
    },
  ],
});

export const connections = () =>
  build("connections", "Connections: what the systems hold", "Of the accounts and targets that are chosen: what there is, in what state, and how it became so.", "6h", [
    { title: "Totals", panels: [...tiles, usable, seen({ span: 12, height: 8 })] },
    { title: "Between entities", panels: [edges, edgeTable, entities] },
    { title: "Stored tokens", panels: [tokens, tokenStates, timeLeft] },
    { title: "Expected, changed, renewed", panels: [expected, changes({ span: 6, height: 9 }), renewed] },
    { title: "All rows", panels: [rows] },
  ]);
