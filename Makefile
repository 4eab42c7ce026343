# The one list of commands; CI calls the same.
.PHONY: run test lint docs tools

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

## tools: prometheus and promtool by apt, unpacked below target/ so that no service starts
tools:
	tests/tools.sh "$(TOOLS)"
