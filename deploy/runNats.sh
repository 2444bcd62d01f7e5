#!/bin/sh
# nats-server with the passwords from /run/secrets (or KMS_SECRETS_DIR); there is no default for any of them.
set -eu
secret() {
  value=$(cat "${KMS_SECRETS_DIR:-/run/secrets}/$1")
  [ -n "$value" ] || { echo "secret $1 is empty" >&2; exit 1; }
  # Quoted for nats.conf, which reads each variable as a value of its own language.
  printf "'%s'" "$value"
}
KMS_FRONT_PASSWORD=$(secret nats_front)
KMS_LEDGER_PASSWORD=$(secret nats_ledger)
KMS_PROVISION_PASSWORD=$(secret nats_provision)
KMS_AUDITOR_PASSWORD=$(secret nats_auditor)
KMS_APP_PASSWORD=$(secret nats_app)
KMS_APP2_PASSWORD=$(secret nats_app2)
export KMS_FRONT_PASSWORD KMS_LEDGER_PASSWORD KMS_PROVISION_PASSWORD KMS_AUDITOR_PASSWORD KMS_APP_PASSWORD KMS_APP2_PASSWORD
export KMS_NATS_HOST="'${KMS_NATS_HOST:-0.0.0.0}'"
export KMS_NATS_PORT="${KMS_NATS_PORT:-4222}"
export KMS_NATS_MONITOR_PORT="${KMS_NATS_MONITOR_PORT:-8222}"
export KMS_NATS_STORE_DIR="'${KMS_NATS_STORE_DIR:-/data}'"
exec nats-server --config "${KMS_NATS_CONFIG:-/etc/chatelaine/nats.conf}" "$@"
