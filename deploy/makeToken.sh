#!/bin/sh
# Makes the trial's SoftHSM token once. A production HSM comes with a token and its PIN from its own administrator.
set -eu
tokens=$(sed -n 's/^directories.tokendir = //p' "$SOFTHSM2_CONF")
if [ -n "$(ls -A "$tokens" 2>/dev/null)" ]; then exit 0; fi
mkdir -p "$tokens"
so_pin=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
softhsm2-util --init-token --free --label chatelaine --pin "$(cat "${KMS_SECRETS_DIR:-/run/secrets}/hsm_pin")" --so-pin "$so_pin"
