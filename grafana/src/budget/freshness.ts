//! How fresh what the exporter knows is, and how long it takes to know it.

import { toRow } from "../dashboard";
import { DURATION, ORIGIN, type States, legend, none, table, timeseries } from "../panels";
import * as q from "../queries";
import { seen } from "../shared";
import { BELIEVED, truth } from "../states";

const half = { span: 12, height: 9, empty: "no exporter" };

const CREDENTIALS: States = [["replace it", "orange"], ["not judged", "purple"], ["replaced regularly", "green"], ["renewed by the exporter", "green"]];

export const freshness = [
  seen(half),
  timeseries({
    ...half,
    title: "Age of listings, in intervals",
    description: "Age of each target's last complete listing, measured in its own polling interval. A saw below 1 is usual. From the line at 3 on, and a minute, the listing is stale. The table Polls has the ages as durations.",
    unit: "none",
    decimals: 1,
    steps: [[null, "transparent"], [3, "red"]],
    line: true,
    empty: "No listing in this time",
    queries: [{ expr: `${q.age} / ${q.interval}`, legend: legend("{{account}} · {{target}}") }],
    runbooks: ["ConnectionsTargetStale"],
  }),
  timeseries({
    ...half,
    span: 8,
    title: "Duration of polls",
    description: "How long the last poll of each target took, including the time in which its requests waited for the account's budget.",
    unit: "s",
    queries: [{ expr: q.max(q.TARGET, q.target("connections_exporter_target_last_poll_duration_seconds")), legend: legend("{{account}} · {{target}}") }],
  }),
  timeseries({
    ...half,
    span: 8,
    title: "Duration of requests",
    description: "Time from sending a request to the end of its response, by call: median and 95th percentile.",
    unit: "s",
    empty: "No requests in this time",
    queries: [0.5, 0.95].map((quantile) => ({
      // Not a number where nothing was asked. A duplicate scrape does not change a quantile.
      expr: `histogram_quantile(${quantile}, ${q.sum(`${q.ORIGIN}, le, system, endpoint`, q.rate(q.system("connections_exporter_api_request_duration_seconds_bucket")))}) >= 0`,
      legend: legend(`{{system}} {{endpoint}} p${100 * quantile}`),
    })),
  }),
  timeseries({
    ...half,
    span: 8,
    title: "Wait per request",
    description: "How long a request waits before it is sent, for the account's budget or for the end of a pause.",
    unit: "s",
    empty: "No requests in this time",
    queries: [
      {
        expr: `${q.rateOf(q.ACCOUNT, q.account("connections_exporter_api_wait_seconds_total"))} / (${q.requests} > 0)`,
        legend: legend("{{system}} {{account}}"),
      },
    ],
  }),
  table({
    ...half,
    span: 24,
    title: "Polls",
    description: "How old the last complete listing of each target is, also in polling intervals, and when the target is polled again.",
    unit: "none",
    queries: [
      q.believed,
      q.interval,
      `round(${q.age})`,
      `${q.age} / ${q.interval}`,
      `clamp_min(round(${q.max(q.TARGET, q.target("connections_exporter_target_next_poll_timestamp_seconds"))} - time()), 0)`,
      `${q.max(q.TARGET, q.target("connections_exporter_target_consecutive_failures"))} or 0 * ${q.interval}`,
    ],
    columns: [
      { from: "target", title: "Target", link: toRow("connections", ["job", "system", "account", "target"]) },
      { from: "account", title: "Account" },
      { from: "#A", title: "Listing", states: BELIEVED, width: 110 },
      { from: "#C", title: "Age", ...DURATION, width: 110 },
      { from: "#D", title: "In intervals", unit: "none", decimals: 1, width: 110 },
      { from: "#B", title: "Interval", ...DURATION, width: 110 },
      { from: "#E", title: "Next poll in", ...DURATION, width: 110 },
      { from: "#F", title: "Failed polls", unit: "none", decimals: 0, width: 110, steps: none("orange") },
      ...ORIGIN,
      { from: "system", title: "System", hidden: true },
    ],
    sort: [["Listing", true], ["Age", true]],
    runbooks: ["ConnectionsTargetFailing", "ConnectionsTargetStale"],
  }),
  table({
    ...half,
    title: "Own credentials",
    description:
      "When tokens expire that the exporter itself uses, where that is known. Replace it: the exporter cannot renew it, and nothing replaced it within 26 hours. Replaced regularly: something did. Not judged: no results of the recording rules yet.",
    unit: "none",
    empty: "No expiry of an own credential is known",
    queries: [q.credentialState, q.credentialLeft],
    columns: [
      { from: "credential", title: "Credential" },
      { from: "account", title: "Account" },
      { from: "#B", title: "Expires in", ...DURATION, width: 120 },
      { from: "#A", title: "State", states: CREDENTIALS, width: 180 },
      ...ORIGIN,
    ],
    sort: [["State", false], ["Expires in", false]],
    runbooks: ["ConnectionsCredentialExpiring", "ConnectionsCredentialExpiryImminent"],
  }),
  table({
    ...half,
    title: "Discovery",
    description:
      "Accounts whose targets are discovered from the vendor's list: whether the last attempt succeeded, how old the list is, and how many provisioned entities of it the credential cannot access. If an attempt fails, the targets known before stay.",
    unit: "none",
    empty: "No account of a scraped exporter discovers its targets",
    queries: [q.discovery, `time() - ${q.discovered} and ${q.discovery}`, `${q.unreached} and ${q.discovery}`],
    columns: [
      { from: "account", title: "Account" },
      { from: "#A", title: "State", states: truth("failing", "well"), width: 90 },
      { from: "#B", title: "Age", ...DURATION, width: 110 },
      { from: "#C", title: "Not reached", unit: "none", decimals: 0, width: 110, steps: none("orange") },
      ...ORIGIN,
      { from: "system", title: "System", width: 80 },
    ],
    sort: [["State", false]],
    runbooks: ["ConnectionsDiscoveryFailing", "ConnectionsDiscoveryNeverSucceeded"],
  }),
];
