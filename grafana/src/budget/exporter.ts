//! How the exporter's processes are.

import { table, timeseries } from "../panels";
import * as q from "../queries";
import { truth } from "../states";

const WHOLE = "No whole page is scraped: only parts, or no exporter";
const half = { span: 12, height: 9, empty: "no exporter" };

const perInstance = (metric: string) => q.max("job, instance", q.ours(metric));
export const exporter = [
  table({
    ...half,
    span: 16,
    title: "Instances",
    description: "Every process that Prometheus scraped within a day, and what it is: its version, its part of the accounts, since when it runs. Down: or one of its parts, if Prometheus scrapes one for each account.",
    unit: "none",
    queries: [
      q.instances,
      q.max("job, instance, version, revision", "connections_exporter_build_info"),
      perInstance("connections_exporter_shard_index"),
      perInstance("connections_exporter_shards"),
      `1000 * ${perInstance("process_start_time_seconds")}`,
    ],
    columns: [
      { from: "instance", title: "Instance" },
      { from: "job", title: "Job" },
      { from: "#A", title: "State", states: truth("down", "up"), width: 80 },
      { from: "version", title: "Version", width: 90 },
      { from: "revision", title: "Revision", width: 120 },
      { from: "#C", title: "Shard", unit: "none", decimals: 0, width: 70 },
      { from: "#D", title: "of", unit: "none", decimals: 0, width: 60 },
      { from: "#E", title: "Since", unit: "dateTimeAsIso", width: 170 },
    ],
    sort: [["State", false], ["Instance", false]],
    runbooks: ["ConnectionsExporterDown", "ConnectionsExporterShardMissing"],
  }),
  timeseries({
    ...half,
    span: 8,
    title: "Series served",
    description: "Series on the page of each instance: what Prometheus has to store. Nothing if only parts are scraped, as by /sd.",
    empty: WHOLE,
    unit: "none",
    decimals: 0,
    queries: [{ expr: perInstance("connections_exporter_page_series"), legend: "{{instance}}" }],
  }),
  timeseries({
    ...half,
    span: 8,
    title: "Size of the page",
    description: "As it is served, by encoding. Nothing if only parts are scraped, as by /sd.",
    empty: WHOLE,
    unit: "bytes",
    queries: [{ expr: q.max("instance, encoding", "connections_exporter_page_bytes"), legend: "{{instance}} {{encoding}}" }],
    runbooks: ["ConnectionsExporterPageTooLarge"],
  }),
  timeseries({
    ...half,
    span: 8,
    title: "Memory",
    description: "Resident memory of each process.",
    unit: "bytes",
    queries: [{ expr: perInstance("process_resident_memory_bytes"), legend: "{{instance}}" }],
  }),
  timeseries({
    ...half,
    span: 8,
    title: "Processor",
    description: "Share of one core that each process uses; it has one thread that works.",
    unit: "percentunit",
    queries: [{ expr: q.sum("instance", q.ours(q.rate("process_cpu_seconds_total"))), legend: "{{instance}}" }],
  }),
];
