#!/usr/bin/env bash
# Makes what a compose file needs in the folder `secrets`: for each container a folder, which is mounted, with throw-away certificates, passwords,
# tokens and the configuration of nats-server; variables of nats-server beside them. What is there stays, but the configuration of nats-server is that of
# ../nats, and its variables get the passwords of new users. With certificates of your own, put them there first.
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
    all) kind=single broker=nats region=tokyo certificates=("$brokers" central edge) ;;
    # With those of a region, to be copied there.
    centre) kind=cluster broker=nats certificates=("$brokers" central leaf edge) ;;
    edge) kind=leaf broker=leaf certificates=(leaf edge) ;;
    *) usage ;;
esac
umask 027
mkdir -p "$secrets"

# Certificate and key of a container in the folder `tls` of its own.
certificate() {
    local name="${1%%,*}"
    local made="$secrets/tls" folder="$secrets/$name/tls" file="$name"
    case "$name" in nats | leaf) file=nats ;; esac
    mkdir -p "$folder"
    if [ ! -e "$folder/$file.pem" ]; then
        if [ "$kind" = leaf ] && [ ! -e "$made/$name.pem" ]; then
            echo "$folder/$file.pem is missing: copy the folders leaf and edge of the centre's secrets to $secrets" >&2
            exit 1
        fi
        "$here/../nats/try-ca.sh" "$made" "$1"
        # The key first, which a run that was interrupted may have moved: with the certificate both are there.
        [ ! -e "$made/$name-key.pem" ] || mv "$made/$name-key.pem" "$folder/$file-key.pem"
        mv "$made/$name.pem" "$folder/$file.pem"
    fi
    [ -e "$folder/ca.pem" ] || cp "$made/ca.pem" "$folder/"
}

for entry in "${certificates[@]}"; do
    certificate "$entry"
done

# Begins with a letter: nats-server would read digits as a number.
secret() {
    local path="$secrets/$1" former="$secrets/${1##*/}"
    mkdir -p "${path%/*}"
    # Before the folders of containers, all files were in one.
    [ -e "$path" ] || [ ! -f "$former" ] || mv "$former" "$path"
    [ -e "$path" ] || echo "p$(openssl rand -hex 24)" > "$path"
    cat "$path"
}

# The password of a user of the broker, in the folder of the container that logs in as this user.
password() {
    case "$1" in
        central) secret "central/nats-password-$1" ;;
        "$region-1") secret "edge/nats-password-$1" ;;
        *) secret "nats-password-$1" ;;
    esac
}

# The user of a variable. A leaf node has a system user of its own.
user_of() {
    local user
    user="$(echo "${1#NATS_PASSWORD_}" | tr 'A-Z_' 'a-z-')"
    [ "$kind" != leaf ] || [ "$user" != sys ] || user=leaf-sys
    echo "$user"
}

variables() {
    while IFS= read -r line; do
        name="${line%%=*}"
        case "$line" in
            '#'*) ;;
            NATS_PASSWORD_*)
                [ "$kind" != leaf ] || name="${name/TOKYO/$(echo "$region" | tr 'a-z-' 'A-Z_')}"
                echo "$name=$(password "$(user_of "$name")")"
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

given="$(variables)"
[ -e "$secrets/nats-$kind.env" ] || echo "$given" > "$secrets/nats-$kind.env"
cp "$here/../nats/$kind.conf" "$secrets/$broker/nats-server.conf"
include="$(sed -n 's|^include \./||p' "$here/../nats/$kind.conf")"
users="$here/../nats/$include"
[ "$kind" != leaf ] || users="$here/../nats/leaf-accounts-$region.conf"
cp "$users" "$secrets/$broker/$include"
# Users that the variables do not have: nats-server would not start.
for name in $(grep -oh 'NATS_PASSWORD_[A-Z0-9_]*' "$users" | sort -u); do
    if ! grep -q "^$name=" "$secrets/nats-$kind.env"; then
        given="$(password "$(user_of "$name")")"
        echo "$name=$given" >> "$secrets/nats-$kind.env"
    fi
done
if [ "$kind" != leaf ]; then
    secret central/central-token > /dev/null
    secret central/central-read-token > /dev/null
    echo "CLICKHOUSE_PASSWORD=$(secret central/clickhouse-password)" > "$secrets/clickhouse.env"
fi
[ "$kind" = cluster ] || secret edge/edge-token > /dev/null
if [ "$(id -u)" = 0 ]; then
    # The user of the images.
    chown -R 10001:10001 "$secrets"
else
    chmod -R o+rX "$secrets"
    echo "not root: the files of $secrets are readable for every user of this machine" >&2
fi
