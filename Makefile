# make run      build, and see a program traced (a few seconds)
# make test     build, and run all tests
# make install  put the binary under $(PREFIX)/bin
#
# A fresh Debian or Ubuntu with Rust is enough: what else the build needs is installed first.

SHELL := /bin/bash
PATH  := $(PATH):$(HOME)/.cargo/bin
export PATH
PREFIX ?= /usr/local
BIN    := $${CARGO_TARGET_DIR:-target}/release/rtrace

.PHONY: run test build deps demo-deps test-deps install clean

run: build demo-deps
	scripts/demo/run $(BIN)

# A static binary starts sooner (nothing to find, map and bind first) and runs in an empty
# container. Where the C library cannot be linked statically, it is not.
STATIC := -C target-feature=+crt-static

build: deps
	@if echo 'int main(void) { return 0; }' | cc -static-pie -x c - -o /dev/null 2>/dev/null; \
	 then flags='$(STATIC)'; else flags=; fi; \
	 set -x; cargo rustc --release --locked --bin rtrace -- $$flags

test: deps test-deps
	cargo test --locked $(TESTFLAGS)

install: build
	install -D -m 755 $(BIN) $(DESTDIR)$(PREFIX)/bin/rtrace

deps demo-deps test-deps:
	@scripts/prepare $@

clean:
	cargo clean
