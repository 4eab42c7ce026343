//! Writes the dashboards as JSON: to read into one folder, on one line for ConfigMaps into another.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { budget } from "./budget";
import { connections } from "./connections";
import { overview } from "./overview";

// `kubectl apply` keeps a copy in an annotation, and those have no more space.
const ANNOTATIONS = 256 * 1024;

const [folder, short] = process.argv.slice(2);
if (!folder || !short) throw new Error("expected the two folders to write into");
for (const [name, built] of Object.entries({ overview: overview(), connections: connections(), budget: budget() })) {
  writeFileSync(join(folder, `${name}.json`), `${JSON.stringify(built, null, 2)}\n`);
  const line = JSON.stringify(built);
  if (JSON.stringify(line).length > 0.9 * ANNOTATIONS) throw new Error(`${name} is too large for kubectl apply`);
  // The name of a key is that of a file among those of all other dashboards in the cluster.
  writeFileSync(join(short, `connections-exporter-${name}.json`), `${line}\n`);
}
