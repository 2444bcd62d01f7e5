#!/bin/sh
# Sets up what is missing, then checks and tests everything. The last line is `N passed, N failed`; the checks count as one.
# Arguments go to vitest. KMS_TEST_COUNTS=long runs the long counts.
set -u
unset CDPATH
cd -- "$(dirname -- "$0")/.." || exit 1
limit_s=780
if [ "${KMS_TEST_COUNTS:-}" = long ]; then limit_s=14400; fi

report=$(mktemp)
trap 'rm -f "$report"' EXIT
checks=0
tests=0
sh scripts/setup.sh || { echo '0 passed, 1 failed'; exit 1; }
sh scripts/check.sh || checks=1
timeout -k 10 "$limit_s" node_modules/.bin/vitest run --reporter=default --reporter=json --outputFile.json="$report" "$@" ||
  tests=$?
if [ "$tests" = 124 ]; then echo "test: stopped after $limit_s s" >&2; fi
node scripts/tally.mjs "$report" "$checks" "$tests"
