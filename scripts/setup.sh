#!/bin/sh
# Brings a fresh Debian or Ubuntu machine to where the service can run: checks Node, installs what is missing (compiler and
# SoftHSM by apt, npm packages, nats-server into .tools/), builds dist/. Says one line on stderr for each real step and is
# silent when there is nothing to do. May run at the same time from several shells.
set -eu
unset CDPATH
root=$(cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"

nats_min=2.10.23
softhsm=/usr/lib/softhsm/libsofthsm2.so
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

say() { printf 'setup: %s\n' "$*" >&2; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

# Runs a command; its output is shown only if it fails.
quietly() {
  log=$(mktemp)
  if "$@" >"$log" 2>&1; then rm -f "$log"; return 0; fi
  cat "$log" >&2
  rm -f "$log"
  return 1
}

check_node() {
  command -v node >/dev/null || die 'Node.js is missing: install Node 20.19 or newer, with npm'
  version=$(node -v)
  at_least 20.19.0 "${version#v}" || die "Node $version is too old: install Node 20.19 or newer"
  command -v npm >/dev/null || die 'npm is missing: install it (it comes with Node)'
}

# npm ci empties node_modules first, and through a link that is somebody else's.
refuse_links() {
  for folder in node_modules .tools; do
    if [ -L "$folder" ]; then die "$folder is a symbolic link, and what it points to would be emptied: remove the link"; fi
  done
}

# apt_install WHAT-FOR PACKAGE...
apt_install() {
  why=$1
  shift
  command -v apt-get >/dev/null || die "$why missing, and this is not Debian or Ubuntu: install the equivalent of: $*"
  [ "$(id -u)" = 0 ] || die "$why missing: as root, run: apt-get install $*"
  say "installing $* by apt ($why missing)"
  quietly apt-get -qq update || die 'apt-get update failed; its words are above'
  quietly env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$@" ||
    die "apt-get install $* failed; its words are above"
}

install_npm_packages() {
  [ -f node_modules/.package-lock.json ] && [ ! package-lock.json -nt node_modules/.package-lock.json ] && return 0
  # pkcs11js is compiled on this machine.
  if ! { command -v g++ && command -v make && command -v python3; } >/dev/null; then
    apt_install 'a C++ compiler, make or python3 is' g++ make python3
  fi
  # node-gyp would download Node's headers; where they lie beside Node it need not.
  prefix=$(dirname "$(dirname "$(node -p process.execPath)")")
  if [ -f "$prefix/include/node/node.h" ]; then export npm_config_nodedir="$prefix"; fi
  say 'installing npm packages (npm ci)'
  quietly npm ci --include=dev --no-audit --no-fund || die 'npm ci failed; its words are above'
  touch node_modules/.package-lock.json
}

install_softhsm() {
  # With a configuration of one's own the HSM is the one it names.
  [ -n "${KMS_CONFIG:-}" ] && return 0
  if ! [ -f "$softhsm" ] || ! command -v softhsm2-util >/dev/null; then apt_install 'SoftHSM is' softhsm2; fi
}

# The independent verifier, examples/verify_ledger.py, needs them and the service does not: where apt cannot, it goes on without.
install_python_packages() {
  if /usr/bin/python3 -c 'import cryptography, msgpack' 2>/dev/null; then return 0; fi
  if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then return 0; fi
  apt_install 'what examples/verify_ledger.py needs is' python3 python3-cryptography python3-msgpack
}

# Prints the version of the nats-server at $1, or nothing.
nats_version() { "$1" -v 2>/dev/null | sed -n 's/^nats-server: v\{0,1\}//p'; }

nats_will_do() {
  found=$(nats_version "$1")
  [ -n "$found" ] && at_least "$nats_min" "$found"
}

# The Debian mirror this machine already trusts for its packages.
debian_mirror() {
  if [ -n "${KMS_DEBIAN_MIRROR:-}" ]; then printf '%s\n' "$KMS_DEBIAN_MIRROR"; return; fi
  cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
    sed -n -e 's/^URIs:[[:space:]]*//p' -e 's/^deb[[:space:]]\{1,\}\(\[[^]]*\][[:space:]]*\)\{0,1\}//p' |
    tr ' \t' '\n\n' | grep -E '^[a-z+]+:.*/debian(\.list)?/?$' | head -n 1
}

install_nats_server() {
  if [ -x .tools/bin/nats-server ] && nats_will_do .tools/bin/nats-server; then return 0; fi
  mkdir -p .tools/bin
  if command -v nats-server >/dev/null && nats_will_do "$(command -v nats-server)"; then
    say "using nats-server $found from $(command -v nats-server)"
    ln -sfn "$(command -v nats-server)" .tools/bin/nats-server
    return 0
  fi
  mirror=$(debian_mirror || true)
  if [ -z "$mirror" ] || ! command -v apt-get >/dev/null; then
    die "nats-server $nats_min or newer is not on PATH: install it, or set KMS_DEBIAN_MIRROR to a Debian mirror"
  fi
  [ -f "$keyring" ] || apt_install "the Debian archive keyring is" debian-archive-keyring
  say "fetching nats-server from Debian trixie into .tools/ (the system's apt is left as it is)"
  fetch_nats_server "$mirror"
  nats_will_do .tools/bin/nats-server || die "the nats-server that Debian gave does not run or is older than $nats_min"
}

# Debian 12 has an older server that silently ignores sync_interval: always, so trixie's is unpacked beside the system.
fetch_nats_server() {
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  trap 'exit 1' INT TERM
  mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/deb"
  printf 'deb [signed-by=%s] %s trixie main\n' "$keyring" "$1" >"$work/sources.list"
  # apt downloads as this user when it runs as root.
  chmod 755 "$work"
  if [ "$(id -u)" = 0 ] && id _apt >/dev/null 2>&1; then chown -R _apt "$work/lists" "$work/cache" "$work/deb"; fi
  set -- -q -o "Dir::Etc::sourcelist=$work/sources.list" -o 'Dir::Etc::sourceparts=-' -o "Dir::State::lists=$work/lists" \
    -o "Dir::Cache=$work/cache" -o Acquire::Languages=none -o Acquire::Retries=3
  quietly apt-get "$@" update || die "the Debian mirror $mirror cannot be read; apt's words are above"
  (cd "$work/deb" && quietly apt-get "$@" download nats-server) || die "nats-server cannot be fetched; apt's words are above"
  rm -rf .tools/nats-server .tools/nats-server.new
  dpkg-deb -x "$work"/deb/nats-server_*.deb .tools/nats-server.new
  mv .tools/nats-server.new .tools/nats-server
  ln -sfn ../nats-server/usr/sbin/nats-server .tools/bin/nats-server
  rm -rf "$work"
  trap - EXIT INT TERM
}

build() {
  if [ -f dist/.built ] && [ -f dist/src/main.js ] && [ -f dist/src/cli/main.js ] &&
    [ -z "$(find src schemas projections tsconfig.json tsconfig.build.json package-lock.json -newer dist/.built -print -quit)" ]; then
    return 0
  fi
  say 'building dist/ (tsc)'
  mkdir -p dist
  # Stamped with the time before the compiler read the sources, so that an edit during the build is built next time.
  touch dist/.building
  node_modules/.bin/tsc -p tsconfig.build.json >&2 || die 'the build failed; the compiler'\''s words are above'
  mv dist/.building dist/.built
}

check_node
refuse_links
mkdir -p .tools
command -v flock >/dev/null || die 'flock is missing: install util-linux'
exec 9>.tools/setup.lock
if ! flock -n 9; then
  say 'waiting for another setup'
  flock -w 900 9 || die 'another setup has held .tools/setup.lock for 15 minutes'
fi
install_npm_packages
install_softhsm
install_python_packages
install_nats_server
build
