#!/bin/sh
# Sets up what is missing, then runs the tour on free ports and a temporary directory.
set -eu
unset CDPATH
cd -- "$(dirname -- "$0")/.."
sh scripts/setup.sh
exec node --import tsx scripts/tour.ts "$@"
