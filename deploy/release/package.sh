#!/bin/sh
# Builds the files of a release in target/package: for each architecture given (both without an
# argument) an archive, a Debian package, an RPM package and an SBOM (CycloneDX), and checksums of
# all. The programs are static, so they need no library of the system, and contain the list of their
# dependencies (cargo-auditable). Needs what tools.sh installs.
set -eu
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- amd64 arm64
version=$(cargo pkgid | sed 's/.*[#@]//')
time=$(git log -1 --format=%ct)
out=target/package
rm -rf "$out"
mkdir -p "$out"

# Pages in an RPM package are compressed before; cargo-deb does it itself.
rm -rf target/man
mkdir -p target/man
for page in deploy/man/*.1; do
    gzip --no-name --best --stdout "$page" >"target/man/$(basename "$page").gz"
done

for architecture in "$@"; do
    case $architecture in
    amd64) target=x86_64-unknown-linux-musl ;;
    arm64) target=aarch64-unknown-linux-musl ;;
    *) echo "$architecture: must be amd64 or arm64" >&2 && exit 2 ;;
    esac
    name=connections-exporter-$version-linux-$architecture
    cargo auditable zigbuild --release --locked --bin connections-exporter --target "$target"

    mkdir "$out/$name"
    cp "target/$target/release/connections-exporter" README.md CHANGELOG.md LICENSE config.example.yaml \
        deploy/systemd/connections-exporter.service "$out/$name/"
    # Reproducible: the same files give the same archive, independent of the user and the time.
    tar --sort=name --owner=0 --group=0 --numeric-owner --mode=u+rw,go=rX --mtime="@$time" \
        --directory="$out" --create "$name" | gzip --no-name --best >"$out/$name.tar.gz"
    rm -r "${out:?}/$name"

    cargo deb --no-build --no-strip --locked --target "$target" --output "$out/"
    cargo generate-rpm --target "$target" --auto-req disabled --source-date "$time" --output "$out/"

    # cargo-cyclonedx writes only next to each Cargo.toml of the workspace. Dependencies of tests and
    # builds are left out, because they are not in the program.
    cargo cyclonedx --quiet --format=json --spec-version=1.5 --no-build-deps --target="$target" \
        --override-filename="$name.cdx"
    mv "$name.cdx.json" "$out/"
    rm -f crates/*/"$name.cdx.json"
done

cd "$out"
sha256sum -- *.deb *.json *.rpm *.tar.gz | tee SHA256SUMS
