//! How fresh what the exporter knows is, and how long it takes to know it.

import { toRow } from "../dashboard";
import { none, table, timeseries } from "../panels";
import * as q from "../queries";
import { seen } from "../shared";
import { BELIEVED, truth } from "../states";

const half = { span: 12, height: 9, empty: "no exporter" };

const credential = (what: string) => q.max(`${q.ACCOUNT}, credential`, q.account(`connections_exporter_credential_${what}`));

export const freshness = [
  seen(half),
  timeseries({
    ...half,
    title: "Age of listings, in intervals",
    description: "How long ago each target was listed, measured in its own interval. A saw below 1 is usual; the line at 3 is where a listing counts as stale.",
    unit: "none",
    decimals: 1,
    steps: [[null, "transparent"], [3, "red"]],
    line: true,
    empty: "Nothing was listed yet",
    queries: [{ expr: `(${q.age}) / ${q.interval}`, legend: "{{account}} · {{target}}" }],
    runbooks: ["ConnectionsTargetStale"],
  }),
  timeseries({
    ...half,
    span: 8,
    title: "Duration of polls",
    description: "How long the last poll of each target took, with its waiting for the account's budget.",
    unit: "s",
    queries: [{ expr: q.max(q.TARGET, q.target("connections_exporter_target_last_poll_duration_seconds")), legend: "{{account}} · {{target}}" }],
  }),
  timeseries({
    ...half,
    span: 8,
    title: "Duration of requests",
    description: "From sending a request to the end of its answer, by call: half of them are faster than the one, 95 of 100 than the other.",
    unit: "s",
    empty: "No requests in this time",
    queries: [0.5, 0.95].map((quantile) => ({
      // Not a number where nothing was asked.
      expr: `histogram_quantile(${quantile}, ${q.sum("le, system, endpoint", q.rate('connections_exporter_api_request_duration_seconds_bucket{system=~"$system"}'))}) >= 0`,
      legend: `{{system}} {{endpoint}} p${100 * quantile}`,
    })),
  }),
  timeseries({
    ...half,
    span: 8,
    title: "Waiting, for each request",
    description: "How long a request waits before it is sent, for the account's budget or for the end of a pause.",
    unit: "s",
    empty: "No requests in this time",
    queries: [{ expr: `${q.sum(q.ACCOUNT, q.rate(q.account("connections_exporter_api_wait_seconds_total")))} / (${q.requests} > 0)`, legend: "{{system}} {{account}}" }],
  }),
  table({
    ...half,
    title: "Polls",
    description: "When each target was listed last, and when it is asked again.",
    unit: "none",
    empty: half.empty,
    queries: [
      q.believed,
      q.interval,
      q.age,
      `round(${q.max(q.TARGET, q.target("connections_exporter_target_next_poll_timestamp_seconds"))} - time())`,
      `${q.max(q.TARGET, q.target("connections_exporter_target_consecutive_failures"))} or 0 * ${q.interval}`,
    ],
    columns: [
      { from: "target", title: "Target", link: toRow("connections", ["system", "account", "target"]) },
      { from: "account", title: "Account", width: 110 },
      { from: "#A", title: "Listing", states: BELIEVED, width: 100 },
      { from: "#C", title: "Age", unit: "s", decimals: 0, width: 80 },
      { from: "#B", title: "Interval", unit: "s", decimals: 0, width: 80 },
      { from: "#D", title: "Next in", unit: "s", decimals: 0, width: 80 },
      { from: "#E", title: "Failed polls", unit: "none", decimals: 0, width: 100, steps: none("orange") },
      { from: "system", title: "System", hidden: true },
    ],
    sort: [["Listing", true], ["Age", true]],
    runbooks: ["ConnectionsTargetFailing", "ConnectionsTargetNeverListed"],
  }),
  table({
    ...half,
    span: 6,
    title: "Own credentials",
    description:
      "When tokens end that the exporter itself uses, where that is known. Those that it makes are renewed with the next request after their end; the others somebody has to replace before it.",
    unit: "none",
    empty: "The end of none is known",
    queries: [credential("renewable"), `${credential("expiry_timestamp_seconds")} - time()`],
    columns: [
      { from: "credential", title: "Credential" },
      { from: "account", title: "Account" },
      { from: "#B", title: "Ends in", unit: "s", decimals: 0, width: 80 },
      { from: "#A", title: "Then", states: [["replace it", "orange"], ["renewed", "green"]], width: 90 },
    ],
    sort: [["Then", false], ["Ends in", false]],
    runbooks: ["ConnectionsCredentialExpiring"],
  }),
  table({
    ...half,
    span: 6,
    title: "Discovery",
    description: "Where entities or integrations are followed as the vendor lists them: whether that list came, and how old it is. While it does not come, the targets known before stay.",
    unit: "none",
    empty: "No account discovers its targets",
    queries: [
      q.max(q.ACCOUNT, q.account("connections_exporter_discovery_up")),
      `time() - ${q.max(q.ACCOUNT, q.account("connections_exporter_discovery_last_success_timestamp_seconds"))}`,
    ],
    columns: [
      { from: "system", title: "System", hidden: true },
      { from: "account", title: "Account" },
      { from: "#A", title: "State", states: truth("failing", "well") },
      { from: "#B", title: "Age", unit: "s", decimals: 0 },
    ],
    sort: [["State", false]],
    runbooks: ["ConnectionsDiscoveryFailing"],
  }),
];
