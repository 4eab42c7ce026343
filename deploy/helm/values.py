"""Makes the chart's README table and values.schema.json from values.yaml, or checks that they are
current: `values.py write` or `values.py check`.

Descriptions are the comments in values.yaml, types are in schema.yaml.
"""

import copy
import importlib.resources
import json
import re
import sys
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CHART = HERE / "connections-exporter"
# The newest version that is validated against. A field that a later one adds is refused until then.
KUBERNETES = "kubernetes-json-schema/v1.37.0-local-strict/_definitions.json"
BEGIN, END = "<!-- values: made by deploy/helm/values.py -->", "<!-- end of values -->"


def described(text):
    """Returns the descriptions in values.yaml by path, in order: the comment right above a key."""
    found, comment, parents = {}, [], []
    for line in text.splitlines():
        key = re.match(r"^( *)([A-Za-z_][A-Za-z0-9_.-]*):", line)
        if line.strip().startswith("#"):
            comment.append(line.strip().lstrip("#").strip())
            continue
        if key:
            depth = len(key[1]) // 2
            parents = parents[:depth] + [key[2]]
            if comment and len(parents) == depth + 1:
                found[".".join(parents)] = " ".join(comment)
        comment = []
    return found


def at(values, path):
    """Returns the value at a path."""
    for name in path.split("."):
        values = values[name]
    return values


def markdown(values, descriptions):
    """Returns the table of values."""
    rows = ["| value | default | meaning |", "| --- | --- | --- |"]
    for path, description in descriptions.items():
        value = at(values, path)
        # The keys of an object with descriptions have rows of their own.
        nested = isinstance(value, dict) and any(
            other.startswith(path + ".") for other in descriptions
        )
        default = "" if nested else f"`{json.dumps(value)}`"
        if len(default) > 100:
            default = "see values.yaml"
        cells = [f"`{path}`", default, description]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def plain(node):
    """Returns a type of Kubernetes without its descriptions, which would be most of the file."""
    if isinstance(node, dict):
        return {
            name: plain(value)
            for name, value in node.items()
            if not (name == "description" and isinstance(value, str)) and not name.startswith("x-")
        }
    return [plain(value) for value in node] if isinstance(node, list) else node


def renamed(node, old, prefix):
    """Returns a schema with the references below `old` changed to `#/definitions/` and a prefix."""
    if isinstance(node, dict):
        return {
            name: (
                "#/definitions/" + prefix + value.removeprefix(old)
                if name == "$ref" and isinstance(value, str)
                else renamed(value, old, prefix)
            )
            for name, value in node.items()
        }
    return [renamed(value, old, prefix) for value in node] if isinstance(node, list) else node


