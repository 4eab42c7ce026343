# The one list of commands; CI calls the same. A bare `make` prints it.
.PHONY: help run check test bench lint docs tools soak fuzz deploy-check dashboards dashboards-check dashboard-pictures package package-try

# Programs that tests need and that are not on the machine already.
TOOLS := $(CURDIR)/target/tools

.DEFAULT_GOAL := help

# What waits for deadlines or takes much memory; only `make test` has it.
SLOW := bodies:: faults:: network:: passwords:: reload::load restarts:: server:: stalled:: startup:: stored_tokens::
SLOW += web_config::flags web_config::reload answer_of_200_that_is_no_listing stands_in_place_of_a_key
SLOW_UNITS := very_many_targets_of polls_that_take_longer a_file_that_hangs

help:
	@sed -n 's/^## \([a-z-]*\): \(.*\)/\1\t\2/p' Makefile | expand -t 20

## run: the daemon against the built-in simulator; no credentials, no file, no other program
run:
	cargo run --release --locked -- demo

## check: what to pass before each commit: format, clippy, unit tests and the quick tests of behaviour; under two minutes on a warm tree
check: lint
	cargo test --locked --no-fail-fast --lib --bins -- $(SLOW_UNITS:%=--skip %)
	cargo test --locked --no-fail-fast --test behaviour -- $(SLOW:%=--skip %)

## test: everything that must hold, with the programs it needs
test: lint docs tools deploy-check dashboards-check
	PATH="$(TOOLS)/usr/bin:$$PATH" cargo test --locked --no-fail-fast -- --include-ignored

## bench: the hot paths, and the daemon against nginx, the Pushgateway and curl, whose table is in docs/performance.md; a random fleet, for docs/scaling.md
bench:
	benches/tools.sh "$(TOOLS)"
	cargo bench --locked --bench hot_paths
	cargo build --release --locked
	python3 benches/table --tools "$(TOOLS)" --output target/table.md
	cargo bench --locked --bench fleet

## lint: format, clippy with warnings denied
lint:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- --deny warnings

## docs: the documentation of the code, with warnings denied
docs:
	RUSTDOCFLAGS="--deny warnings" cargo doc --locked --workspace --no-deps

## soak: ten minutes of a hostile vendor and of clients without manners; make test has two
soak:
	SOAK_SECONDS=600 cargo test --locked --test behaviour -- --include-ignored --nocapture soak::

## fuzz: each target for ten minutes, two at a time; needs cargo-fuzz
fuzz:
	RUSTC_BOOTSTRAP=1 cargo fuzz build
	ls fuzz/corpus | RUSTC_BOOTSTRAP=1 xargs -P 2 -I{} cargo fuzz run {} -- -max_total_time=600 -timeout=10 -rss_limit_mb=2048

## deploy-check: what is in deploy/, each by its ecosystem's own tool
deploy-check: tools
	deploy/tools.sh "$(TOOLS)"
	deploy/check.sh "$(TOOLS)"

## dashboards: grafana/dashboards, built by grafana/src
dashboards: tools
	grafana/dashboards.sh "$(TOOLS)" write

## dashboards-check: that they are built so, and of Grafana's published types; what they ask is asked in cargo test
dashboards-check: tools
	grafana/dashboards.sh "$(TOOLS)" check

## dashboard-pictures: docs/dashboard-*.png, drawn over the simulator; takes some minutes
dashboard-pictures: tools
	cargo build --release --locked
	PATH="$(TOOLS)/usr/bin:$$PATH" grafana/dashboards.sh "$(TOOLS)" pictures "$(CURDIR)/target/release/connections-exporter"

## package: archive, Debian package, SBOM and checksums in target/package; needs lintian
package:
	cargo install --quiet --locked --root "$(TOOLS)" cargo-deb@3.8.0 cargo-cyclonedx@0.5.9
	PATH="$(TOOLS)/bin:$$PATH" deploy/release/package.sh
	lintian --allow-root --fail-on=error,warning target/package/*.deb

## package-try: that package installed, run, upgraded, removed and purged in a container; needs root, mmdebstrap, systemd-nspawn
package-try: package
	PATH="$(TOOLS)/bin:$$PATH" cargo deb --no-build --locked --deb-revision=2 --output=target/package/later.deb
	deploy/debian/try-in-container.sh target/package/*-1_*.deb target/package/later.deb
	rm target/package/later.deb

## tools: Prometheus and Alertmanager by apt, unpacked below target/ so that no service starts; chromium by apt, its driver by npm
tools:
	tests/tools.sh "$(TOOLS)"
