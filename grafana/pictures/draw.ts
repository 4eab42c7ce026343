//! Panels as Grafana draws them, near enough to see what is ugly, empty or wrong.

import { type DataFrame, type Field, formattedValueToString, getFieldDisplayName, getFieldDisplayValues } from "@grafana/data";
import uPlot from "uplot";
import { type Panel, type Range, theme } from "./frames";

export interface Mark {
  time: number;
  color: string;
}

type Attributes = Record<string, string>;
export function element(tag: string, attributes: Attributes = {}, ...children: (Node | string)[]): HTMLElement {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const color = (name: string) => theme.visualization.getColorByName(name);
const shown = (field: Field, value: unknown) => formattedValueToString(field.display!(value));

export function nothing(body: HTMLElement, panel: Panel) {
  body.append(element("div", { class: "nothing" }, panel.fieldConfig.defaults.noValue ?? "No data"));
}

export function stat(body: HTMLElement, panel: Panel, data: DataFrame[]) {
  const values = getFieldDisplayValues({
    fieldConfig: panel.fieldConfig,
    reduceOptions: panel.options.reduceOptions,
    replaceVariables: (text) => text,
    theme,
    data,
    timeZone: "utc",
  });
  for (const { display } of values) {
    const text = formattedValueToString(display);
    const tile = element("div", { class: "tile" }, text);
    tile.style.background = color(display.color ?? "text");
    tile.style.fontSize = `${Math.min(44, 1.5 * (body.clientWidth / Math.max(3, text.length)))}px`;
    tile.style.color = theme.colors.getContrastText(tile.style.background);
    body.append(tile);
  }
}

export function table(body: HTMLElement, panel: Panel, [frame]: DataFrame[]) {
  if (!frame?.length) return nothing(body, panel);
  const title = (field: Field) => getFieldDisplayName(field, frame);
  const order = panel.options.sortBy.map(({ displayName, desc }: { displayName: string; desc: boolean }) => {
    const values = frame.fields.find((field) => title(field) === displayName)?.values ?? [];
    return (a: number, b: number) => ((values[a] > values[b] ? 1 : values[a] < values[b] ? -1 : 0) * (desc ? -1 : 1));
  });
  const rows = Array.from({ length: frame.length }, (_, row) => row);
  rows.sort((a, b) => order.reduce((so_far: number, by: (a: number, b: number) => number) => so_far || by(a, b), 0));
  const columns = frame.fields.filter((field) => !field.config.custom?.hidden);
  const cells = (row: number) =>
    columns.map((field) => {
      const value = field.values[row];
      const cell = element("td", { class: field.type === "number" && !field.config.mappings?.length ? "number" : "" }, value == null ? "" : shown(field, value));
      const display = field.display!(value);
      if (field.config.custom?.cellOptions?.type === "color-text" && value != null) cell.style.color = color(display.color ?? "text");
      if (field.config.links?.length) cell.classList.add("link");
      return cell;
    });
  const heads = columns.map((field) => {
    const head = element("th", {}, title(field));
    if (field.config.custom?.width) head.style.width = `${field.config.custom.width}px`;
    return head;
  });
  body.append(element("table", {}, element("tr", {}, ...heads), ...rows.map((row) => element("tr", {}, ...cells(row)))));
}

function legend(items: [name: string, color: string, ...numbers: string[]][], beside: boolean): HTMLElement {
  const rows = items.map(([name, hue, ...numbers]) => {
    const dot = element("i");
    dot.style.background = hue;
    return element("tr", {}, element("td", {}, dot, name), ...numbers.map((number) => element("td", { class: "number" }, number)));
  });
  const heads = beside ? [element("tr", {}, element("th", {}, "Name"), element("th", {}, "Last *"), element("th", {}, "Max"))] : [];
  return element("table", { class: beside ? "legend beside" : "legend below" }, ...heads, ...rows);
}

const marking = (marks: Mark[]): uPlot.Plugin => ({
  hooks: {
    draw: (plot) => {
      for (const { time, color: hue } of marks) {
        const x = plot.valToPos(time, "x", true);
        plot.ctx.save();
        plot.ctx.strokeStyle = color(hue);
        plot.ctx.setLineDash([4, 4]);
        plot.ctx.beginPath();
        plot.ctx.moveTo(x, plot.bbox.top);
        plot.ctx.lineTo(x, plot.bbox.top + plot.bbox.height);
        plot.ctx.stroke();
        plot.ctx.restore();
      }
    },
  },
});

const clock = (time: number) => new Date(1000 * time).toISOString().slice(11, 16);
const axis: uPlot.Axis = { stroke: "#ccccdc", grid: { stroke: "#2c2d33", width: 1 }, ticks: { stroke: "#2c2d33" }, font: "12px sans-serif" };
const palette = (index: number) => color(theme.visualization.palette[index % theme.visualization.palette.length]);

export function timeseries(body: HTMLElement, panel: Panel, data: DataFrame[], range: Range, marks: Mark[]) {
  if (!data.length) return nothing(body, panel);
  const fields = data.map((frame) => frame.fields[1]);
  const numbers = fields.map((field) => field.values as (number | null)[]);
  const custom = panel.fieldConfig.defaults.custom;
  const bars = custom.drawStyle === "bars";
  const stacked = custom.stacking.mode === "normal";
  const heights = numbers.map((values, index) =>
    stacked ? values.map((value, at) => (value === null ? null : numbers.slice(0, index + 1).reduce((total, below) => total + (below[at] ?? 0), 0))) : values,
  );
  const names = data.map((frame, index) => getFieldDisplayName(fields[index], frame, data));
  const last = (values: (number | null)[]) => values.filter((value) => value !== null).at(-1);
  const series = fields.map((field, index): uPlot.Series => ({
    stroke: palette(index),
    width: custom.lineWidth,
    dash: field.config.custom?.lineStyle?.dash,
    fill: bars ? palette(index) : stacked ? `${palette(index)}40` : undefined,
    paths: bars ? uPlot.paths.bars!({ size: [0.6, 12] }) : undefined,
    points: { show: false },
  }));
  const steps = custom.thresholdsStyle?.mode === "dashed" ? panel.fieldConfig.defaults.thresholds.steps.filter(({ value }: { value: number | null }) => value !== null) : [];
  const times = data[0].fields[0].values.map((time: number) => time / 1000);
  const lines = steps.map(({ value, color: hue }: { value: number; color: string }, at: number) => {
    const drawn = hue === "transparent" ? panel.fieldConfig.defaults.thresholds.steps[at].color : hue;
    return { values: times.map(() => value), stroke: color(drawn) };
  });
  const aside = panel.options.legend.placement === "right";
  const beside = legend(names.map((name, index) => [name, palette(index), shown(fields[index], last(numbers[index])), shown(fields[index], Math.max(...numbers[index].map((n) => n ?? -Infinity)))].slice(0, aside ? 4 : 2) as [string, string]), aside);
  const plotted = element("div");
  body.append(element("div", { class: aside ? "with-legend" : "" }, plotted, beside));
  const order = stacked ? [...series.keys()].reverse() : [...series.keys()];
  new uPlot(
    {
      width: body.clientWidth - (aside ? beside.clientWidth + 12 : 0),
      height: body.clientHeight - (aside ? 0 : beside.clientHeight),
      legend: { show: false },
      cursor: { show: false },
      plugins: [marking(marks)],
      scales: {
        x: { range: [range.from, range.to] },
        y: { range: (_, low, high) => [Math.min(0, low ?? 0), panel.fieldConfig.defaults.max ?? ((high ?? 1) * 1.08 || 1)] },
      },
      axes: [{ ...axis, values: (_, splits) => splits.map(clock) }, { ...axis, size: 80, ...(panel.fieldConfig.defaults.decimals === 0 && panel.fieldConfig.defaults.unit === "none" ? { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500] } : {}), values: (_, splits) => splits.map((split) => shown(fields[0], split)) }],
      series: [{}, ...order.map((index) => series[index]), ...lines.map(({ stroke }: { stroke: string }) => ({ stroke, dash: [8, 6], points: { show: false } }))],
    },
    [times, ...order.map((index) => heights[index]), ...lines.map(({ values }: { values: number[] }) => values)] as uPlot.AlignedData,
    plotted,
  );
}

