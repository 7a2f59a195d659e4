#!/usr/bin/env bash
# A throw-away certificate authority for trying: ca.pem, and for each NAME a NAME.pem with NAME-key.pem, valid for NAME, localhost, 127.0.0.1
# and the names and IP addresses that follow NAME behind commas. They serve as server and as client. Files that are there stay. The authority's key is in the folder
# `authority`, which no server needs.
set -euo pipefail

[ $# -ge 2 ] || { echo "usage: try-ca.sh FOLDER NAME[,ALIAS...]..." >&2; exit 2; }
folder="$1"
shift
days="${DAYS:-30}"
mkdir -p "$folder"
cd "$folder"
umask 077

key() {
    openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"
}

if [ ! -e ca.pem ]; then
    mkdir -p authority
    key authority/ca-key.pem
    openssl req -x509 -new -key authority/ca-key.pem -days "$days" -subj "/CN=MarketPrism throw-away CA" \
        -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign" -out ca.pem
fi
for entry in "$@"; do
    name="${entry%%,*}"
    [ ! -e "$name.pem" ] || continue
    [ -e authority/ca-key.pem ] || {
        echo "$PWD/$name.pem is missing and cannot be made: the authority's key is not here. Copy $name.pem and $name-key.pem from where it is" >&2
        exit 1
    }
    key "$name-key.pem"
    openssl req -new -key "$name-key.pem" -subj "/CN=$name" -out "$name.csr"
    names="DNS:localhost,IP:127.0.0.1"
    for alias in ${entry//,/ }; do
        case "$alias" in
            *[!0-9.]*) names="$names,DNS:$alias" ;;
            *) names="$names,IP:$alias" ;;
        esac
    done
    {
        echo "subjectAltName=$names"
        echo "extendedKeyUsage=serverAuth,clientAuth"
    } > "$name.ext"
    openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey authority/ca-key.pem -CAcreateserial -days "$days" -extfile "$name.ext" \
        -out "$name.pem" 2> "$name.log" || { cat "$name.log" >&2; exit 1; }
    rm "$name.csr" "$name.ext" "$name.log"
done
echo "certificates are in $PWD; they end in $days days"
