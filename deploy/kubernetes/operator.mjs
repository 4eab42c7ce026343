// Checks an object of an operator, JSON on standard input, against the schema of its kind. Arguments: the folder with the
// packages that hold them, and the path of the kinds in it. An unknown key is no error.
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const object = JSON.parse(readFileSync(0, "utf8"));
const kinds = `node_modules/@kubernetes-models/${process.argv[3]}/${object.kind}.js`;
const { [object.kind]: Kind } = await import(pathToFileURL(resolve(process.argv[2], kinds)));
new Kind(object).validate();
