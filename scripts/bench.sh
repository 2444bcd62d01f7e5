#!/bin/sh
# Sets up what is missing, then runs a benchmark: npm run -s bench -- NAME [options]
set -eu
unset CDPATH
cd -- "$(dirname -- "$0")/.."
sh scripts/setup.sh
exec node --import tsx bench/main.ts "$@"
