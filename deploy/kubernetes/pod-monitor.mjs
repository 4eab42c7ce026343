// Checks a PodMonitor, JSON on standard input, against the schema of the Prometheus operator. The folder with the
// package that holds it is the argument.
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const kinds = "node_modules/@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PodMonitor.js";
const { PodMonitor } = await import(pathToFileURL(resolve(process.argv[2], kinds)));
new PodMonitor(JSON.parse(readFileSync(0, "utf8"))).validate();
