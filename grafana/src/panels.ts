//! Panels as this project has them: explained, with units and thresholds, and with a word for what is empty.

import * as common from "@grafana/grafana-foundation-sdk/common";
import * as dashboard from "@grafana/grafana-foundation-sdk/dashboard";
import { DataqueryBuilder, PromQueryFormat } from "@grafana/grafana-foundation-sdk/prometheus";
import { PanelBuilder as Stat } from "@grafana/grafana-foundation-sdk/stat";
import { PanelBuilder as StateTimeline } from "@grafana/grafana-foundation-sdk/statetimeline";
import { PanelBuilder as Table } from "@grafana/grafana-foundation-sdk/table";
import { PanelBuilder as TimeSeries } from "@grafana/grafana-foundation-sdk/timeseries";

export const SOURCE = { type: "prometheus", uid: "${datasource}" };
const RUNBOOKS = "https://github.com/connections-exporter/connections-exporter/blob/main/docs/runbooks";

/** From this value on (the first: from anywhere below) this colour. */
export type Step = [from: number | null, color: string];
/** A state's text and colour, at the index that is its value. */
export type States = [text: string, color: string][];

/** What every panel says of itself. */
export interface Common {
  title: string;
  description: string;
  /** Columns of 24, and rows of 36 pixels or so. */
  span: number;
  height: number;
  unit: string;
  /** From which value on which colour; the first has no lower end. */
  steps?: Step[];
  decimals?: number;
  /** What is shown where there is nothing. */
  empty: string;
  /** Alerts whose runbooks say what to do. */
  runbooks?: string[];
}

export const GREEN: Step[] = [[null, "green"]];
export const NEUTRAL: Step[] = [[null, "blue"]];
/** The colour of what has nothing to say. */
export const MUTE = "#6b6e76";
/** Green, and of this colour from one on. */
export const none = (color: string): Step[] => [[null, "green"], [1, color]];

const thresholds = (steps: Step[]) => ({
  mode: dashboard.ThresholdsMode.Absolute,
  steps: steps.map(([value, color]) => ({ value, color })),
});

/** A text and a colour for some values. */
const texts = (of: [value: number, text: string, color: string][]): dashboard.ValueMapping[] => [
  {
    type: dashboard.MappingType.ValueToText,
    options: Object.fromEntries(of.map(([value, text, color], index) => [String(value), { text, color, index }])),
  } as dashboard.ValueMap,
];
/** Texts and colours for states. */
export const states = (of: States) => texts(of.map(([text, color], index) => [index, text, color]));
/** What a number of tokens says where no rules judge them. */
export const NO_RULES = texts([[-1, "no rules", "purple"]]);

const runbook = (alert: string) =>
  new dashboard.DashboardLinkBuilder(alert)
    .type(dashboard.DashboardLinkType.Link)
    .tooltip(`What to do about ${alert}`)
    .url(`${RUNBOOKS}/${alert}.md`)
    .targetBlank(true);

/** A link to the runbook that a cell names. */
export const runbookOfCell = { id: "links", value: [{ title: "Runbook", url: `${RUNBOOKS}/\${__value.raw}.md`, targetBlank: true }] };

type Panel = Stat | Table | TimeSeries | StateTimeline;

function explained<P extends Panel>(panel: P, of: Common): P {
  panel
    .title(of.title)
    .description(of.description)
    .datasource(SOURCE)
    .span(of.span)
    .height(of.height)
    .unit(of.unit)
    .noValue(of.empty)
    .thresholds(new dashboard.ThresholdsConfigBuilder().mode(dashboard.ThresholdsMode.Absolute).steps(thresholds(of.steps ?? GREEN).steps));
  if (of.decimals !== undefined) panel.decimals(of.decimals);
  if (of.runbooks) panel.links(of.runbooks.map(runbook));
  return panel;
}

const query = (index: number, expr: string) => new DataqueryBuilder().refId(String.fromCharCode(65 + index)).datasource(SOURCE).expr(expr);

