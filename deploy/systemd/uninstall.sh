#!/usr/bin/env bash
# Removes what install.sh installed. Configuration, secrets, data and the user stay.
set -euo pipefail

dest="${DESTDIR:-}"
if [ -z "$dest" ] && [ -d /run/systemd/system ]; then
    # It takes no patterns.
    systemctl disable --now marketprism-edge.service marketprism-central@{all,hot,cold}.service || true
fi
rm -f "$dest"/usr/bin/marketprism-{edge,central} \
    "$dest/usr/lib/systemd/system/marketprism-edge.service" \
    "$dest/usr/lib/systemd/system/marketprism-central@.service" \
    "$dest"/usr/lib/{sysusers,tmpfiles}.d/marketprism-{edge,central}.conf
rm -rf "$dest/usr/lib/marketprism" "$dest/usr/share/doc/marketprism"
[ -n "$dest" ] || [ ! -d /run/systemd/system ] || systemctl daemon-reload || true
echo "kept /etc/marketprism and /var/lib/marketprism"
