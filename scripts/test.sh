#!/bin/sh
# Formatting, lints and all tests. The last line is the count: "312 passed, 0 failed".
set -u
cd "$(dirname "$0")/.."

# The end-to-end tests wait for Apache, PHP and sockets more than they compute, but each starts several servers.
: "${RUST_TEST_THREADS:=4}"
export RUST_TEST_THREADS

cargo fmt --all --check || exit
# One profile for all: the lints and the tests share the dependencies that the product was built with.
cargo clippy --quiet --release --workspace --all-targets --locked -- -D warnings || exit

# The module once more, with a panic on request: no test depends on it in a way that cargo sees.
cargo build --release --locked -p panic-drill || exit

# What Apache loads in the tests, the drills among it: `cargo test` builds no cdylib.
cargo build --quiet --release --workspace --locked || exit

log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT TERM
# POSIX sh has no pipefail: the status goes around the pipe.
status=$({ { cargo test --release --workspace --locked --no-fail-fast 2>&1; echo $? >&3; } | tee "$log" >&4; } 3>&1) 4>&1

awk '
    /^test result: / {
        for (i = 2; i <= NF; i++) {
            if ($i == "passed;") passed += $(i - 1)
            if ($i == "failed;") failed += $(i - 1)
        }
    }
    END { printf "%d passed, %d failed\n", passed, failed }
' "$log"
exit "$status"
