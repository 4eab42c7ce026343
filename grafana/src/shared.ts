//! Panels that stand on more than one dashboard.

import { stat, timeline, timeseries } from "./panels";
import { BELIEVED } from "./states";
import * as q from "./queries";

type Place = { span: number; height: number };

/** How old what is shown may be. */
export const oldest = (place: Place & { to?: string }) =>
  stat({
    ...place,
    title: "Oldest listing, in intervals",
    description: "Age of the listing that is oldest when measured in its target's own intervals. Up to 1 is usual; from 3 on it counts as stale.",
    unit: "none",
    decimals: 1,
    steps: [[null, "green"], [2, "yellow"], [3, "red"]],
    expr: `max((${q.age}) / ${q.interval})`,
    empty: "nothing listed",
    runbooks: ["ConnectionsTargetStale"],
  });

/** What can be believed of each target. */
export const seen = (place: Place) =>
  timeline({
    ...place,
    title: "What is seen of each target",
    description:
      "Whether each target's listing can be believed, over time. Failing: the listing before the last poll is shown. Stale: not listed for three of its intervals. Where the exporter itself is not seen there is a gap.",
    unit: "none",
    empty: "No target: no exporter is scraped, or nothing of it is chosen above",
    runbooks: ["ConnectionsTargetFailing", "ConnectionsTargetStale", "ConnectionsTargetNeverListed"],
    queries: [{ expr: q.believed, legend: "{{account}} · {{target}}" }],
    states: BELIEVED,
  });

/** What came, went, or is in another state. */
export const changes = (place: Place) =>
  timeseries({
    ...place,
    title: "Changes",
    description: "Connections added, removed, or with another status, between two polls; the exporter's log names each. No bars: nothing changed.",
    unit: "none",
    decimals: 0,
    empty: "Nothing changed",
    runbooks: ["ConnectionsFell"],
    bars: true,
    queries: [{ expr: `${q.sum("account, target, change", q.increase(q.target("saas_connection_changes_total")))} > 0`, legend: "{{account}} · {{target}} {{change}}" }],
  });
