# The list of commands, which CI uses, too. `make` without arguments prints it.
.PHONY: help run check test bench lint style dependencies docs tools soak fuzz deploy-check rules dashboards dashboards-check dashboard-pictures package package-try helm helm-package

# Programs that the tests need and that the machine does not have.
TOOLS := $(CURDIR)/target/tools

.DEFAULT_GOAL := help

# Tests that wait for deadlines or need much memory. Only `make test` runs them.
SLOW := bodies:: faults:: network:: passwords:: reload::load restarts:: server:: stalled:: startup:: stored_tokens::
SLOW += web_config::flags web_config::reload answer_of_200_that_is_no_listing stands_in_place_of_a_key
SLOW_UNITS := very_many_targets_of polls_that_take_longer a_file_that_hangs

help:
	@sed -n 's/^## \([a-z-]*\): \(.*\)/\1\t\2/p' Makefile | expand -t 20

## run: the daemon with the built-in simulator; needs no credentials, files or other programs
run:
	cargo run --release --locked -- demo

## check: before each commit: format, clippy, unit and quick tests; under 2 minutes on a warm tree
check: style
	cargo test --locked --no-fail-fast --lib --bins -- $(SLOW_UNITS:%=--skip %)
	cargo test --locked --no-fail-fast --test behaviour -- $(SLOW:%=--skip %)

## test: all tests, with the programs that they need
test: lint docs tools deploy-check dashboards-check
	PATH="$(TOOLS)/usr/bin:$$PATH" cargo test --locked --no-fail-fast -- --include-ignored

## bench: hot paths, the table in docs/performance.md, and the random fleet in docs/scaling.md
# The table compares the daemon with nginx, the Pushgateway and curl.
bench:
	benches/tools.sh "$(TOOLS)"
	cargo bench --locked --bench hot_paths
	cargo build --release --locked
	python3 benches/table --tools "$(TOOLS)" --output target/table.md
	cargo bench --locked --bench fleet

## lint: format, clippy, and the dependencies
lint: style dependencies

## style: format, and clippy with warnings denied
style:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- --deny warnings

## dependencies: licences, advisories, sources, duplicates and unused dependencies
# The advisories are a repository of GitHub's. Without it the rest is checked.
dependencies:
	cargo install --quiet --locked --root "$(TOOLS)" cargo-deny@0.20.2 cargo-machete@0.9.2
	"$(TOOLS)/bin/cargo-deny" --locked check licenses bans sources
	@if "$(TOOLS)/bin/cargo-deny" --locked fetch db; then \
		"$(TOOLS)/bin/cargo-deny" --locked check advisories; \
	else \
		echo "WARNING: the advisory database could not be fetched: ADVISORIES WERE NOT CHECKED" >&2; \
	fi
	"$(TOOLS)/bin/cargo-machete"

## docs: API documentation, with warnings denied
docs:
	RUSTDOCFLAGS="--deny warnings" cargo doc --locked --workspace --no-deps

## soak: ten minutes with a hostile vendor and misbehaving clients; make test runs two minutes
soak:
	SOAK_SECONDS=600 cargo test --locked --test behaviour -- --include-ignored --nocapture soak::

## fuzz: each fuzz target for ten minutes, two at a time; needs cargo-fuzz
fuzz:
	RUSTC_BOOTSTRAP=1 cargo fuzz build
	ls fuzz/corpus | RUSTC_BOOTSTRAP=1 xargs -P 2 -I{} cargo fuzz run {} -- -max_total_time=600 -timeout=10 -rss_limit_mb=2048

## deploy-check: everything in deploy/, each part with its ecosystem's own tool
deploy-check: tools
	deploy/tools.sh "$(TOOLS)"
	deploy/check.sh "$(TOOLS)"

## rules: from deploy/mixin: deploy/prometheus/alerts.yaml, and the rules for Kustomize and Helm
rules:
	deploy/tools.sh "$(TOOLS)"
	jsonnet --string deploy/mixin/manifest.jsonnet >deploy/prometheus/alerts.yaml
	jsonnet --string --tla-code kubernetes=true deploy/mixin/manifest.jsonnet \
		>deploy/kubernetes/components/prometheus-rule/prometheus-rule.yaml
	jsonnet --string --tla-code chart=true deploy/mixin/manifest.jsonnet \
		>deploy/helm/connections-exporter/files/rules.yaml
	"$(TOOLS)/python/bin/python" deploy/helm/values.py write

## helm: schema of the values and table of the README of the Helm chart, from its values.yaml
helm:
	deploy/tools.sh "$(TOOLS)"
	"$(TOOLS)/python/bin/python" deploy/helm/values.py write

## helm-package: the Helm chart as an archive in target/package
helm-package:
	deploy/tools.sh "$(TOOLS)"
	mkdir -p target/package
	"$(TOOLS)/python/bin/python" -c 'import helm_python; print(helm_python.package("deploy/helm/connections-exporter", destination="target/package"))'

## dashboards: builds grafana/dashboards from grafana/src, also for Kustomize and Helm
dashboards: tools
	grafana/dashboards.sh "$(TOOLS)" write

## dashboards-check: built dashboards are current and match Grafana's published types
# `cargo test` checks the queries of the dashboards.
dashboards-check: tools
	grafana/dashboards.sh "$(TOOLS)" check

## dashboard-pictures: draws docs/dashboard-*.png with data of the simulator; takes some minutes
dashboard-pictures: tools
	cargo build --release --locked
	PATH="$(TOOLS)/usr/bin:$$PATH" grafana/dashboards.sh "$(TOOLS)" pictures "$(CURDIR)/target/release/connections-exporter"

## package: archives, Debian and RPM packages, SBOMs and checksums in target/package; needs rustup
# For one architecture: make package ARCHITECTURES=amd64
package:
	deploy/release/tools.sh "$(TOOLS)"
	PATH="$(TOOLS)/bin:$(TOOLS)/zig/bin:$$PATH" deploy/release/package.sh $(ARCHITECTURES)
	lintian --allow-root --fail-on=error,warning target/package/*.deb
	rpmlint --config deploy/rpm/rpmlint.toml target/package/*.rpm

## package-try: runs the packages in Debian 11 and 12, without libraries, and for arm64 in an emulator
# Needs root. The packages are installed, run, upgraded and removed.
package-try: package
	deploy/release/tools.sh "$(TOOLS)" try
	deploy/release/try.sh target/package
	PATH="$(TOOLS)/bin:$$PATH" cargo deb --no-build --no-strip --locked --target=x86_64-unknown-linux-musl \
		--deb-revision=2 --output=target/later.deb
	deploy/debian/try-in-container.sh target/package/*-1_amd64.deb target/later.deb
	rm target/later.deb

## tools: the programs that the tests need
# Prometheus and Alertmanager come from apt. They are unpacked below target/, so that no service
# starts. Chromium comes from apt, and its driver from npm.
tools:
	tests/tools.sh "$(TOOLS)"
