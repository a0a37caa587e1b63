#!/bin/sh
# Installs what the named steps need, by apt-get: setup-debian.sh [build] [demo] [test]
#
# It looks for programs and files, not for packages: what was installed in another way counts too, and when nothing is
# missing it says nothing and calls no apt. No service is started, stopped or configured.
set -eu
cd "$(dirname "$0")/.."
# Where Debian has the servers; not on the path of every user.
PATH=$PATH:/usr/sbin:/sbin
APXS=${APXS:-apxs}
unpacked=${CARGO_TARGET_DIR:-target}/mod_php

missing=

# need PACKAGE COMMAND…: the package is missing when the command fails.
need() {
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

program() { command -v "$1"; }

exists() {
    for path; do
        if [ -e "$path" ]; then return 0; fi
    done
    return 1
}

# The server; and where it is Debian's, the package with a2enmod, which `make enable` calls.
apache() {
    sbin=$("$APXS" -q SBINDIR) && [ -x "$sbin/$("$APXS" -q PROGNAME)" ] || return
    [ "$sbin" != /usr/sbin ] || [ ! -e /etc/debian_version ] || program a2enmod
}

# The library, and with it the compiler's own headers (stddef.h), which a mere libclang1 lacks.
libclang() { [ -n "${LIBCLANG_PATH:-}" ] || exists /usr/lib/llvm-*/lib/clang/*/include/stddef.h /usr/lib*/clang/*/include/stddef.h; }

mod_php() { exists "$("$APXS" -q LIBEXECDIR)"/libphp*.so "$unpacked"/usr/lib/*/modules/libphp*.so; }

needed_by_build() {
    need apache2-dev "$APXS" -q LIBEXECDIR
    need apache2 apache
    need libclang-dev libclang
    need gcc program cc
    need libc6-dev exists /usr/include/stdlib.h
}

needed_by_demo() {
    need php-fpm exists /usr/sbin/php-fpm* /usr/local/sbin/php-fpm*
    need curl program curl
}

needed_by_test() {
    need php-cli program php
    need openssl program openssl
    need chromium program chromium
    need python3 program python3
    need systemd program systemd-analyze
    need systemd program systemd-socket-activate
    need golang-go program go
    need strace program strace
    need valgrind program valgrind
}

if ! program cargo >/dev/null; then
    echo 'cargo is missing: install Rust with rustup (https://rustup.rs), then run this again in a new shell.' >&2
    exit 1
fi

for step; do "needed_by_$step"; done

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# As root: invoke-rc.d asks this file whether a package may start its service; 101 means no.
forbid_services=/usr/sbin/policy-rc.d

allow_services() {
    trap - EXIT
    as_root rm -f "$forbid_services"
}

apt() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq --no-install-recommends "$@"; }

install_packages() {
    # The package lists may be absent, or too old to lead to the packages.
    apt install --simulate "$@" >/dev/null 2>&1 || apt update
    apt install "$@" || {
        apt update
        apt install "$@"
    }
}

# What apt and the packages say is worth reading only when they fail.
quietly() {
    log=$(mktemp)
    if "$@" >"$log" 2>&1; then
        rm "$log"
    else
        cat "$log" >&2
        rm "$log"
        return 1
    fi
}

if [ -n "$missing" ]; then
    if ! program apt-get >/dev/null; then
        echo "Please install what Debian calls:$missing" >&2
        exit 1
    fi
    if [ "$(id -u)" -ne 0 ] && ! program sudo >/dev/null; then
        echo "Please run as root: apt-get install --no-install-recommends$missing" >&2
        exit 1
    fi
    echo "Installing with apt-get, which can take minutes:$missing"
    if [ ! -e "$forbid_services" ]; then
        trap allow_services EXIT
        trap 'exit 130' INT TERM HUP
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$forbid_services" >/dev/null
        as_root chmod 755 "$forbid_services"
    fi
    # shellcheck disable=SC2086 # a list of names
    quietly install_packages $missing
fi

# mod_php is only unpacked: installing it would change the MPM of the system's Apache.
unpack_mod_php() {
    package=libapache2-mod-php$(php -r 'echo PHP_MAJOR_VERSION, ".", PHP_MINOR_VERSION;')
    apt-cache show "$package" >/dev/null 2>&1 || apt update
    rm -rf "$unpacked"
    mkdir -p "$unpacked"
    (
        cd "$unpacked"
        apt-get download "$package" || {
            apt update
            apt-get download "$package"
        }
        dpkg -x ./*.deb . && rm ./*.deb
    )
}

case " $* " in
*' test '*)
    if ! mod_php; then
        if program apt-get >/dev/null; then
            echo 'Unpacking mod_php below target/'
            quietly unpack_mod_php
        else
            echo 'Please install mod_php, libphp*.so, into the directory of the modules of Apache.' >&2
            exit 1
        fi
    fi
    ;;
esac
