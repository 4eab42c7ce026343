"""Tests the Helm chart with Helm itself, as a library: `test.py TOOLS [CHART]`.

TOOLS is the directory in which deploy/tools.sh has installed the tools. Each file in tests/ is a
case:

    values: {...}            # what an operator writes
    release: name            # default: connections-exporter
    namespace: name          # default: monitoring
    error: [text, ...]       # the values are refused, with these texts in the message
    expect:                  # or: they are accepted, with these values in the objects
      Kind/name:
        spec.list[0].key: 1
        spec.list[name=x].key: null      # there is none
        data["config.yaml"] | yaml: {}   # the text is YAML
    absent: [Kind, Kind/name]
    notes: [text, ...]       # in NOTES.txt
    kustomize: example       # the objects are those of this overlay, except for DIFFERENCES

Beyond that, every object that a case renders is checked against the schemas of Kubernetes and of
the Prometheus operator, and against the rules in `sound`. Every PrometheusRule is compared with
what jsonnet makes of the same settings.
"""

import base64
import copy
import functools
import gzip
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import helm_python
import kubernetes_validate
import yaml

# A binary file in deploy/ would be read as text by the tests of the program.
sys.dont_write_bytecode = True

import values as documentation  # noqa: E402

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
KUBERNETES = ROOT / "deploy/kubernetes"
VERSIONS = ["1.34", "1.37"]

# What may differ between the chart and Kustomize. README.md of the chart lists the same.
DIFFERENCES = {
    "labels": [
        "app.kubernetes.io/instance",
        "app.kubernetes.io/managed-by",
        "app.kubernetes.io/version",
        "helm.sh/chart",
    ],
    "annotations": ["checksum/config"],
    "fields": ["imagePullPolicy"],
}

# It would load the definitions, two megabytes, anew for each object.
kubernetes_validate.utils.schema_contents = functools.lru_cache(None)(
    kubernetes_validate.utils.schema_contents
)


class Loader(yaml.CSafeLoader):
    """Reads YAML, and refuses a key that is there twice."""


def mapping(loader, node):
    loader.flatten_mapping(node)
    keys = [loader.construct_object(key) for key, _ in node.value]
    twice = {str(key) for key in keys if keys.count(key) > 1}
    if twice:
        raise yaml.YAMLError(f"twice in a map: {', '.join(sorted(twice))}{node.start_mark}")
    return dict(zip(keys, (loader.construct_object(value, deep=True) for _, value in node.value)))


Loader.add_constructor("tag:yaml.org,2002:map", mapping)
# PyYAML has no value for a plain `=` or `<<` in a list, which is text for everybody else.
for tag in ("merge", "value"):
    Loader.add_constructor(f"tag:yaml.org,2002:{tag}", lambda loader, node: node.value)


class Failure(Exception):
    """What is wrong, as a sentence."""


def read(text):
    """Returns the objects in a text."""
    return [document for document in yaml.load_all(text, Loader) if document]


@functools.lru_cache(None)
def command(*arguments):
    """Returns what a program prints."""
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"{' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def render(chart, case):
    """Returns the objects by kind and name, and the notes."""
    release = case.get("release", "connections-exporter")
    helm_python.validate_release_name(release)
    texts = chart.render(
        case.get("values", {}), name=release, namespace=case.get("namespace", "monitoring")
    )
    objects, notes = {}, ""
    for path, text in sorted(texts.items()):
        if path.endswith("NOTES.txt"):
            notes = text
            continue
        for found in read(text):
            name = f"{found['kind']}/{found['metadata']['name']}"
            if name in objects:
                raise Failure(f"{path}: there are two of {name}")
            objects[name] = found
    return objects, notes


STEP = re.compile(r'\.?([A-Za-z0-9_-]+)|\[(-?\d+)\]|\["([^"]+)"\]|\[(\w+)=([^\]]+)\]')


