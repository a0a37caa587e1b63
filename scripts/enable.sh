#!/bin/sh
# Switches the installed module on or off in Debian's Apache: enable.sh enable|disable
# APACHE_CONFDIR, as for a2enmod itself, is another directory than /etc/apache2.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin
confdir=${APACHE_CONFDIR:-/etc/apache2}
available=$confdir/mods-available
modules=$("${APXS:-apxs}" -q LIBEXECDIR)
installed=${DESTDIR:-}$modules/mod_socket_handoff.so

if ! command -v a2enmod >/dev/null || [ ! -d "$available" ]; then
    if [ "$1" = enable ]; then
        echo "This Apache has no a2enmod. Add this line to its configuration, then what you need of conf/socket_handoff.conf:"
    else
        echo "This Apache has no a2dismod. Take this line out of its configuration:"
    fi
    echo "LoadModule socket_handoff_module $modules/mod_socket_handoff.so"
    exit 0
fi

as_owner() {
    if [ -w "$available" ]; then "$@"; else sudo --preserve-env=APACHE_CONFDIR,APACHE_STATE_DIRECTORY "$@"; fi
}

case $1 in
enable)
    if [ ! -f "$installed" ]; then
        echo "$installed is missing; run: sudo make install" >&2
        exit 1
    fi
    sed "s|/usr/lib/apache2/modules|$modules|" conf/socket_handoff.load | as_owner tee "$available/socket_handoff.load" >/dev/null
    # An operator may have changed it.
    if [ -e "$available/socket_handoff.conf" ]; then
        echo "$available/socket_handoff.conf is kept as it is."
    else
        as_owner install -m 0644 conf/socket_handoff.conf "$available/socket_handoff.conf"
    fi
    as_owner a2enmod socket_handoff
    ;;
disable)
    as_owner a2dismod socket_handoff
    ;;
esac
