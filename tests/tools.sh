#!/bin/sh
# Provides the programs that the tests need. Missing ones come from Debian and npm. Where possible,
# they are put into the directory given instead of being installed.
set -eu
mkdir -p "$1"
folder=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
PATH="$folder/usr/bin:$PATH"

root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

has() {
    for program; do command -v "$program" >/dev/null || return 1; done
}

# The package lists of a new machine are empty.
with_lists() {
    "$@" || { root apt-get update && "$@"; }
}

# Arguments: a package, and the programs needed from it. The package is unpacked, because its
# installation would start a service on a commonly used port.
unpacked() {
    package=$1
    shift
    has "$@" && return
    cd "$folder"
    with_lists apt-get download "$package"
    dpkg-deb --extract "$package"_*.deb .
    rm "$package"_*.deb
}
unpacked prometheus prometheus promtool
unpacked prometheus-alertmanager prometheus-alertmanager amtool
# Debian's Alertmanager reads its templates only from this path.
templates=/usr/share/prometheus/alertmanager
if [ ! -e "$templates/default.tmpl" ]; then
    root mkdir -p "$templates"
    root cp "$folder$templates"/*.tmpl "$templates/"
fi

# Newer versions, and other programs that read the rules, come from a later Debian release.
newer="$folder/newer"
if [ ! -e "$newer/complete" ]; then
    rm -rf "$newer"
    mkdir -p "$newer/lists/partial" "$newer/cache/archives/partial"
    (
        cd "$newer"
        keys=/usr/share/keyrings/debian-archive-keyring.gpg
        echo "deb [signed-by=$keys] http://deb.debian.org/debian forky main" >sources.list
        set -- -o "Dir::Etc::sourcelist=$newer/sources.list" -o Dir::Etc::sourceparts=- \
            -o "Dir::State::lists=$newer/lists" -o "Dir::Cache=$newer/cache"
        apt-get "$@" --quiet update
        apt-get "$@" --quiet download prometheus promtool prometheus-alertmanager victoria-metrics
        for package in ./*.deb; do dpkg-deb --extract "$package" .; done
        rm -r ./*.deb lists cache
        touch complete
    )
fi
mkdir -p "$folder/usr/bin"
for program in prometheus promtool prometheus-alertmanager; do
    ln -sf "$newer/usr/bin/$program" "$folder/usr/bin/$program-newer"
done
for program in vmalert-tool victoria-metrics; do
    ln -sf "$newer/usr/bin/$program" "$folder/usr/bin/$program"
done

# The Python client of Prometheus has the reference parser of OpenMetrics.
client="$folder/prometheus-client"
version=0.26.0
if [ ! -e "$client/complete-$version" ]; then
    rm -rf "$client"
    python3 -m venv "$client" || {
        with_lists root apt-get install --yes --no-install-recommends python3-venv
        python3 -m venv "$client"
    }
    "$client/bin/pip" install --quiet "prometheus-client==$version"
    touch "$client/complete-$version"
fi
printf '#!/bin/sh\nexec "%s/bin/python" "$@"\n' "$client" >"$folder/usr/bin/python-with-prometheus-client"
chmod +x "$folder/usr/bin/python-with-prometheus-client"

# A browser needs the dependencies that its installation brings.
has chromium || with_lists root apt-get install --yes --no-install-recommends chromium
has valgrind || with_lists root apt-get install --yes --no-install-recommends valgrind
has node npm || with_lists root apt-get install --yes --no-install-recommends nodejs npm

browser="$folder/browser"
if ! cmp -s "$here/browser/package-lock.json" "$browser/node_modules/.taken"; then
    mkdir -p "$browser"
    cp "$here/browser/package.json" "$here/browser/package-lock.json" "$browser"
    (cd "$browser" && npm ci --ignore-scripts --no-audit --no-fund)
    cp "$here/browser/package-lock.json" "$browser/node_modules/.taken"
fi

for program in prometheus promtool prometheus-alertmanager amtool prometheus-newer promtool-newer \
    prometheus-alertmanager-newer chromium node valgrind; do
    "$program" --version
done
vmalert-tool unittest --help >/dev/null
