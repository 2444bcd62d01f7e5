#!/bin/sh
# Every check that needs no running server. Runs them all, says which failed, fails if any did.
set -u
unset CDPATH
cd -- "$(dirname -- "$0")/.." || exit 1
sh scripts/setup.sh || exit 1
bin=node_modules/.bin
failed=''

check() {
  name=$1
  shift
  if "$@"; then printf 'check: %s ok\n' "$name"; else failed="$failed $name"; printf 'check: %s FAILED\n' "$name" >&2; fi
}

check types $bin/tsc --noEmit -p .
check biome $bin/biome check
check tiers $bin/depcruise --output-type err src schemas projections
check unused $bin/knip
check generated $bin/tsx scripts/generate.ts --check

if [ -n "$failed" ]; then
  printf 'check: failed:%s\n' "$failed" >&2
  exit 1
fi
