#!/bin/sh
# Runs the files of target/package where they have to work: in Debian 11, whose libc is older than
# that of the machine that built them, in a root directory without any library, and for arm64 in an
# emulator. It installs, upgrades and removes the RPM package in that Debian, too.
# Needs root, the mirror of Debian packages, and the programs that `tools.sh` installs with `try`.
set -eu
package=$(realpath "${1:-target/package}")
scratch=$(mktemp --directory)
process=
stop() {
    if [ -n "$process" ]; then
        kill "$process"
        wait "$process" || :
        process=
    fi
}
trap 'stop; rm -rf "$scratch"' EXIT

# Arguments: what is tried, and the command that runs the program.
demo() {
    what=$1
    shift
    port=$((20000 + $$ % 10000))
    "$@" demo --web.listen-address="127.0.0.1:$port" >"$scratch/output" 2>&1 &
    process=$!
    for _ in $(seq 300); do
        curl --silent --fail --output "$scratch/ready" "http://127.0.0.1:$port/-/ready" && break
        kill -0 "$process" 2>/dev/null || break
        sleep 0.2
    done
    if ! grep --quiet 'is ready' "$scratch/ready" 2>/dev/null; then
        cat "$scratch/output"
        echo "$what: the demo is not ready" >&2
        exit 1
    fi
    # The demo sends requests to itself: over loopback, with names, tokens and TLS libraries loaded.
    curl --silent "http://127.0.0.1:$port/metrics" >"$scratch/page"
    grep --quiet '^saas_connections{' "$scratch/page"
    stop
    echo "$what: $("$@" --version | head -n 1)"
}

for architecture in amd64 arm64; do
    mkdir "$scratch/$architecture"
    tar --extract --gzip --strip-components=1 --directory="$scratch/$architecture" --file="$(echo "$package"/*-linux-$architecture.tar.gz)"
done
(cd "$package" && sha256sum --check --quiet SHA256SUMS)

mkdir -p "$scratch/empty/bin"
cp "$scratch/amd64/connections-exporter" "$scratch/empty/bin/"
demo "a root directory without libraries" chroot "$scratch/empty" /bin/connections-exporter
demo "arm64" qemu-aarch64 "$scratch/arm64/connections-exporter"

mmdebstrap --quiet --variant=minbase --include=ca-certificates bullseye "$scratch/debian"
cp "$scratch/amd64/connections-exporter" "$scratch/debian/usr/local/bin/"
demo "Debian $(cat "$scratch/debian/etc/debian_version")" chroot "$scratch/debian" /usr/local/bin/connections-exporter
rm "$scratch/debian/usr/local/bin/connections-exporter"

# Debian has no database of RPM packages, so dependencies are not checked.
rpm="rpm --root=$scratch/debian --nodeps"
file=$(echo "$package"/*.x86_64.rpm)
$rpm --install "$file"
config=$scratch/debian/etc/connections-exporter/config.yaml
[ "$(stat --format=%a "$scratch/debian/etc/connections-exporter/secrets")" = 700 ]
demo "the RPM package" chroot "$scratch/debian" /usr/bin/connections-exporter
echo "# changed" >>"$config"
$rpm --upgrade --force "$file"
grep --quiet '^# changed' "$config"
$rpm --erase connections-exporter
[ ! -e "$scratch/debian/usr/bin/connections-exporter" ]
[ -e "$config.rpmsave" ]
[ -d "$scratch/debian/etc/connections-exporter/secrets" ]
echo "the RPM package: installed, upgraded and removed"
