#!/usr/bin/env bash
# Installs binaries, adapters, units and, where there is none, a configuration. Safe to run again: it replaces what it installed before, and
# never a configuration, a secret or data. Run as root; DESTDIR=... installs into a folder instead, for packages and tests.
set -euo pipefail

usage() {
    echo "usage: install.sh edge|central..." >&2
    echo "variables: BIN (target/release, or bin of the archive), ADAPTERS (target/adapters, or adapters), DESTDIR (none)" >&2
    exit 2
}

here="$(cd "$(dirname "$0")" && pwd)"
root="$(cd "$here/../.." && pwd)"
# Of a checkout, or of the unpacked archive.
built="$root/target/release" components="$root/target/adapters"
[ ! -d "$root/bin" ] || built="$root/bin" components="$root/adapters"
bin="${BIN:-$built}"
adapters="${ADAPTERS:-$components}"
dest="${DESTDIR:-}"
[ $# -gt 0 ] || usage

# Everything is there before anything is changed.
for part in "$@"; do
    case "$part" in
        edge | central) ;;
        *) usage ;;
    esac
    [ -x "$bin/marketprism-$part" ] || { echo "$bin/marketprism-$part is missing: make build" >&2; exit 1; }
done

# Replaces a file in one step: a process that runs it keeps the one that it has.
put() {
    install -D -m "$1" "$2" "$dest$3.new"
    mv -f "$dest$3.new" "$dest$3"
    echo "installed $3"
}

# Leaves a file that is there.
keep() {
    if [ -e "$dest$3" ]; then
        echo "kept $3"
    else
        put "$1" "$2" "$3"
    fi
}

for part in "$@"; do
    put 644 "$here/marketprism.sysusers" "/usr/lib/sysusers.d/marketprism-$part.conf"
    put 644 "$here/marketprism-$part.tmpfiles" "/usr/lib/tmpfiles.d/marketprism-$part.conf"
    put 755 "$bin/marketprism-$part" "/usr/bin/marketprism-$part"
    put 644 "$root/$part/README.md" "/usr/share/doc/marketprism/$part.md"
    if [ "$part" = edge ]; then
        put 644 "$here/marketprism-edge.service" /usr/lib/systemd/system/marketprism-edge.service
        for adapter in "$adapters"/*.wasm; do
            put 644 "$adapter" "/usr/lib/marketprism/adapters/$(basename "$adapter")"
        done
        keep 640 "$root/deploy/examples/edge-tokyo.toml" /etc/marketprism/edge.toml
    else
        put 644 "$here/marketprism-central@.service" "/usr/lib/systemd/system/marketprism-central@.service"
        keep 640 "$root/deploy/examples/central.toml" /etc/marketprism/central.toml
    fi
done

if [ -z "$dest" ]; then
    for part in "$@"; do
        systemd-sysusers "marketprism-$part.conf"
        systemd-tmpfiles --create "marketprism-$part.conf"
    done
    [ ! -d /run/systemd/system ] || systemctl daemon-reload || echo "systemd does not answer: systemctl daemon-reload once it does" >&2
fi
echo "next: edit /etc/marketprism/*.toml, then systemctl enable --now marketprism-edge or marketprism-central@all"
