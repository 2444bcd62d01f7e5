#!/bin/sh
# Sets up what is missing, then becomes the service: one process, so that a signal to it reaches the service.
set -eu
unset CDPATH
root=$(cd -- "$(dirname -- "$0")/.." && pwd)
sh "$root/scripts/setup.sh"
exec node "$root/dist/src/main.js" "$@"
