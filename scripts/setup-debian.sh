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

httpd() { [ -x "$("$APXS" -q SBINDIR)/$("$APXS" -q PROGNAME)" ]; }

# The library, and with it the compiler's own headers (stddef.h), which a mere libclang1 lacks.
libclang() { [ -n "${LIBCLANG_PATH:-}" ] || exists /usr/lib/llvm-*/lib/clang/*/include/stddef.h /usr/lib*/clang/*/include/stddef.h; }

mod_php() { exists "$("$APXS" -q LIBEXECDIR)"/libphp*.so "$unpacked"/usr/lib/*/modules/libphp*.so; }

needed_by_build() {
    need apache2-dev "$APXS" -q LIBEXECDIR
    need apache2 httpd
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

install_packages() {
    # The package lists are only fetched when they are absent, or too old to lead to the packages.
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "$@" || {
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "$@"
    }
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
    echo "Installing with apt-get:$missing"
    if [ ! -e "$forbid_services" ]; then
        trap allow_services EXIT
        trap 'exit 130' INT TERM HUP
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$forbid_services" >/dev/null
        as_root chmod 755 "$forbid_services"
    fi
    # shellcheck disable=SC2086 # a list of names
    install_packages $missing
fi

# mod_php is only unpacked: installing it would change the MPM of the system's Apache.
unpack_mod_php() {
    version=$(php -r 'echo PHP_MAJOR_VERSION, ".", PHP_MINOR_VERSION;')
    rm -rf "$unpacked"
    mkdir -p "$unpacked"
    (
        cd "$unpacked"
        apt-get download -qq "libapache2-mod-php$version" || {
            as_root apt-get update -qq
            apt-get download -qq "libapache2-mod-php$version"
        }
        dpkg -x ./*.deb .
        rm ./*.deb
    )
}

case " $* " in
*' test '*)
    if ! mod_php; then
        if program apt-get >/dev/null; then
            echo 'Unpacking mod_php below target/'
            unpack_mod_php
        else
            echo 'Please install mod_php, libphp*.so, into the directory of the modules of Apache.' >&2
            exit 1
        fi
    fi
    ;;
esac
