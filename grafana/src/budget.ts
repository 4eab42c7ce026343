//! Exporter and API budget: what the exporter asks of the vendors, what they allow, how fresh its knowledge is, and how it is itself.

import { exporter } from "./budget/exporter";
import { freshness } from "./budget/freshness";
import { quota, requests } from "./budget/requests";
import { build } from "./dashboard";
import { MUTE, NEUTRAL, none, stat, states } from "./panels";
import { oldest } from "./shared";
import { truth } from "./states";
import * as q from "./queries";

const NOBODY = "no exporter";
const tile = { span: 3, height: 4, unit: "none", empty: NOBODY };
const wide = { ...tile, span: 4 };
const tiles = [
  stat({
    ...tile,
    title: "Budget in use",
    description: "Requests sent, as a share of what the account may send now; of the account where that is most. At 100 % requests wait, and listings come later than planned.",
    unit: "percentunit",
    decimals: 1,
    steps: [[null, "green"], [0.8, "yellow"], [0.99, "red"]],
    expr: `max(${q.requests} / ${q.effective})`,
    runbooks: ["ConnectionsPlanOverBudget"],
  }),
  stat({
    ...tile,
    title: "Planned share",
    description: "Requests that the schedule needs, as a share of what the account may send now; of the account where that is most. Above 100 % every polling interval is stretched. It needs the recording rules.",
    unit: "percentunit",
    decimals: 1,
    steps: [[null, "green"], [0.8, "yellow"], [1, "red"]],
    expr: `max(${q.plannedShare})`,
    empty: "not known",
    runbooks: ["ConnectionsPlanOverBudget"],
  }),
  stat({
    ...tile,
    title: "429 responses",
    description: "Responses with which a vendor refused a request because of its rate, in the time range. Each halves the account's budget, which then grows back. If an account moved to another instance in that time, the one with most counts.",
    decimals: 0,
    steps: none("orange"),
    expr: `sum(${q.rangeOf(q.ACCOUNT, q.account("connections_exporter_api_rate_limited_total"))})`,
    runbooks: ["ConnectionsTargetRateLimited"],
  }),
  stat({
    ...tile,
    title: "Accounts paused",
    description: "Accounts that send no requests now, because their vendor asked to wait or their quota is used up.",
    steps: none("orange"),
    expr: q.counted(q.paused, q.effective),
    runbooks: ["ConnectionsAccountPaused"],
  }),
  stat({
    ...tile,
    title: "Quota left",
    description: "Smallest share that is left of any quota that a vendor reports and whose window is not over. Others may use the same quota. It needs the recording rules.",
    unit: "percentunit",
    decimals: 0,
    steps: [[null, "red"], [0.1, "yellow"], [0.2, "green"]],
    expr: `min(${q.quotaShare})`,
    empty: "not known",
    emptyColor: MUTE,
    runbooks: ["ConnectionsQuotaNearlyUsed"],
  }),
  stat({
    ...tile,
    title: "Failed state writes",
    description: "Files of the state directory that could not be written or removed, in the time range; of the instance where that is most. Polling goes on, but after a restart less is known.",
    decimals: 0,
    steps: none("orange"),
    expr: `max(increase(${q.exporter("connections_exporter_state_write_failures_total")}[$__range]))`,
    runbooks: ["ConnectionsExporterStateNotWritten"],
  }),
  oldest({ ...tile, span: 6 }),
  stat({
    ...wide,
    title: "Configuration",
    description: "Whether every instance loaded its configuration file when it last read it. Refused: an instance keeps the one before.",
    steps: NEUTRAL,
    mappings: states(truth("refused", "loaded")),
    expr: `min(${q.exporter("connections_exporter_config_last_reload_successful")})`,
    runbooks: ["ConnectionsExporterReloadFailed"],
  }),
  stat({
    ...wide,
    title: "Web configuration",
    description: "The same for the file with TLS and passwords. An instance without such a file counts as loaded.",
    steps: NEUTRAL,
    mappings: states(truth("refused", "loaded")),
    expr: `min(${q.exporter("connections_exporter_web_config_last_reload_successful")})`,
    runbooks: ["ConnectionsExporterWebConfigReloadFailed"],
  }),
  stat({
    ...wide,
    title: "Shards missing",
    description: "Shards that no scraped instance has, so that nobody polls their accounts. Jobs and clusters are compared with themselves only.",
    steps: none("red"),
    expr: `sum(max without (instance, pod) (${q.exporter("connections_exporter_shards")}) - count without (shard) (count_values without (instance, pod) ("shard", ${q.exporter("connections_exporter_shard_index")})))`,
    runbooks: ["ConnectionsExporterShardMissing"],
  }),
  stat({
    ...wide,
    title: "Unknown values",
    description: "Values that no document of the vendor knows, in the time range. They are shown as other; the vendor may have changed its API. Each poll counts them again.",
    decimals: 0,
    steps: none("yellow"),
    expr: `sum(${q.rangeOf(`${q.ACCOUNT}, field`, q.account("connections_exporter_unknown_values_total"))}) or 0 * count(${q.interval})`,
    runbooks: ["ConnectionsUnknownValues"],
  }),
  stat({
    ...wide,
    title: "Clock difference",
    description: "Largest difference between the clocks of an exporter and of Prometheus at the last scrape. Ages and remaining lifetimes are wrong by as much.",
    unit: "s",
    decimals: 1,
    steps: [[null, "green"], [60, "red"]],
    expr: `max(abs(${q.clockDifference}))`,
    runbooks: ["ConnectionsExporterClockSkew"],
  }),
  stat({
    ...wide,
    title: "Largest page",
    description: "Uncompressed size of the largest page that an instance served. Prometheus reads it whole within its scrape timeout; other scrapers refuse it above 16 MiB. There is none if only parts are scraped, as by /sd.",
    unit: "bytes",
    decimals: 1,
    steps: [[null, "green"], [0.8 * 16 * 2 ** 20, "yellow"], [16 * 2 ** 20, "red"]],
    expr: `max(${q.exporter("connections_exporter_page_bytes", 'encoding="identity"')})`,
    empty: "not scraped whole",
    emptyColor: MUTE,
    runbooks: ["ConnectionsExporterPageTooLarge"],
  }),
];

export const budget = () =>
  build("budget", "Connections: exporter and API budget", "What the exporter asks of the vendors, what they allow, how fresh its listings are, and how it is itself.", "6h", [
    { title: "Status", panels: tiles },
    { title: "Requests", panels: requests },
    { title: "Quotas", panels: quota },
    { title: "Freshness", panels: freshness },
    { title: "Exporter", panels: exporter },
  ]);