/** A number as of now; and beside it another, which says the same in another unit. */
export function stat(
  of: Common & {
    expr: string;
    beside?: { expr: string; unit: string; decimals: number };
    to?: string;
    mappings?: dashboard.ValueMapping[];
    text?: boolean;
    emptyColor?: string;
  },
): Stat {
  const panel = explained(new Stat(), of)
    .withTarget(query(0, of.expr).instant().legendFormat("__auto"))
    .colorMode(common.BigValueColorMode.Background)
    .graphMode(common.BigValueGraphMode.None)
    .textMode(of.text ? common.BigValueTextMode.ValueAndName : common.BigValueTextMode.Value)
    .reduceOptions(new common.ReduceDataOptionsBuilder().calcs(["lastNotNull"]))
    .colorScheme(new dashboard.FieldColorBuilder().mode(dashboard.FieldColorModeId.Thresholds))
    // Nothing is not well: in place of the colour of the lowest threshold.
    .mappings([
      ...(of.mappings ?? []),
      {
        type: dashboard.MappingType.SpecialValue,
        options: { match: dashboard.SpecialValueMatch.Null, result: { text: of.empty, color: of.emptyColor ?? "purple" } },
      } as dashboard.SpecialValueMap,
    ]);
  if (of.to) panel.dataLinks([new dashboard.DashboardLinkBuilder("Details").url(of.to)]);
  if (of.beside) {
    const { expr, unit, decimals } = of.beside;
    const color = { mode: dashboard.FieldColorModeId.Fixed, fixedColor: MUTE };
    panel
      .withTarget(query(1, expr).instant().legendFormat("__auto"))
      .overrideByQuery("B", Object.entries({ unit, decimals, color }).map(([id, value]) => ({ id, value })));
  }
  return panel;
}

export interface Series {
  expr: string;
  legend: string;
}

/** Lines over time, or bars for what happens now and then. */
export function timeseries(of: Common & { queries: Series[]; bars?: boolean; stacked?: boolean; max?: number; line?: boolean; dashed?: string }): TimeSeries {
  const panel = explained(new TimeSeries(), of)
    .colorScheme(new dashboard.FieldColorBuilder().mode(dashboard.FieldColorModeId.PaletteClassicByName))
    .legend(
      // Beside a narrow graph there is no room.
      of.span >= 12
        ? new common.VizLegendOptionsBuilder().showLegend(true).displayMode(common.LegendDisplayMode.Table).placement(common.LegendPlacement.Right).calcs(["lastNotNull", "max"])
        : new common.VizLegendOptionsBuilder().showLegend(true).displayMode(common.LegendDisplayMode.List).placement(common.LegendPlacement.Bottom).calcs([]),
    )
    .tooltip(new common.VizTooltipOptionsBuilder().mode(common.TooltipDisplayMode.Multi).sort(common.SortOrder.Descending))
    .axisSoftMin(0)
    .lineWidth(of.bars ? 1 : 2)
    .fillOpacity(of.bars ? 80 : of.stacked ? 25 : 0)
    .showPoints(common.VisibilityMode.Never)
    .drawStyle(of.bars ? common.GraphDrawStyle.Bars : common.GraphDrawStyle.Line)
    .stacking(new common.StackingConfigBuilder().mode(of.bars || of.stacked ? common.StackingMode.Normal : common.StackingMode.None).group("A"))
    .thresholdsStyle(new common.GraphThresholdsStyleConfigBuilder().mode(of.line ? common.GraphThresholdsStyleMode.Dashed : common.GraphThresholdsStyleMode.Off));
  if (of.max !== undefined) panel.max(of.max);
  of.queries.forEach(({ expr, legend }, index) => panel.withTarget(query(index, expr).range().legendFormat(legend)));
  if (of.dashed)
    panel.overrideByRegexp(of.dashed, [{ id: "custom.lineStyle", value: { fill: "dash", dash: [8, 6] } }, { id: "custom.fillOpacity", value: 0 }]);
  return panel;
}

