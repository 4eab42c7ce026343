//! What the exporter asks of the vendors, and what they allow.

import { table, timeline, timeseries } from "../panels";
import * as q from "../queries";
import { HELD } from "../states";

const half = { span: 12, height: 9, empty: "no exporter" };

export const requests = [
  timeseries({
    ...half,
    title: "Requests, against plan and budget",
    description: "What each account sends, what its schedule needs, and what it may send now. The budget is halved after a 429 and grows back.",
    unit: "reqps",
    queries: [
      { expr: q.requests, legend: "{{system}} {{account}} sent" },
      { expr: q.planned, legend: "{{system}} {{account}} planned" },
      { expr: q.effective, legend: "{{system}} {{account}} budget" },
    ],
    dashed: ".* (planned|budget)$",
    runbooks: ["ConnectionsPlanOverBudget"],
  }),
  timeline({
    ...half,
    title: "What holds accounts back",
    description: "Paused: no request is sent, since the vendor asked to wait or the quota is used up. Reduced: after a 429 the budget is halved and grows back. Pauses shorter than a scrape interval may not show.",
    unit: "none",
    queries: [{ expr: q.heldBack, legend: "{{system}} {{account}}" }],
    states: HELD,
    runbooks: ["ConnectionsAccountPaused"],
  }),
  timeseries({
    ...half,
    span: 8,
    title: "Requests by call",
    description: "Which calls make up the requests: listings, tokens, lists of targets.",
    unit: "reqps",
    stacked: true,
    queries: [{ expr: q.sum("system, endpoint", q.rate(q.account("connections_exporter_api_requests_total"))), legend: "{{system}} {{endpoint}}" }],
  }),
  timeseries({
    ...half,
    span: 8,
    title: "Answers other than 200",
    description:
      "By HTTP status; none where no answer came. The first of a kind after a start does not show, other than of 429. Zuora also refuses with status 200: those are among the failures beside this.",
    unit: "none",
    decimals: 0,
    bars: true,
    empty: "Every answer had status 200",
    queries: [
      { expr: `${q.sum("system, account, code", q.increase(q.account("connections_exporter_api_requests_total", 'code!~"200|429"')))} > 0`, legend: "{{system}} {{account}} {{code}}" },
      { expr: `${q.sum(q.ACCOUNT, q.increase(q.account("connections_exporter_api_rate_limited_total")))} > 0`, legend: "{{system}} {{account}} 429" },
    ],
    runbooks: ["ConnectionsTargetRateLimited"],
  }),
  timeseries({
    ...half,
    span: 8,
    title: "Failures by reason",
    description: "Polls and discoveries that failed. docs/metrics.md says what to do about each reason.",
    unit: "none",
    decimals: 0,
    bars: true,
    empty: "Nothing failed",
    queries: [{ expr: `${q.sum("system, account, reason", q.increase(q.account("connections_exporter_api_errors_total")))} > 0`, legend: "{{system}} {{account}} {{reason}}" }],
    runbooks: ["ConnectionsTargetFailing"],
  }),
];

export const quota = [
  timeseries({
    ...half,
    title: "Quotas over time",
    description: "Of each quota that a vendor tells in its answers' headers, the share that is left; windows in seconds, and a gap from the end of one until it is told of the next. Others draw on the same quotas.",
    unit: "percentunit",
    max: 1,
    steps: [[null, "red"], [0.1, "transparent"]],
    line: true,
    empty: "The vendors tell of no quota",
    queries: [{ expr: q.quotaShare, legend: "{{system}} {{account}} {{window}}" }],
    runbooks: ["ConnectionsQuotaNearlyUsed"],
  }),
  table({
    ...half,
    title: "Quotas",
    description: "What each vendor allows and what is left of it, as of its last answer, until the window is over. A window is so many seconds; concurrency counts requests at once.",
    unit: "none",
    empty: "The vendors tell of no quota",
    queries: [q.quotaLimit, q.quotaLeft, q.quotaShare],
    columns: [
      { from: "system", title: "System", width: 90 },
      { from: "account", title: "Account" },
      { from: "window", title: "Window" },
      { from: "#A", title: "Limit", unit: "locale", decimals: 0 },
      { from: "#B", title: "Left", unit: "locale", decimals: 0 },
      { from: "#C", title: "Share", unit: "percentunit", decimals: 1, steps: [[null, "red"], [0.1, "yellow"], [0.2, "green"]] },
    ],
    sort: [["Share", false]],
    runbooks: ["ConnectionsQuotaNearlyUsed"],
  }),
];
