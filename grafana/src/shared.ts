//! Panels and columns that stand on more than one dashboard.

import { DATE, DURATION, type Column, legend, stat, timeline, timeseries } from "./panels";
import { BELIEVED, GRANTS } from "./states";
import * as q from "./queries";

type Place = { span: number; height: number };

/** In milliseconds, as Grafana has dates. */
export const dated = (seconds: string) => `1000 * (${seconds})`;

/** How old what is shown may be. */
export const oldest = (place: Place & { to?: string }) =>
  stat({
    ...place,
    title: "Oldest listing",
    description:
      "Age of the last complete listing of the target where that is most, measured in the target's own polling intervals, and beside it as a duration. Up to 1 interval is usual. Above 3, and a minute, the listing is stale.",
    unit: "suffix:intervals",
    decimals: 1,
    steps: [[null, "green"], [2, "yellow"], [3, "red"]],
    expr: `max(${q.age} / ${q.interval})`,
    beside: { expr: `max(topk(1, ${q.age} / ${q.interval}) * ${q.interval})`, ...DURATION },
    empty: "nothing listed",
    runbooks: ["ConnectionsTargetStale"],
  });

/** What can be believed of each target. */
export const seen = (place: Place) =>
  timeline({
    ...place,
    title: "Listing of each target",
    description:
      "Whether the listing that is shown of each target is current. Failing: the last poll failed, and the listing before it is shown. Stale: the listing is older than three polling intervals and a minute. Restored: read from the state directory after a restart. A gap: the exporter was not scraped.",
    unit: "none",
    empty: "No target: no exporter is scraped, or the variables select nothing",
    runbooks: ["ConnectionsTargetFailing", "ConnectionsTargetStale"],
    queries: [{ expr: q.believed, legend: legend("{{account}} · {{target}}") }],
    states: BELIEVED,
  });

/** What came, went, or is in another state. */
export const changes = (place: Place) =>
  timeseries({
    ...place,
    title: "Changes",
    description:
      "Connections that were added or removed, or whose status changed, between two polls. The exporter's log names each of them.",
    unit: "none",
    decimals: 0,
    empty: "No changes in this time",
    runbooks: ["ConnectionsFell"],
    bars: true,
    queries: [
      {
        expr: `${q.increaseOf(`${q.TARGET}, change`, q.target("saas_connection_changes_total"))} > 0`,
        legend: legend("{{account}} · {{target}} {{change}}"),
      },
    ],
  });

/** What the exporter has seen of stored tokens, and how to show it. */
export const history = {
  left: { query: q.left, column: { title: "Expires in", ...DURATION, width: 112 } },
  expiry: { query: dated(q.expiry), column: { title: "Expires at", unit: DATE, width: 136 } },
  refresh: { query: q.refresh, column: { title: "Refresh", states: [["none", "text"], ["stored", "green"]], width: 75 } },
  grant: { query: q.grant, column: { title: "Grant", states: GRANTS, width: 148 } },
  lifetime: { query: q.lifetime, column: { title: "Lifetime", ...DURATION, width: 95 } },
  lastRenewal: { query: dated(q.lastRenewal), column: { title: "Last renewal", unit: DATE, width: 136 } },
  nextRenewal: { query: dated(q.nextRenewal), column: { title: "Next renewal", unit: DATE, width: 136 } },
  lateBy: { query: q.lateBy, column: { title: "Late by", ...DURATION, states: [["not late", "text"]], width: 85 } },
  listing: { query: q.believedOf(q.tokens), column: { title: "Listing", states: BELIEVED, width: 80 } },
} satisfies Record<string, { query: string; column: Omit<Column, "from"> }>;

/** Queries, and columns of their values: those that are there already, and these. */
export function withHistory(queries: string[], names: (keyof typeof history)[], narrowed = (query: string) => query) {
  const from = (index: number) => `#${String.fromCharCode(65 + queries.length + index)}`;
  return {
    queries: [...queries, ...names.map((name) => narrowed(history[name].query))],
    columns: names.map((name, index): Column => ({ ...history[name].column, from: from(index) } as Column)),
  };
}

/** What the columns of `history` say. */
export const HISTORY =
  "Next renewal: the last one plus the longest time seen between two. Late by: as the alert ConnectionTokenRenewalLate counts it. Grant: how the token is obtained.";