export function timeline(body: HTMLElement, panel: Panel, data: DataFrame[], range: Range, marks: Mark[]) {
  if (!data.length) return nothing(body, panel);
  const lanes = data.slice(0, panel.options.perPage || undefined);
  const seen = new Map<string, string>();
  const across = (time: number) => `${(100 * (time - range.from)) / (range.to - range.from)}%`;
  const drawn = lanes.map((frame) => {
    const field = frame.fields[1];
    const lane = element("div", { class: "lane" });
    let before: [state: string, width: number, box: HTMLElement] | undefined;
    field.values.forEach((value, at) => {
      if (value == null) return void (before = undefined);
      const display = field.display!(value);
      const hue = color(display.color ?? "text");
      seen.set(display.text, hue);
      const width = (before?.[0] === display.text ? before[1] : 0) + range.step;
      const box = before?.[0] === display.text ? before[2] : element("b", { style: `left: ${across(frame.fields[0].values[at] / 1000)}` });
      before = [display.text, width, box];
      Object.assign(box.style, { width: across(range.from + width), background: hue });
      lane.append(box);
    });
    return element("div", { class: "row" }, element("span", {}, getFieldDisplayName(field, frame, data)), lane);
  });
  const lines = marks.map(({ time, color: hue }) => {
    const line = element("u");
    Object.assign(line.style, { left: across(time), borderColor: color(hue) });
    return line;
  });
  const times = [0, 0.25, 0.5, 0.75].map((part) => {
    const label = element("em", {}, new Date(1000 * (range.from + part * (range.to - range.from))).toISOString().slice(11, 16));
    label.style.left = `${100 * part}%`;
    return label;
  });
  const order = (panel.fieldConfig.defaults.mappings[0].options ?? {}) as Record<string, { text: string }>;
  const items = Object.values(order).flatMap(({ text }): [string, string][] => (seen.has(text) ? [[text, seen.get(text)!]] : []));
  body.append(
    element("div", { class: "lanes" }, ...drawn, element("div", { class: "row over" }, element("span"), element("div", { class: "lane" }, ...lines))),
    element("div", { class: "row axis" }, element("span"), element("div", { class: "lane" }, ...times)),
    legend(items, false),
  );
}
