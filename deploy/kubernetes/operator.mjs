// Checks an object of the Prometheus operator, JSON on standard input, against the schema of its kind. The folder with
// the package that holds them is the argument.
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const object = JSON.parse(readFileSync(0, "utf8"));
const kinds = `node_modules/@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/${object.kind}.js`;
const { [object.kind]: Kind } = await import(pathToFileURL(resolve(process.argv[2], kinds)));
new Kind(object).validate();