def follow(value, path):
    """Returns the value at a path, or None."""
    path, _, kind = path.partition(" | ")
    end = 0
    while end < len(path):
        step = STEP.match(path, end)
        if not step:
            raise Failure(f"{path}: no path from character {end} on")
        end = step.end()
        key, index, quoted, field, wanted = step.groups()
        if index is not None:
            value = value[int(index)] if value and -len(value) <= int(index) < len(value) else None
        elif field:
            value = next((one for one in value or [] if str(one.get(field)) == wanted), None)
        else:
            value = (value or {}).get(key or quoted)
    return yaml.load(value, Loader) if kind == "yaml" else value


def expectations(case, objects, notes):
    """Yields what differs from the file of the case."""
    for name, paths in case.get("expect", {}).items():
        if name not in objects:
            yield f"there is no {name}, only {', '.join(objects)}"
            continue
        for path, wanted in paths.items():
            found = follow(objects[name], path)
            if found != wanted:
                yield f"{name}: {path} is {found!r}, not {wanted!r}"
    for name in case.get("absent", []):
        for found in objects:
            if found == name or found.split("/")[0] == name:
                yield f"there is {found}"
    for text in case.get("notes", []):
        if text not in notes:
            yield f"NOTES.txt does not have {text!r}: {notes}"
    config = case.get("values", {}).get("config")
    if config:
        [found] = [
            one["data"]["config.yaml"]
            for one in objects.values()
            if "config.yaml" in one.get("data", {})
        ]
        if yaml.load(found, Loader) != config:
            yield f"config.yaml is not what config says: {found}"


LABEL = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")
SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")


