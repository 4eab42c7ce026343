#!/bin/sh
# Builds the files of a release for the architecture of this machine, in target/package: an archive,
# a Debian package, an SBOM of both (CycloneDX), and checksums. Needs cargo-deb and cargo-cyclonedx.
set -eu
cd "$(dirname "$0")/../.."
version=$(cargo pkgid | sed 's/.*[#@]//')
architecture=$(dpkg --print-architecture)
name=connections-exporter-$version-linux-$architecture
out=target/package
rm -rf "$out"
mkdir -p "$out/$name"

cargo build --release --locked
cp target/release/connections-exporter README.md CHANGELOG.md LICENSE config.example.yaml \
    deploy/systemd/connections-exporter.service "$out/$name/"
# Reproducible: the same files give the same archive, independent of the user and the time.
tar --sort=name --owner=0 --group=0 --numeric-owner --mode=u+rw,go=rX --mtime="@$(git log -1 --format=%ct)" \
    --directory="$out" --create "$name" | gzip --no-name --best >"$out/$name.tar.gz"
rm -r "${out:?}/$name"

cargo deb --no-build --locked --output "$out/"

# cargo-cyclonedx writes only next to Cargo.toml. Dependencies of tests and builds are left out,
# because they are not in the program.
cargo cyclonedx --quiet --format=json --spec-version=1.5 --no-build-deps --target="$(rustc -vV | sed -n 's/^host: //p')" \
    --override-filename="$name.cdx"
mv "$name.cdx.json" "$out/"

cd "$out"
sha256sum -- *.deb *.json *.tar.gz | tee SHA256SUMS
