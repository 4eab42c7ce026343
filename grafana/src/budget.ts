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
const tile = { span: 4, height: 4, unit: "none", empty: NOBODY };
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
    title: "Plan of budget",
    description: "What the schedule needs, as a share of what the account may send now; of the account where that is most. Above 100 % every interval is stretched.",
    unit: "percentunit",
    decimals: 1,
    steps: [[null, "green"], [0.8, "yellow"], [1, "red"]],
    expr: `max(${q.planned} / ${q.effective})`,
    runbooks: ["ConnectionsPlanOverBudget"],
  }),
  stat({
    ...tile,
    title: "429 answers",
    description: "Answers with which a vendor refused a request for its rate, in the time that is shown above. Each halves the account's budget, which then grows back.",
    decimals: 0,
    steps: none("orange"),
    expr: `sum(increase(${q.account("connections_exporter_api_rate_limited_total")}[$__range]))`,
    runbooks: ["ConnectionsTargetRateLimited"],
  }),
  stat({
    ...tile,
    title: "Accounts paused",
    description: "Accounts that send nothing now, since their vendor asked to wait or their quota is used up.",
    steps: none("orange"),
    expr: `count(${q.max(q.ACCOUNT, q.account("connections_exporter_api_paused_until_timestamp_seconds"))}) or 0 * count(${q.effective})`,
    runbooks: ["ConnectionsAccountPaused"],
  }),
  stat({
    ...tile,
    title: "Quota left",
    description: "The smallest share that is left of any quota that a vendor tells and whose window is not over. Others may use it up, too.",
    unit: "percentunit",
    decimals: 0,
    steps: [[null, "red"], [0.1, "yellow"], [0.2, "green"]],
    expr: `min(${q.quotaShare})`,
    empty: "none told now",
    emptyColor: MUTE,
    runbooks: ["ConnectionsQuotaNearlyUsed"],
  }),
  oldest(tile),
  stat({
    ...tile,
    title: "Configuration",
    description: "Whether every instance took up its configuration file when it last read it. Refused: it goes on with the one before.",
    steps: NEUTRAL,
    mappings: states(truth("refused", "taken up")),
    expr: "min(connections_exporter_config_last_reload_successful)",
    runbooks: ["ConnectionsExporterReloadFailed"],
  }),
  stat({
    ...tile,
    title: "Web configuration",
    description: "The same for the file with TLS and passwords; taken up where there is none.",
    steps: NEUTRAL,
    mappings: states(truth("refused", "taken up")),
    expr: "min(connections_exporter_web_config_last_reload_successful)",
    runbooks: ["ConnectionsExporterWebConfigReloadFailed"],
  }),
  stat({
    ...tile,
    title: "State not written",
    description: "Files of the state folder that could not be written or removed, in the time that is shown above. Polling goes on; a restart would know less.",
    decimals: 0,
    steps: none("orange"),
    expr: "sum(increase(connections_exporter_state_write_failures_total[$__range]))",
    runbooks: ["ConnectionsExporterStateNotWritten"],
  }),
  stat({
    ...tile,
    title: "Shards missing",
    description: "Parts of the accounts that no instance has: of as many shards as instances of one job (and cluster) are told of, those that Prometheus does not see.",
    steps: none("red"),
    expr: 'sum(max without (instance, pod) (connections_exporter_shards) - count without (shard) (count_values without (instance, pod) ("shard", connections_exporter_shard_index)))',
    runbooks: ["ConnectionsExporterShardMissing"],
  }),
  stat({
    ...tile,
    title: "Unknown values",
    description: "Values of a vendor's that no document of it knows, in the time that is shown above: they are counted as other, and the vendor may have changed its API.",
    decimals: 0,
    steps: none("yellow"),
    expr: q.counted(`increase(${q.account("connections_exporter_unknown_values_total")}[$__range])`, q.interval),
    runbooks: ["ConnectionsUnknownValues"],
  }),
  stat({
    ...tile,
    title: "Largest page",
    description: "Uncompressed size of the largest page that an instance served. Prometheus reads it whole within its scrape timeout; other scrapers refuse it above 16 MiB. Nothing if only parts are scraped, as by /sd.",
    unit: "bytes",
    decimals: 1,
    steps: [[null, "green"], [0.8 * 16 * 2 ** 20, "yellow"], [16 * 2 ** 20, "red"]],
    expr: 'max(connections_exporter_page_bytes{encoding="identity"})',
    empty: "not scraped whole",
    emptyColor: MUTE,
    runbooks: ["ConnectionsExporterPageTooLarge"],
  }),
];

export const budget = () =>
  build("budget", "Connections: exporter and API budget", "What the exporter asks of the vendors, what they allow, how fresh its knowledge is, and how it is itself.", "6h", [
    { title: "Is anything in the way?", panels: tiles },
    { title: "What it asks of the vendors", panels: requests },
    { title: "What the vendors allow", panels: quota },
    { title: "How fresh its knowledge is", panels: freshness },
    { title: "The exporter itself", panels: exporter },
  ]);