def sound(objects):
    """Yields what no schema says, and what would fail in a cluster."""
    own = {
        name: one
        for name, one in objects.items()
        if "helm.sh/chart" in one["metadata"].get("labels", {})
    }
    [stateful] = [one for one in own.values() if one["kind"] == "StatefulSet"]
    spec = stateful["spec"]
    template = spec["template"]
    pod = template["spec"]
    home = stateful["metadata"]["namespace"]
    # Kubernetes appends a hash of eleven characters for a label of the pods.
    if len(stateful["metadata"]["name"]) > 52:
        yield f"the name {stateful['metadata']['name']} is too long"

    def selects(name, selector, labels):
        for label, value in (selector or {"nothing": ""}).items():
            if labels.get(label) != value:
                yield f"{name}: the selector {label}={value} does not find {labels}"

    for name, one in own.items():
        metadata = one["metadata"]
        if not SUBDOMAIN.match(metadata["name"]) or len(metadata["name"]) > 253:
            yield f"{name}: no valid name"
        if one["kind"] == "Service" and not re.match(
            r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$", metadata["name"]
        ):
            yield f"{name}: no valid name of a Service"
        if not metadata.get("namespace"):
            yield f"{name}: no namespace"
        labels = dict(metadata["labels"])
        if one["kind"] == "StatefulSet":
            labels |= template["metadata"]["labels"]
        for label, value in labels.items():
            if not isinstance(value, str) or len(value) > 63 or not LABEL.match(value):
                yield f"{name}: {value!r} is no valid value of the label {label}"
        for key, value in metadata.get("annotations", {}).items():
            if not isinstance(value, str):
                yield f"{name}: the annotation {key} is no text"
        if one["kind"] in (
            "Service",
            "StatefulSet",
            "PodDisruptionBudget",
            "NetworkPolicy",
            "PodMonitor",
        ):
            selector = one["spec"].get("selector") or one["spec"].get("podSelector")
            selector = selector if one["kind"] == "Service" else selector["matchLabels"]
            yield from selects(name, selector, template["metadata"]["labels"])
        if one["kind"] == "ServiceMonitor":
            [service] = [other for other in own.values() if other["kind"] == "Service"]
            yield from selects(
                name, one["spec"]["selector"]["matchLabels"], service["metadata"]["labels"]
            )
        if one["kind"] in ("PodMonitor", "ServiceMonitor") and metadata["namespace"] != home:
            if follow(one, "spec.namespaceSelector.matchNames") != [home]:
                yield f"{name}: it looks in its own namespace only"

    volumes = [volume["name"] for volume in pod.get("volumes", [])]
    volumes += [claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", [])]
    if len(volumes) != len(set(volumes)):
        yield f"a volume is there twice: {volumes}"
    for container in pod["containers"] + pod.get("initContainers", []):
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes:
                yield f"{container['name']}: there is no volume {mount['name']}"
    made = [f"{one['kind']}/{one['metadata']['name']}" for one in own.values()]
    for volume in pod.get("volumes", []):
        found = follow(volume, "configMap.name")
        if volume["name"] == "config" and found == stateful["metadata"]["name"]:
            if f"ConfigMap/{found}" not in made:
                yield f"there is no ConfigMap {found}"
    if spec["serviceName"] not in [
        one["metadata"]["name"] for one in own.values() if one["kind"] == "Service"
    ]:
        yield f"there is no Service {spec['serviceName']}"
    # An upgrade could not change what is in these.
    for claim in spec.get("volumeClaimTemplates", []):
        if claim["metadata"]["labels"] != spec["selector"]["matchLabels"]:
            yield "the labels of the claim change with the chart"


def rules(case, objects):
    """Yields how a PrometheusRule differs from what jsonnet makes of the settings."""
    settings = case.get("values", {}).get("prometheusRule", {})
    found = [one for one in objects.values() if one["kind"] == "PrometheusRule"]
    if bool(found) != bool(settings.get("enabled")):
        yield f"prometheusRule.enabled is {settings.get('enabled')}, and there are {len(found)}"
    names = ("labels", "runbookUrl", "grafanaUrl", "alerts", "thresholds")
    settings = {name: settings[name] for name in names if name in settings}
    for one in found:
        if settings:
            with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
                json.dump(settings, file)
                file.flush()
                made = command(
                    "jsonnet",
                    "--string",
                    "--tla-str-file",
                    f"values={file.name}",
                    "--tla-code",
                    "kubernetes=true",
                    str(ROOT / "deploy/mixin/manifest.jsonnet"),
                )
        else:
            # deploy/check.sh compares it with what jsonnet makes, which takes seconds.
            made = (KUBERNETES / "components/prometheus-rule/prometheus-rule.yaml").read_text()
        [wanted] = read(made)
        if one["spec"].keys() != wanted["spec"].keys():
            yield f"the PrometheusRule has {', '.join(one['spec'])}"
        for group, other in zip(one["spec"]["groups"], wanted["spec"]["groups"], strict=True):
            if group["name"] != other["name"] or len(group["rules"]) != len(other["rules"]):
                yield f"group {group['name']} differs from jsonnet's {other['name']}"
            for rule, expected in zip(group["rules"], other["rules"], strict=False):
                if rule != expected:
                    yield f"jsonnet makes {json.dumps(expected)}, not {json.dumps(rule)}"


def stripped(node):
    """Returns an object without what may differ from Kustomize."""
    if isinstance(node, list):
        return [stripped(value) for value in node]
    if not isinstance(node, dict):
        return node
    result = {}
    for name, value in node.items():
        value = stripped(value)
        if name in ("labels", "matchLabels", "selector", "annotations") and isinstance(value, dict):
            dropped = DIFFERENCES["annotations"] if name == "annotations" else DIFFERENCES["labels"]
            value = {key: text for key, text in value.items() if key not in dropped}
            if not value:
                continue
        if name not in DIFFERENCES["fields"]:
            result[name] = value
    return result


def kustomize(case, objects):
    """Yields how the objects differ from those of the overlay."""

    def ready(all_objects):
        result = {}
        for one in stripped(all_objects):
            if one["kind"] == "Namespace":
                continue
            if one["kind"] == "ConfigMap":
                # Kustomize appends a hash, sets no labels, and lays the text out differently.
                one["metadata"].pop("labels", None)
                one["data"] = {key: yaml.load(text, Loader) for key, text in one["data"].items()}
            text = re.sub(
                r'"connections-exporter-[a-z0-9]{10}"', '"connections-exporter"', json.dumps(one)
            )
            one = json.loads(text)
            result[f"{one['kind']}/{one['metadata']['name']}"] = one
        return result

    overlay = KUBERNETES / "overlays" / case["kustomize"]
    wanted = ready(read(command("kubectl", "kustomize", str(overlay))))
    found = ready(list(objects.values()))
    for name in sorted(set(wanted) | set(found)):
        if wanted.get(name) != found.get(name):
            yield (
                f"{name} differs from Kustomize:"
                f"\n  Kustomize: {json.dumps(wanted.get(name), sort_keys=True)}"
                f"\n  chart:     {json.dumps(found.get(name), sort_keys=True)}"
            )


def validated(objects, tools):
    """Yields what the schemas refuse. Takes a map from an object's JSON to its case."""
    operator = []
    for text, case in objects.items():
        one = json.loads(text)
        if one["apiVersion"].startswith("monitoring.coreos.com/"):
            operator.append(one)
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(one, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                path = ".".join(str(step) for step in error.path)
                yield f"{case}: {one['kind']} is not valid in {version}: {path}: {error.message}"
    done = subprocess.run(
        ["node", KUBERNETES / "operator.mjs", tools / "npm"],
        input=json.dumps(operator),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        yield f"the schemas of the Prometheus operator refuse an object: {done.stderr}"


def check_case(chart, case):
    """Yields what is wrong with a case. Returns its objects."""
    if "error" in case:
        try:
            render(chart, case)
        except helm_python.HelmError as error:
            for text in case["error"]:
                if text not in str(error):
                    yield f"the error does not say {text!r}, but: {error}"
        else:
            yield "the values are accepted"
        return {}
    try:
        objects, notes = render(chart, case)
    except (helm_python.HelmError, yaml.YAMLError, Failure) as error:
        yield f"it does not render: {error}"
        return {}
    yield from expectations(case, objects, notes)
    yield from sound(objects)
    yield from rules(case, objects)
    if "kustomize" in case:
        yield from kustomize(case, objects)
    return objects


def set_paths(values, path=""):
    """Yields the paths of all values."""
    for name, value in values.items():
        yield path + name
        if isinstance(value, dict):
            yield from set_paths(value, f"{path}{name}.")


def dashboards(objects):
    """Yields how the dashboards differ from the component."""
    component = KUBERNETES / "components/dashboards"
    [settings] = read((component / "kustomization.yaml").read_text())
    for generator in settings["configMapGenerator"]:
        one = objects.get("ConfigMap/" + generator["name"])
        if not one:
            yield f"there is no ConfigMap {generator['name']}"
            continue
        if one["data"] != {name: (component / name).read_text() for name in generator["files"]}:
            yield f"{generator['name']} is not the dashboard of the component: make dashboards"
        for field in ("labels", "annotations"):
            wanted = settings["generatorOptions"][field]
            found = {key: one["metadata"][field].get(key) for key in wanted}
            if found != wanted:
                yield f"{generator['name']}: {field} are {found}, not {wanted}"


def whole(chart, path, cases):
    """Yields what is wrong with the chart as a whole."""
    cargo = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
    for field in ("version", "appVersion"):
        if chart.metadata[field] != cargo:
            yield f"Chart.yaml: {field} is {chart.metadata[field]}, and Cargo.toml says {cargo}"

    good = {name: case for name, case in cases.items() if "error" not in case}
    described = documentation.described((path / "values.yaml").read_text())
    tried = {path for case in good.values() for path in set_paths(case.get("values", {}))}
    for name in described:
        if name not in tried:
            yield f"no case sets {name}"

    example = cases["kustomize-example"]["values"]
    for message in helm_python.lint(path, example, strict=True)["messages"]:
        # Information, such as that an icon is recommended, is no error.
        if message["severity"] > 1:
            yield f"lint: {message['path']}: {message['error']}"

    with tempfile.TemporaryDirectory() as folder:
        # The archive is the chart.
        archive = helm_python.package(path, destination=folder)
        with helm_python.Chart.load(archive) as packed:
            for name, case in good.items():
                if render(packed, case) != render(chart, case):
                    yield f"{name}: the packaged chart renders something else"
        # A release is stored in a Secret, which holds at most a megabyte.
        everything = {
            "chart": [chart.files, chart.templates, chart.schema, chart.values],
            "manifest": render(chart, good["everything"])[0],
        }
        size = len(base64.b64encode(gzip.compress(json.dumps(everything).encode())))
        if size > 600_000:
            yield f"a release takes {size} bytes of the 1,048,576 in a Secret"

        # As part of another chart, which gives it `global`.
        parent = Path(folder) / "parent"
        shutil.copytree(path, parent / "charts/connections-exporter")
        (parent / "Chart.yaml").write_text("apiVersion: v2\nname: parent\nversion: 1.0.0\n")
        with helm_python.Chart.load(parent) as outer:
            inner = {"global": {"anything": 1}, "connections-exporter": example}
            inside, _ = render(outer, {"values": inner})
            if inside.keys() != render(chart, {"values": example})[0].keys():
                yield f"as a subchart it renders {', '.join(inside)}"


def nulls(chart, path, case):
    """Yields where null, which removes a default, gives neither objects nor an error that helps."""
    for removed in documentation.described((path / "values.yaml").read_text()):
        values = copy.deepcopy(case["values"])
        # They are long, and have nothing that could be null.
        values["dashboards"] = {"enabled": False}
        node = values
        *parents, last = removed.split(".")
        for name in parents:
            node = node.setdefault(name, {})
        node[last] = None
        try:
            objects, _ = render(chart, {"values": values})
        except helm_python.HelmError as error:
            text = str(error)
            if "meet the specifications" not in text and "The values contradict" not in text:
                yield f"{removed}: null: {text}"
            continue
        except (Failure, yaml.YAMLError) as error:
            yield f"{removed}: null: {error}"
            continue
        for problem in sound(objects):
            yield f"{removed}: null: {problem}"


def collected(checks):
    """Returns what a generator of problems yields, and what it returns."""
    problems = []
    while True:
        try:
            problems.append(next(checks))
        except StopIteration as end:
            return problems, end.value
        # A chart that does not render, or renders something of a shape that the checks do not know.
        except (
            Failure,
            LookupError,
            TypeError,
            ValueError,
            helm_python.HelmError,
            yaml.YAMLError,
        ) as error:
            return [*problems, f"{type(error).__name__}: {error}"], None


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: test.py TOOLS [CHART]")
    tools = Path(sys.argv[1]).resolve()
    path = Path(sys.argv[2] if len(sys.argv) == 3 else HERE / "connections-exporter").resolve()
    cases = {
        file.stem: read(file.read_text())[0] for file in sorted((HERE / "tests").glob("*.yaml"))
    }
    fields = {"values", "release", "namespace", "error", "expect", "absent", "notes", "kustomize"}
    problems, made = [], {}
    with helm_python.Chart.load(path) as chart:
        for name, case in cases.items():
            unknown = set(case) - fields
            if unknown:
                problems.append(f"{name}: unknown field {', '.join(unknown)}")
            found, objects = collected(check_case(chart, case))
            problems += [f"{name}: {problem}" for problem in found]
            for one in (objects or {}).values():
                made.setdefault(json.dumps(one, sort_keys=True), name)
            if name == "everything":
                problems += collected(dashboards(objects or {}))[0]
        problems += collected(whole(chart, path, cases))[0]
        problems += collected(nulls(chart, path, cases["everything"]))[0]
    problems += validated(made, tools)
    print("\n".join(problems))
    bad = sum("error" in case for case in cases.values())
    print(f"{len(cases) - bad} good and {bad} bad values files, {len(made)} different objects")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
