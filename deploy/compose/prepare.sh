#!/usr/bin/env bash
# Makes what the compose files need in the folder `secrets`: throw-away certificates, passwords, tokens, variables of nats-server. What is there
# stays. With certificates of your own, put them there first.
set -euo pipefail

here="$(cd "$(dirname "$0")" && pwd)"
secrets="${SECRETS:-$here/secrets}"
umask 027
mkdir -p "$secrets/tls"
"$here/../nats/try-ca.sh" "$secrets/tls" nats,nats-1,nats-2,nats-3,leaf central edge

# Begins with a letter: nats-server would read digits as a number.
secret() {
    [ -e "$secrets/$1" ] || echo "p$(openssl rand -hex 24)" > "$secrets/$1"
    cat "$secrets/$1"
}

for kind in single cluster leaf; do
    [ ! -e "$secrets/nats-$kind.env" ] || continue
    while IFS= read -r line; do
        name="${line%%=*}"
        case "$line" in
            NATS_PASSWORD_*)
                user="$(echo "${name#NATS_PASSWORD_}" | tr 'A-Z_' 'a-z-')"
                echo "$name=$(secret "nats-password-$user")"
                ;;
            NATS_HUB_URLS=*) echo "$name=[tls://leaf-tokyo:$(secret nats-password-leaf-tokyo)@${HUB:-nats-1}:7422]" ;;
            NATS_ROUTES=*) echo "$name=[tls://nats-1:6222, tls://nats-2:6222, tls://nats-3:6222]" ;;
            NATS_CERT=*) echo "$name=/etc/nats/tls/nats.pem" ;;
            NATS_KEY=*) echo "$name=/etc/nats/tls/nats-key.pem" ;;
            NATS_CA=*) echo "$name=/etc/nats/tls/ca.pem" ;;
            NATS_MONITOR=*) echo "$name=127.0.0.1:8222" ;;
            '#'*) ;;
            *) echo "$line" ;;
        esac
    done < "$here/../nats/$kind.env" > "$secrets/nats-$kind.env"
done
secret central-token > /dev/null
secret edge-token > /dev/null
echo "CLICKHOUSE_PASSWORD=$(secret clickhouse-password)" > "$secrets/clickhouse.env"
if [ "$(id -u)" = 0 ]; then
    # The user of the images.
    chown -R 10001:10001 "$secrets"
else
    chmod -R o+rX "$secrets"
    echo "not root: the files of $secrets are readable for every user of this machine" >&2
fi