def references(node):
    """Yields the definitions that a schema refers to."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"].removeprefix("#/definitions/")
        node = list(node.values())
    if isinstance(node, list):
        for value in node:
            yield from references(value)


def closed(node):
    """Closes each object with `properties`, except a type of Kubernetes with additions."""
    if isinstance(node, dict):
        node = {name: closed(value) for name, value in node.items()}
        if isinstance(node.get("properties"), dict) and "extends" not in node:
            node["additionalProperties"] = False
        return node
    return [closed(value) for value in node] if isinstance(node, list) else node


def listing(node):
    """Adds a rule to each closed object that makes errors list the names that are allowed."""
    if isinstance(node, dict):
        node = {name: listing(value) for name, value in node.items()}
        if node.get("additionalProperties") is False:
            node["propertyNames"] = {"enum": sorted(node["properties"])}
        return node
    return [listing(value) for value in node] if isinstance(node, list) else node


def schema(values, descriptions):
    """Returns values.schema.json."""
    source = yaml.safe_load((HERE / "schema.yaml").read_text())
    rules = yaml.safe_load((CHART / "files/rules.yaml").read_text())
    settings = source["properties"]["prometheusRule"]["properties"]
    for group in rules["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                settings["alerts"]["properties"][rule["alert"]] = {"$ref": "alert"}
    for name in values["prometheusRule"]["thresholds"]:
        settings["thresholds"]["properties"][name] = {"type": "number", "exclusiveMinimum": 0}
    settings["thresholds"]["required"] = sorted(settings["thresholds"]["properties"])

    source = renamed(listing(closed(source)), "#/definitions/", "")
    definitions = source.pop("definitions")

    kubernetes = importlib.resources.files("kubernetes_validate").joinpath(KUBERNETES)
    kubernetes = renamed(plain(json.loads(kubernetes.read_text())["$defs"]), "#/$defs/", "")

    config = (ROOT / "docs/config.schema.json").read_text()
    # Go's regular expressions have no \\u.
    config = json.loads(re.sub(r"\\\\u00([0-9a-f]{2})", r"\\\\x\1", config))
    # The default is empty. The templates say what is missing.
    del config["allOf"], config["$schema"]
    config = renamed(listing(config), "#/definitions/", "config.")
    for name, definition in config.pop("definitions").items():
        definitions["config." + name] = definition
    definitions["config"] = config

    for name in list(source["properties"]):
        node = source["properties"][name]
        if "extends" in node:
            extended = copy.deepcopy(kubernetes[node["extends"]])
            extended["properties"] |= node["properties"]
            source["properties"][name] = extended
    todo = list(references([source, definitions]))
    while todo:
        name = todo.pop()
        if name not in definitions:
            definitions[name] = kubernetes[name]
            todo += references(kubernetes[name])

    for path, description in descriptions.items():
        node = source
        for name in path.split("."):
            # Below a type of Kubernetes there is nothing to describe.
            node = node.get("properties", {}).get(name, {})
        node["description"] = description
        if not isinstance(at(values, path), dict):
            node["default"] = at(values, path)
    result = {"$schema": "http://json-schema.org/draft-07/schema#", **source}
    result["definitions"] = dict(sorted(definitions.items()))
    return json.dumps(result, indent=1, ensure_ascii=False) + "\n"


def names(properties, values, path=""):
    """Yields the values of values.yaml and of schema.yaml that are not in both."""
    for name in sorted(set(properties) ^ set(values)):
        if path + name != "global":
            yield path + name
    for name in sorted(set(properties) & set(values)):
        node = properties[name]
        if (
            isinstance(values[name], dict)
            and "properties" in node
            and values[name]
            and "extends" not in node
        ):
            if not path + name == "prometheusRule.thresholds":
                yield from names(node["properties"], values[name], f"{path}{name}.")


def problems(values, descriptions):
    """Yields what is wrong with values.yaml itself."""
    source = yaml.safe_load((HERE / "schema.yaml").read_text())
    for name in names(source["properties"], values):
        yield f"{name} is in only one of values.yaml and schema.yaml"
    mixin = yaml.safe_load((ROOT / "deploy/mixin/values.yaml").read_text())
    for name, value in mixin.items():
        if values["prometheusRule"].get(name) != value:
            yield f"prometheusRule.{name} differs from deploy/mixin/values.yaml"

    def undescribed(node, path=""):
        for name, value in node.items():
            if any(known.startswith(f"{path}{name}.") for known in descriptions):
                yield from undescribed(value, f"{path}{name}.")
            elif path + name not in descriptions:
                yield f"{path}{name} has no comment in values.yaml"

    yield from undescribed(values)


def main():
    task = sys.argv[1] if len(sys.argv) == 2 else ""
    if task not in ("write", "check"):
        sys.exit("usage: values.py write|check")
    text = (CHART / "values.yaml").read_text()
    values, descriptions = yaml.safe_load(text), described(text)
    wrong = list(problems(values, descriptions))
    readme = (CHART / "README.md").read_text()
    before, rest = readme.split(BEGIN)
    after = rest.split(END)[1]
    made = {
        "README.md": f"{before}{BEGIN}\n\n{markdown(values, descriptions)}\n\n{END}{after}",
        "values.schema.json": schema(values, descriptions),
    }
    for name, content in made.items():
        file = CHART / name
        if task == "write":
            file.write_text(content)
        elif not file.exists() or file.read_text() != content:
            wrong.append(f"{file.relative_to(ROOT)} is not current: make helm")
    sys.exit("\n".join(wrong) or None)


if __name__ == "__main__":
    main()
