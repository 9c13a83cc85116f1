#!/bin/sh
# Makes the secret files compose.yml reads, once; what exists is kept. The folder is closed to other users of the
# host; the files themselves are readable because containers read them as a user without rights.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets
chmod 700 secrets

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
make() { [ -s "secrets/$1" ] || { printf '%s' "$2" >"secrets/$1"; chmod 444 "secrets/$1"; echo "made docker/secrets/$1"; }; }

make postgres_password "$(random)"
make database_url "postgresql+psycopg://governor:$(cat secrets/postgres_password)@postgres:5432/governor"
make governor_secret "$(random)"
make admin_key "$(random)"
make console_password "$(random)"
make grafana_password "$(random)"
