//! What the exporter asks of the vendors, and what they allow.

import { ORIGIN, legend, table, timeline, timeseries } from "../panels";
import * as q from "../queries";
import { HELD } from "../states";

const half = { span: 12, height: 9, empty: "no exporter" };

export const requests = [
  timeseries({
    ...half,
    title: "Requests, plan and budget",
    description: "Requests that each account sends, that its schedule needs, and that it may send now. The budget is halved after a 429 response and grows back.",
    unit: "reqps",
    queries: [
      { expr: q.requests, legend: legend("sent: {{system}} {{account}}") },
      { expr: q.planned, legend: legend("planned: {{system}} {{account}}") },
      { expr: q.effective, legend: legend("budget: {{system}} {{account}}") },
    ],
    dashed: "^(planned|budget): .*",
    runbooks: ["ConnectionsPlanOverBudget"],
  }),
  timeline({
    ...half,
    title: "Limits in effect",
    description: "Paused: no request is sent, because the vendor asked to wait or the quota is used up. Reduced: after a 429 response the budget is halved and grows back. Pauses shorter than a scrape interval may not show.",
    unit: "none",
    queries: [{ expr: q.heldBack, legend: legend("{{system}} {{account}}") }],
    states: HELD,
    runbooks: ["ConnectionsAccountPaused"],
  }),
  timeseries({
    ...half,
    span: 8,
    title: "Requests by call",
    description: "Requests by call: listings, tokens, lists of targets.",
    unit: "reqps",
    stacked: true,
    queries: [
      {
        expr: q.sum(`${q.ORIGIN}, system, endpoint`, q.rateOf(`${q.ACCOUNT}, endpoint, code`, q.account("connections_exporter_api_requests_total"))),
        legend: legend("{{system}} {{endpoint}}"),
      },
    ],
  }),
  timeseries({
    ...half,
    span: 8,
    title: "Responses other than 200",
    description:
      "Responses by HTTP status; none where there was no response. The first of a kind after a start of the exporter does not show, except 429. Zuora also refuses with status 200: see Failures by reason.",
    unit: "none",
    decimals: 0,
    bars: true,
    empty: "No other response seen in this time",
    queries: [
      {
        expr: `${q.sum(`${q.ACCOUNT}, code`, q.increaseOf(`${q.ACCOUNT}, endpoint, code`, q.account("connections_exporter_api_requests_total", 'code!~"200|429"')))} > 0`,
        legend: legend("{{system}} {{account}} {{code}}"),
      },
      {
        expr: `${q.increaseOf(q.ACCOUNT, q.account("connections_exporter_api_rate_limited_total"))} > 0`,
        legend: legend("{{system}} {{account}} 429"),
      },
    ],
    runbooks: ["ConnectionsTargetRateLimited"],
  }),
  timeseries({
    ...half,
    span: 8,
    title: "Failures by reason",
    description: "Polls, discoveries and other background requests that failed. docs/metrics.md says what to do about each reason.",
    unit: "none",
    decimals: 0,
    bars: true,
    empty: "No failure seen in this time",
    queries: [
      {
        expr: `${q.increaseOf(`${q.ACCOUNT}, reason`, q.account("connections_exporter_api_errors_total"))} > 0`,
        legend: legend("{{system}} {{account}} {{reason}}"),
      },
    ],
    runbooks: ["ConnectionsTargetFailing"],
  }),
];

export const quota = [
  timeseries({
    ...half,
    title: "Quotas over time",
    description: "Share that is left of each quota that a vendor reports in its responses' headers; windows in seconds. A gap: the window is over and nothing was reported since. Others may use the same quotas.",
    unit: "percentunit",
    max: 1,
    steps: [[null, "red"], [0.1, "transparent"]],
    line: true,
    empty: "No quota in this time, or no results of the recording rules",
    queries: [{ expr: q.quotaShare, legend: legend("{{system}} {{account}} {{window}}") }],
    runbooks: ["ConnectionsQuotaNearlyUsed"],
  }),
  table({
    ...half,
    title: "Quotas",
    description: "Limit of each quota that a vendor reports, and what was left at its last response; nothing once the window is over, or without the recording rules. A window is so many seconds; concurrency counts requests at once.",
    unit: "none",
    empty: "No vendor of a scraped exporter reports a quota",
    queries: [q.quotaLimit, q.quotaLeft, q.quotaShare],
    columns: [
      { from: "system", title: "System", width: 80 },
      { from: "account", title: "Account" },
      { from: "window", title: "Window" },
      { from: "#A", title: "Limit", unit: "locale", decimals: 0 },
      { from: "#B", title: "Left", unit: "locale", decimals: 0 },
      { from: "#C", title: "Share", unit: "percentunit", decimals: 1, steps: [[null, "red"], [0.1, "yellow"], [0.2, "green"]] },
      ...ORIGIN,
    ],
    sort: [["Share", false]],
    runbooks: ["ConnectionsQuotaNearlyUsed"],
  }),
];
