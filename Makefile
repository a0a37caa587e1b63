# The commands of this project: `make help` lists them.

# Which httpd: the apxs that belongs to it. `make APXS=/opt/httpd/bin/apxs …` for another one.
# A name without a directory: the same before and after `make` has installed it, so that nothing is built twice.
APXS ?= $(or $(notdir $(shell command -v apxs || command -v apxs2)),apxs)
export APXS

LIBEXECDIR = $(shell $(APXS) -q LIBEXECDIR 2>/dev/null)
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
# Where systemd looks for units, below /usr/local too.
UNITDIR ?= $(PREFIX)/lib/systemd/system
RELEASE := $(or $(CARGO_TARGET_DIR),target)/release
MODULE := $(RELEASE)/mod_socket_handoff.so
DAEMON := $(RELEASE)/streaming-daemon

.DEFAULT_GOAL := build
.PHONY: help build install enable disable demo test bench bench-module bench-daemon fuzz setup clean

help: ## this list
	@echo 'Commands (plain `make` is `make build`):'
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | awk -F '\t' '{ printf "  make %-14s%s\n", $$1, $$2 }'

build: ## builds the Apache module and the daemon, installing what that needs (Debian)
	@scripts/setup-debian.sh build
	cargo build --release --locked -p mod_socket_handoff -p streaming-daemon
	@# Only when changed, and as a new file: a running Apache has the old one mapped.
	@cmp -s $(RELEASE)/libmod_socket_handoff.so $(MODULE) || install -m 0644 $(RELEASE)/libmod_socket_handoff.so $(MODULE)

# Only when it is missing: `sudo make install` after `make` builds nothing as root.
$(MODULE) $(DAEMON):
	$(MAKE) build

install: | $(MODULE) $(DAEMON) ## installs both, with units for systemd and settings; DESTDIR is honoured
	@test -n "$(LIBEXECDIR)" || { echo "$(APXS) can't be run. Run make setup, or name yours: make install APXS=..." >&2; exit 1; }
	install -d "$(DESTDIR)$(LIBEXECDIR)" "$(DESTDIR)$(PREFIX)/bin"
	install -m 0644 $(MODULE) "$(DESTDIR)$(LIBEXECDIR)/mod_socket_handoff.so"
	install -m 0755 $(DAEMON) "$(DESTDIR)$(PREFIX)/bin/streaming-daemon"
	ln -sf streaming-daemon "$(DESTDIR)$(PREFIX)/bin/fdrecv"
	install -d "$(DESTDIR)$(UNITDIR)" "$(DESTDIR)$(SYSCONFDIR)/streaming-daemon"
	for unit in $(notdir $(wildcard conf/*.service conf/*.socket)); do \
		sed 's|/usr/local/bin/|$(PREFIX)/bin/|; s|/etc/streaming-daemon/|$(SYSCONFDIR)/streaming-daemon/|' "conf/$$unit" > "$(DESTDIR)$(UNITDIR)/$$unit" || exit; \
		chmod 0644 "$(DESTDIR)$(UNITDIR)/$$unit"; \
	done
	@# What an operator has changed stays.
	test -e "$(DESTDIR)$(SYSCONFDIR)/streaming-daemon/daemon.toml" || install -m 0644 conf/daemon.toml "$(DESTDIR)$(SYSCONFDIR)/streaming-daemon/daemon.toml"

enable: ## switches the installed module on (Debian); elsewhere says how to
	@scripts/enable.sh enable

disable: ## switches it off again
	@scripts/enable.sh disable

demo: build ## a chat in the browser, on a private Apache at port 8080 (DEMO_PORT= for another)
	@scripts/setup-debian.sh demo
	cargo build --release --locked -p e2e --bin demo
	@exec $(RELEASE)/demo

test: build ## formatting, lints and every test there is
	@scripts/setup-debian.sh demo test
	@scripts/test.sh

bench: build ## what relaying an API costs, beside the floor, php-fpm and mod_proxy_http: minutes
	@scripts/setup-debian.sh demo test
	cargo build --release --locked -p bench -p mock-llm
	@$(RELEASE)/bench-relay

bench-module: build ## what the module costs Apache, in instructions, system calls and time
	@scripts/setup-debian.sh demo test
	cargo run --release --locked -p bench --bin bench-module

bench-daemon: build ## what a stream costs the daemon: memory, time to the first byte, processor time
	cargo build --release --locked -p bench
	@$(RELEASE)/bench-daemon

fuzz: ## random bytes for what reads the answers of APIs and handoffs, a minute each: needs nightly and cargo-fuzz
	@for target in sse_scanner skim handoff; do \
		mkdir -p fuzz/corpus/$$target && \
		cargo +nightly fuzz run $$target fuzz/corpus/$$target fuzz/seeds/$$target -- -max_total_time=60 || exit; \
	done

setup: ## installs what build, demo and test need (Debian); the others do so by themselves
	@scripts/setup-debian.sh build demo test

clean: ## removes everything that was built
	cargo clean
