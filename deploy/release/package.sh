#!/bin/sh
# Makes in target/package what a release consists of on an architecture, this machine's: an archive, a Debian package,
# what both are made of (CycloneDX), and the checksums. Needs cargo-deb and cargo-cyclonedx.
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
# The same files give the same archive, whoever packs them and when.
tar --sort=name --owner=0 --group=0 --numeric-owner --mode=u+rw,go=rX --mtime="@$(git log -1 --format=%ct)" \
    --directory="$out" --create "$name" | gzip --no-name --best >"$out/$name.tar.gz"
rm -r "${out:?}/$name"

cargo deb --no-build --locked --output "$out/"

# It writes beside Cargo.toml only. What tests and builds need is not in the program.
cargo cyclonedx --quiet --format=json --spec-version=1.5 --no-build-deps --target="$(rustc -vV | sed -n 's/^host: //p')" \
    --override-filename="$name.cdx"
mv "$name.cdx.json" "$out/"

cd "$out"
sha256sum -- *.deb *.json *.tar.gz | tee SHA256SUMS
