//! Writes TypeScript that says of each dashboard that it has Grafana's own published types, for the compiler to hold.
//!
//! The SDK's types are others than those of the Grafana that reads the JSON, and are looser in what each kind of panel may have.

import { readFileSync } from "node:fs";
import { basename } from "node:path";
import type { Dashboard, Panel } from "@grafana/grafana-foundation-sdk/dashboard";

/** For each kind of panel the file of its types, and whether it has field options. */
const KINDS: Record<string, [file: string, fields: string | null]> = {
  stat: ["stat/panelcfg/x/StatPanelCfg_types.gen", null],
  "state-timeline": ["statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen", "FieldConfig"],
  table: ["table/panelcfg/x/TablePanelCfg_types.gen", "FieldConfig"],
  timeseries: ["timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen", "FieldConfig"],
};

const lines = [
  'import type { AnnotationQuery, Dashboard, DataQuery } from "@grafana/schema";',
  // What the data source adds, of which this package has no types.
  "type Query = DataQuery & { expr: string };",
  "type Annotation = AnnotationQuery<Query> & { expr: string; step: string; titleFormat: string; textFormat: string; tagKeys: string; useValueForTime: boolean };",
  'type Annotated = Omit<Dashboard, "annotations"> & { annotations: { list: Annotation[] } };',
  // JSON has an enum's values where types have the enum.
  "type Plain<T> = T extends string ? `${T}` : T extends (infer A)[] ? Plain<A>[] : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;",
  "type Field<T, K extends PropertyKey> = K extends keyof T ? T[K] : never;",
];
const says = (type: string, value: unknown) => lines.push(`((_: ${type}) => _)(${JSON.stringify(value)});`);
const imported = (kind: string, name: string) => {
  if (!KINDS[kind]) throw new Error(`no types are known of a ${kind}`);
  return `import("./node_modules/@grafana/schema/dist/types/raw/composable/${KINDS[kind][0]}").${name}`;
};

for (const file of process.argv.slice(2)) {
  const dashboard = JSON.parse(readFileSync(file, "utf8")) as Dashboard;
  lines.push(`// ${basename(file)}`);
  says("Plain<Annotated>", dashboard);
  for (const panel of dashboard.panels ?? []) {
    if (panel.type === "row") continue;
    const { type, options, fieldConfig, title } = panel as Panel;
    lines.push(`// ${title}`);
    says(`Plain<${imported(type, "Options")}>`, options);
    const fields = KINDS[type][1] && `Partial<${imported(type, KINDS[type][1])}>`;
    if (fields) says(`Plain<${fields}>`, fieldConfig?.defaults.custom ?? {});
    for (const { id, value } of fieldConfig?.overrides.flatMap(({ properties }) => properties) ?? [])
      if (id.startsWith("custom.")) says(`Plain<Field<Required<${fields}>, ${JSON.stringify(id.slice(7))}>>`, value);
  }
}
console.log(lines.join("\n"));
