//! How the exporter's processes are.

import { DATE, ORIGIN, legend, table, timeseries } from "../panels";
import * as q from "../queries";
import { dated } from "../shared";
import { truth } from "../states";

const WHOLE = "No whole page is scraped: only parts, or no exporter";
const half = { span: 12, height: 9, empty: "no exporter" };

const perInstance = (metric: string) => q.max(q.INSTANCE, q.ours(q.exporter(metric)));
export const exporter = [
  table({
    ...half,
    span: 24,
    height: 7,
    title: "Instances",
    description:
      "Every instance that Prometheus scraped within a day: its version, its shard, when it started, its clock minus that of Prometheus, and files of the state directory that could not be written in the time range. Down: or one of its parts, if Prometheus scrapes one for each account.",
    unit: "none",
    queries: [
      q.instances,
      q.max(`${q.INSTANCE}, version, revision`, q.exporter("connections_exporter_build_info")),
      perInstance("connections_exporter_shard_index"),
      perInstance("connections_exporter_shards"),
      dated(perInstance("process_start_time_seconds")),
      q.max(q.INSTANCE, q.clockDifference),
      q.rangeOf(q.INSTANCE, q.exporter("connections_exporter_state_write_failures_total")),
    ],
    columns: [
      { from: "instance", title: "Instance" },
      { from: "#A", title: "State", states: truth("down", "up"), width: 70 },
      { from: "version", title: "Version", width: 80 },
      { from: "revision", title: "Revision", width: 120 },
      { from: "#C", title: "Shard", unit: "none", decimals: 0, width: 65 },
      { from: "#D", title: "of", unit: "none", decimals: 0, width: 50 },
      { from: "#E", title: "Started", unit: DATE, width: 136 },
      { from: "#F", title: "Clock", unit: "s", decimals: 1, width: 80 },
      { from: "#G", title: "Failed writes", unit: "none", decimals: 0, width: 100 },
      ...ORIGIN,
    ],
    sort: [["State", false], ["Instance", false]],
    runbooks: ["ConnectionsExporterDown", "ConnectionsExporterShardMissing", "ConnectionsExporterClockSkew"],
  }),
  timeseries({
    ...half,
    span: 6,
    title: "Series served",
    description: "Series on the page of each instance: what Prometheus has to store. There are none if only parts are scraped, as by /sd.",
    empty: WHOLE,
    unit: "none",
    decimals: 0,
    queries: [{ expr: perInstance("connections_exporter_page_series"), legend: legend("{{instance}}") }],
  }),
  timeseries({
    ...half,
    span: 6,
    title: "Size of the page",
    description: "Size of the page as it was served, by encoding. There is none if only parts are scraped, as by /sd.",
    empty: WHOLE,
    unit: "bytes",
    queries: [{ expr: q.max(`${q.INSTANCE}, encoding`, q.exporter("connections_exporter_page_bytes")), legend: legend("{{instance}} {{encoding}}") }],
    runbooks: ["ConnectionsExporterPageTooLarge"],
  }),
  timeseries({
    ...half,
    span: 6,
    title: "Memory",
    description: "Resident memory of each process.",
    unit: "bytes",
    queries: [{ expr: perInstance("process_resident_memory_bytes"), legend: legend("{{instance}}") }],
  }),
  timeseries({
    ...half,
    span: 6,
    title: "CPU",
    description: "Share of one core that each process uses. One thread does the work.",
    unit: "percentunit",
    queries: [{ expr: q.max(q.INSTANCE, q.ours(q.rate(q.exporter("process_cpu_seconds_total")))), legend: legend("{{instance}}") }],
  }),
];
