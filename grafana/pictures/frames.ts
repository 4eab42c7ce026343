//! From Prometheus to the frames that Grafana would draw: its own transformations, field options and formats, by `@grafana/data`.

import {
  applyFieldOverrides,
  createTheme,
  type DataFrame,
  type DataTransformerInfo,
  FieldConfigOptionsRegistry,
  FieldType,
  identityOverrideProcessor,
  standardTransformers,
  standardTransformersRegistry,
  toDataFrame,
  transformDataFrame,
} from "@grafana/data";
import { lastValueFrom } from "rxjs";

export const theme = createTheme({ colors: { mode: "dark" } });

const used: DataTransformerInfo[] = [standardTransformers.mergeTransformer, standardTransformers.filterFieldsByNameTransformer, standardTransformers.organizeFieldsTransformer];
standardTransformersRegistry.setInit(() => used.map((transformation) => ({ id: transformation.id, name: transformation.name, transformation, editor: () => null }) as never));

// Grafana's own registry comes with its editors; what is applied is the same.
const registry = new FieldConfigOptionsRegistry(() =>
  ["unit", "decimals", "noValue", "mappings", "thresholds", "links", "color", "displayName", "min", "max"]
    .map((id) => ({ id, path: id, isCustom: false }))
    .concat(["width", "cellOptions", "lineStyle", "lineWidth", "fillOpacity", "drawStyle", "stacking", "thresholdsStyle", "filterable", "hidden"].map((id) => ({ id: `custom.${id}`, path: id, isCustom: true })))
    .map((item) => ({ ...item, name: item.id, editor: () => null, override: () => null, process: identityOverrideProcessor, shouldApply: () => true, settings: {} }) as never),
);

export interface Range {
  from: number;
  to: number;
  step: number;
}

interface Sample {
  metric: Record<string, string>;
  value?: [number, string];
  values?: [number, string][];
}

const RATE_INTERVAL = 4;

/** All of everything is chosen, at a scrape interval of 5 s. */
export const filled = (expr: string, { from, to, step }: Range) =>
  expr
    .replaceAll("$__rate_interval", `${Math.max(RATE_INTERVAL * 5, step + 5)}s`)
    .replaceAll("$__range", `${Math.round(to - from)}s`)
    .replaceAll(/\$(system|account|target|job)\b/g, ".+")
    .replaceAll("$cluster", ".*");

export async function ask(prometheus: string, expr: string, range: Range, instant: boolean): Promise<Sample[]> {
  const query = new URLSearchParams({ query: filled(expr, range) });
  if (instant) query.set("time", String(range.to));
  else for (const [name, value] of Object.entries({ start: range.from, end: range.to, step: range.step })) query.set(name, String(value));
  const answer = await (await fetch(`${prometheus}/api/v1/query${instant ? "" : "_range"}?${query}`)).json();
  if (answer.status !== "success") throw new Error(`${answer.error}: ${expr}`);
  return answer.data.result;
}

interface Target {
  refId: string;
  expr: string;
  legendFormat?: string;
  instant?: boolean;
  format?: string;
}

const legend = (format: string | undefined, labels: Record<string, string>) =>
  format === "__auto" || !format ? Object.values(labels).join(" ") : format.replaceAll(/\{\{(\w+)\}\}/g, (_, label) => labels[label] ?? "");

/** A frame for each series; with nulls where it has no sample, so that a gap is one. */
function lines(samples: Sample[], target: Target, { from, to, step }: Range): DataFrame[] {
  return samples.map(({ metric, value, values }) => {
    const found = new Map(values ?? [value!]);
    const times = value ? [value[0]] : Array.from({ length: Math.floor((to - from) / step) + 1 }, (_, n) => from + n * step);
    const at = (time: number) => (found.has(time) ? Number(found.get(time)) : null);
    const name = legend(target.legendFormat, metric);
    return toDataFrame({
      refId: target.refId,
      fields: [
        { name: "Time", type: FieldType.time, values: times.map((time) => time * 1000) },
        { name: "Value", type: FieldType.number, labels: metric, values: times.map(at), config: { displayNameFromDS: name } },
      ],
    });
  });
}

/** One frame for each query, a column for each label. */
function rows(answers: [Target, Sample[]][]): DataFrame[] {
  const answered = answers.filter(([, samples]) => samples.length);
  return answered.map(([target, samples]) => {
    const labels = [...new Set(samples.flatMap(({ metric }) => Object.keys(metric)))].sort();
    return toDataFrame({
      refId: target.refId,
      fields: [
        { name: "Time", type: FieldType.time, values: samples.map(({ value }) => value![0] * 1000) },
        ...labels.map((label) => ({ name: label, type: FieldType.string, values: samples.map(({ metric }) => metric[label] ?? "") })),
        { name: answered.length > 1 ? `Value #${target.refId}` : "Value", type: FieldType.number, values: samples.map(({ value }) => Number(value![1])) },
      ],
    });
  });
}

// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type Panel = any;

/** What a panel draws. */
export async function frames(prometheus: string, panel: Panel, range: Range): Promise<DataFrame[]> {
  const targets: Target[] = panel.targets;
  const answers = await Promise.all(targets.map(async (target): Promise<[Target, Sample[]]> => [target, await ask(prometheus, target.expr, range, !!target.instant)]));
  const raw = targets[0].format === "table" ? rows(answers) : answers.flatMap(([target, samples]) => lines(samples, target, range));
  const data = await lastValueFrom(transformDataFrame(panel.transformations ?? [], raw));
  return applyFieldOverrides({ data, fieldConfig: panel.fieldConfig, replaceVariables: (text) => text, theme, fieldConfigRegistry: registry, timeZone: "utc" });
}
