#!/bin/sh
# What is done with the dashboards, with programs of npm below the folder named: write them from src/, also for Kubernetes;
# check that they are what src/ builds, and of Grafana's types; take pictures of them over the simulator.
set -eu
tools=$(realpath "$1")/grafana
task=$2
here=$(cd "$(dirname "$0")" && pwd)
component=$(realpath "$here/../deploy/kubernetes/components/dashboards")
# A chart cannot refer to files outside. deploy/check.sh compares both.
chart=$(realpath "$here/../deploy/helm/connections-exporter/files/dashboards")

if ! cmp --silent "$here/package-lock.json" "$tools/node_modules/.taken"; then
    mkdir -p "$tools"
    cp "$here/package.json" "$here/package-lock.json" "$tools"
    (cd "$tools" && npm ci --ignore-scripts --no-audit --no-fund)
    cp "$here/package-lock.json" "$tools/node_modules/.taken"
fi
# Packages are looked for beside the sources, and pictures take long enough for a check to come between.
rm -rf "${tools:?}/$task"
mkdir -p "$tools/$task/built/dashboards" "$tools/$task/built/component"
cp -r "$here/src" "$here/pictures" "$here/dashboards" "$here/tsconfig.json" "$tools/$task"
cd "$tools/$task"
ln -s ../node_modules .
PATH=$tools/node_modules/.bin:$PATH

bundled() { esbuild --bundle --log-level=warning "$@"; }
build() {
    bundled --platform=node src/index.ts --outfile=built/index.js
    node built/index.js "$1" "$2"
}
same() {
    diff -ru --exclude=kustomization.yaml "$1" "$2" || { echo "$1 is not what grafana/src builds: make dashboards"; exit 1; }
}

case $task in
write)
    build "$here/dashboards" "$component"
    cp "$component"/*.json "$chart"
    ;;
check)
    build built/dashboards built/component
    same "$here/dashboards" built/dashboards
    same "$component" built/component
    bundled --platform=node src/typed.ts --outfile=built/typed.js
    node built/typed.js "$here"/dashboards/*.json >typed.ts
    tsc --project .
    ;;
pictures)
    bundled pictures/page.ts --outfile=pictures/page.js
    cp node_modules/uplot/dist/uPlot.min.css pictures/
    NODE_PATH=$tools/../browser/node_modules node pictures/take.mjs "$3" "$here/../deploy/prometheus/alerts.yaml" "$here/../docs"
    ;;
*)
    echo "$task: expected write, check or pictures" >&2
    exit 2
    ;;
esac
