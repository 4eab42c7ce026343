# The one list of commands; CI calls the same.
.PHONY: run test lint docs tools soak fuzz

# Programs that tests need and that are not on the machine already.
TOOLS := $(CURDIR)/target/tools

## run: the daemon against the built-in simulator; no credentials, no file, no other program
run:
	cargo run --release --locked -- demo

## test: everything that must hold, with the programs it needs
test: lint docs tools
	PATH="$(TOOLS)/usr/bin:$$PATH" cargo test --locked -- --include-ignored

## lint: format, clippy with warnings denied
lint:
	cargo fmt --check
	cargo clippy --locked --all-targets -- --deny warnings

## docs: the documentation of the code, with warnings denied
docs:
	RUSTDOCFLAGS="--deny warnings" cargo doc --locked --no-deps

## soak: ten minutes of a hostile vendor and of clients without manners; make test has two
soak:
	SOAK_SECONDS=600 cargo test --locked --test behaviour -- --include-ignored --nocapture soak::

## fuzz: each target for ten minutes, two at a time; needs cargo-fuzz
fuzz:
	RUSTC_BOOTSTRAP=1 cargo fuzz build
	ls fuzz/corpus | RUSTC_BOOTSTRAP=1 xargs -P 2 -I{} cargo fuzz run {} -- -max_total_time=600 -timeout=10 -rss_limit_mb=2048

## tools: prometheus and promtool by apt, unpacked below target/ so that no service starts; chromium by apt, its driver by npm
tools:
	tests/tools.sh "$(TOOLS)"
