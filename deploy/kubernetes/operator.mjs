// Checks an object of an operator, or a list of them, JSON on standard input, each against the schema
// of its version and kind. The argument is the directory with the packages that hold them. An unknown
// key is no error.
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const packages = { "monitoring.coreos.com": "prometheus-operator", "external-secrets.io": "external-secrets" };
for (const object of [JSON.parse(readFileSync(0, "utf8"))].flat()) {
    const name = packages[object.apiVersion.split("/")[0]];
    const file = `node_modules/@kubernetes-models/${name}/${object.apiVersion}/${object.kind}.js`;
    const { [object.kind]: Kind } = await import(pathToFileURL(resolve(process.argv[2], file)));
    new Kind(object).validate();
}
