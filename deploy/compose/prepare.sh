#!/usr/bin/env bash
# Makes what a compose file needs in the folder `secrets`: throw-away certificates, passwords, tokens, variables of nats-server. What is there
# stays. With certificates of your own, put them there first.
set -euo pipefail

usage() {
    echo "usage: prepare.sh all|centre|edge" >&2
    echo "variables: NAMES, more names of the centre's brokers, with commas; REGION (tokyo); HUB (nats-1), a broker of the centre" >&2
    exit 2
}

here="$(cd "$(dirname "$0")" && pwd)"
secrets="${SECRETS:-$here/secrets}"
region="${REGION:-tokyo}"
brokers="nats,nats-1,nats-2,nats-3${NAMES:+,$NAMES}"
case "${1:-}" in
    all) kind=single certificates=("$brokers" central edge) ;;
    # With those of a region, to be copied there.
    centre) kind=cluster certificates=("$brokers" central leaf edge) ;;
    edge) kind=leaf certificates=(leaf edge) ;;
    *) usage ;;
esac
umask 027
mkdir -p "$secrets"
"$here/../nats/try-ca.sh" "$secrets/tls" "${certificates[@]}"

# Begins with a letter: nats-server would read digits as a number.
secret() {
    # Docker makes a folder of a file that is not there.
    [ ! -d "$secrets/$1" ] || rmdir "$secrets/$1"
    [ -e "$secrets/$1" ] || echo "p$(openssl rand -hex 24)" > "$secrets/$1"
    cat "$secrets/$1"
}

variables() {
    while IFS= read -r line; do
        name="${line%%=*}"
        case "$line" in
            '#'*) ;;
            NATS_PASSWORD_*)
                [ "$kind" != leaf ] || name="${name/TOKYO/$(echo "$region" | tr 'a-z-' 'A-Z_')}"
                user="$(echo "${name#NATS_PASSWORD_}" | tr 'A-Z_' 'a-z-')"
                # The leaf node has a system user of its own.
                [ "$kind" != leaf ] || [ "$user" != sys ] || user=leaf-sys
                echo "$name=$(secret "nats-password-$user")"
                ;;
            NATS_HUB_URLS=*) echo "$name=[tls://leaf-$region:$(secret "nats-password-leaf-$region")@${HUB:-nats-1}:7422]" ;;
            NATS_ROUTES=*) echo "$name=[tls://nats-1:6222, tls://nats-2:6222, tls://nats-3:6222]" ;;
            NATS_CERT=*) echo "$name=/etc/nats/tls/nats.pem" ;;
            NATS_KEY=*) echo "$name=/etc/nats/tls/nats-key.pem" ;;
            NATS_CA=*) echo "$name=/etc/nats/tls/ca.pem" ;;
            NATS_NAME=leaf-*) echo "$name=leaf-$region" ;;
            NATS_REGION=*) echo "$name=$region" ;;
            *) echo "$line" ;;
        esac
    done < "$here/../nats/$kind.env"
}

[ -e "$secrets/nats-$kind.env" ] || variables > "$secrets/nats-$kind.env"
if [ "$kind" != leaf ]; then
    secret central-token > /dev/null
    secret central-read-token > /dev/null
    echo "CLICKHOUSE_PASSWORD=$(secret clickhouse-password)" > "$secrets/clickhouse.env"
fi
[ "$kind" = cluster ] || secret edge-token > /dev/null
if [ "$(id -u)" = 0 ]; then
    # The user of the images.
    chown -R 10001:10001 "$secrets"
else
    chmod -R o+rX "$secrets"
    echo "not root: the files of $secrets are readable for every user of this machine" >&2
fi
