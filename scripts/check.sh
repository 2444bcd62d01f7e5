#!/bin/sh
# Every check that needs no running server. Runs them all, says which failed, fails if any did.
set -u
unset CDPATH
cd -- "$(dirname -- "$0")/.." || exit 1
sh scripts/setup.sh || exit 1
bin=node_modules/.bin
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
trap 'exit 1' INT TERM
names=''
failed=''

# begin NAME COMMAND...: all of them run at once; what they say is shown when all have ended.
begin() {
  name=$1
  shift
  names="$names $name"
  { "$@" >"$logs/$name" 2>&1; echo $? >"$logs/$name.code"; } &
}

begin types $bin/tsc --noEmit -p .
begin biome $bin/biome check
begin tiers $bin/depcruise --output-type err src schemas projections
begin unused $bin/knip
begin generated $bin/tsx scripts/generate.ts --check
wait

for name in $names; do
  cat "$logs/$name"
  if [ "$(cat "$logs/$name.code")" = 0 ]; then
    printf 'check: %s ok\n' "$name"
  else
    failed="$failed $name"
    printf 'check: %s FAILED\n' "$name" >&2
  fi
done

if [ -n "$failed" ]; then
  printf 'check: failed:%s\n' "$failed" >&2
  exit 1
fi