/** States over time, a lane for each thing; a gap where nothing is known. */
export function timeline(of: Common & { queries: Series[]; states: States }): StateTimeline {
  const panel = explained(new StateTimeline(), of)
    .mappings(states(of.states))
    .colorScheme(new dashboard.FieldColorBuilder().mode(dashboard.FieldColorModeId.Thresholds))
    .mergeValues(true)
    .showValue(common.VisibilityMode.Never)
    .rowHeight(0.85)
    .lineWidth(0)
    .fillOpacity(80)
    .perPage(20)
    .legend(new common.VizLegendOptionsBuilder().showLegend(true).displayMode(common.LegendDisplayMode.List).placement(common.LegendPlacement.Bottom).calcs([]));
  of.queries.forEach(({ expr, legend }, index) => panel.withTarget(query(index, expr).range().legendFormat(legend)));
  return panel;
}

/** A column: the label or the value of a query (`#A`) that it shows. */
export interface Column {
  from: string;
  title: string;
  unit?: string;
  decimals?: number;
  steps?: Step[];
  states?: States;
  /** Only for links to refer to. */
  hidden?: boolean;
  /** Where a click leads. */
  link?: string;
  runbook?: boolean;
  width?: number;
}

/** Units of columns. */
export const DATE = "time:YYYY-MM-DD HH:mm";
export const DURATION = { unit: "dtdurations", decimals: 0 };
/** Where a row comes from: the second column is there only where series have the label. */
export const ORIGIN: Column[] = [
  { from: "job", title: "Job", width: 160 },
  { from: "cluster", title: "Cluster", width: 100 },
];
/** The same at the end of a legend. */
export const legend = (what: string) => `${what} · {{job}} {{cluster}}`;

const isValue = (from: string) => from.startsWith("#");

/** Rows as of now, one for each set of labels; those of other queries are among the first's. */
export function table(of: Common & { queries: string[]; columns: Column[]; sort: [title: string, descending: boolean][] }): Table {
  const panel = explained(new Table(), of).cellHeight(common.TableCellHeight.Sm).filterable(true);
  of.queries.forEach((expr, index) => panel.withTarget(query(index, expr).instant().format(PromQueryFormat.Table)));
  // Where only one query has an answer, its column is called just Value.
  const names = (from: string) => (isValue(from) ? [`Value ${from}`, ...(from === "#A" ? ["Value"] : [])] : [from]);
  const each = (value: (column: Column, index: number) => unknown) =>
    Object.fromEntries(of.columns.flatMap((column, index) => names(column.from).map((name) => [name, value(column, index)])));
  const shown = of.columns.flatMap((column) => names(column.from));
  panel.transformations([
    { id: "merge", options: {} },
    { id: "filterFieldsByName", options: { include: { names: shown } } },
    { id: "organize", options: { excludeByName: {}, indexByName: each((_, index) => index), renameByName: each(({ title }) => title) } },
  ]);
  // A panel's word for nothing would stand in each empty cell.
  panel.overrideByRegexp("/.*/", [{ id: "noValue", value: "" }]);
  for (const column of of.columns) {
    const properties: dashboard.DynamicConfigValue[] = [];
    if (column.unit) properties.push({ id: "unit", value: column.unit });
    if (column.decimals !== undefined) properties.push({ id: "decimals", value: column.decimals });
    if (column.steps) properties.push({ id: "thresholds", value: thresholds(column.steps) });
    if (column.states) properties.push({ id: "mappings", value: states(column.states) });
    if (column.hidden) properties.push({ id: "custom.hidden", value: true });
    if (column.steps || column.states) properties.push({ id: "custom.cellOptions", value: { type: common.TableCellDisplayMode.ColorText } });
    if (column.link) properties.push({ id: "links", value: [{ title: "Details", url: column.link }] });
    if (column.runbook) properties.push(runbookOfCell);
    if (column.width) properties.push({ id: "custom.width", value: column.width });
    if (properties.length) panel.overrideByName(column.title, properties);
  }
  return panel.sortBy(of.sort.map(([title, desc]) => new common.TableSortByFieldStateBuilder().displayName(title).desc(desc)));
}
