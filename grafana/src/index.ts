//! Writes the dashboards as JSON into the folder named.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { budget } from "./budget";
import { connections } from "./connections";
import { overview } from "./overview";

const folder = process.argv[2];
if (!folder) throw new Error("expected the folder to write into");
for (const [name, built] of Object.entries({ overview: overview(), connections: connections(), budget: budget() }))
  writeFileSync(join(folder, `${name}.json`), `${JSON.stringify(built, null, 2)}\n`);
