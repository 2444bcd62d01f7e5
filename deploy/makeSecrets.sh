#!/bin/sh
# Makes what docker-compose.yml reads from deploy/secrets: a random password for each NATS user, a PIN, a bootstrap token,
# and the configuration with the token's last day, 30 days from now. What is there already stays. The directory is closed
# to others; the files in it can be read by the containers' user.
set -eu
unset CDPATH
cd -- "$(dirname -- "$0")"
dir=${1:-secrets}
mkdir -p "$dir"
chmod 700 "$dir"
for name in nats_front nats_ledger nats_provision nats_auditor nats_app nats_app2 hsm_pin bootstrap_token; do
  if [ -s "$dir/$name" ]; then continue; fi
  printf 'k%s\n' "$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')" >"$dir/$name.new"
  chmod 644 "$dir/$name.new"
  mv "$dir/$name.new" "$dir/$name"
done
if ! [ -s "$dir/config.json" ]; then
  expires=$(date -u -d '+30 days' +%Y-%m-%dT%H:%M:%SZ 2>/dev/null || date -u -v+30d +%Y-%m-%dT%H:%M:%SZ)
  sed "s/EXPIRES_AT/$expires/" config.json >"$dir/config.json"
  chmod 644 "$dir/config.json"
fi
echo "made: $(pwd)/$dir"
