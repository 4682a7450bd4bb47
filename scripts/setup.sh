#!/usr/bin/env bash
# Everything `make demo` and `make test` need, on a bare Debian 12 or on a machine that has some of it.
# Running it again is cheap: each step first looks whether its result is there. Servers that it installs
# are left stopped and disabled: the tests and the demo start private ones of their own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cache="${XDG_CACHE_HOME:-$HOME/.cache}/driftless"
mkdir -p "$cache"
export PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin:/usr/sbin"

say() { echo "setup: $*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# Two runs at once (a demo and a test) must not install into the same directories.
exec 9>"$cache/setup.lock"
flock 9

missing_packages() {
  local wanted=()
  have c++ && have make || wanted+=(build-essential)
  have cmake || wanted+=(cmake)
  have pkg-config || wanted+=(pkg-config)
  have curl || wanted+=(curl)
  [ -f /etc/ssl/certs/ca-certificates.crt ] || wanted+=(ca-certificates)
  # bindgen wants the library itself (libclang-cpp is another) and the compiler's own headers.
  compgen -G '/usr/lib/llvm-*/lib/libclang.so*' >/dev/null \
    && compgen -G '/usr/lib/llvm-*/lib/clang/*/include/stddef.h' >/dev/null || wanted+=(libclang-dev)
  compgen -G '/usr/lib/python3.*/ensurepip/__init__.py' >/dev/null || wanted+=(python3 python3-venv)
  compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || wanted+=(postgresql)
  have mariadbd && have mariadb-install-db || wanted+=(mariadb-server)
  echo "${wanted[*]}"
}

install_packages() {
  if ! have apt-get; then
    say "this machine has no apt-get; install by its own means: $*"
    exit 1
  fi
  if [ "$(id -u)" != 0 ] && ! have sudo; then
    say "these packages are missing and need root: $*"
    say "hint: apt-get install $*"
    exit 1
  fi
  say "installing $*"
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -y -q --no-install-recommends)
  as_root "${apt[@]}" update >&2

  # What is changed for the time of the installation only is put back however it ends.
  trap put_back EXIT
  # dpkg asks policy-rc.d before it starts a service; 101 means no. An administrator's own stays.
  if [ ! -e $policy ]; then
    policy_ours=yes
    printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
    as_root chmod 755 $policy
  fi
  # Debian's Postgres packages make a cluster that starts at each boot. Not for us, but later installs
  # are the administrator's affair.
  if [[ " $* " == *" postgresql "* ]]; then
    as_root "${apt[@]}" install postgresql-common >&2
    as_root cp $clusters $clusters.before
    echo 'create_main_cluster = false' | as_root tee -a $clusters >/dev/null
  fi
  as_root "${apt[@]}" install "$@" >&2
  if [[ " $* " == *" mariadb-server "* ]] && [ -d /run/systemd/system ]; then
    as_root systemctl disable --now mariadb >&2 || true
  fi
  put_back
}

policy=/usr/sbin/policy-rc.d
policy_ours=
clusters=/etc/postgresql-common/createcluster.conf
put_back() {
  [ -z "$policy_ours" ] || as_root rm -f $policy
  policy_ours=
  [ ! -e $clusters.before ] || as_root mv $clusters.before $clusters
}

# A virtual environment, made anew whenever its requirements change.
environment() {
  local home="$cache/$1" wanted="$2"
  cmp -s "$wanted" "$home/requirements.txt" && return
  say "python environment $home"
  rm -rf "$home"
  # The system's own python first: others on PATH may have been built without sqlite.
  local python=/usr/bin/python3
  "$python" -c 'import ensurepip, sqlite3' 2>/dev/null || python=python3
  "$python" -m venv "$home"
  "$home/bin/pip" install --quiet --disable-pip-version-check -r "$wanted" >&2
  "$home/bin/python" -c 'import sqlite3'
  cp "$wanted" "$home/requirements.txt" # last, so that a broken install is not taken for a whole one
}

read -ra packages <<<"$(missing_packages)"
[ ${#packages[@]} = 0 ] || install_packages "${packages[@]}"

if ! have cargo; then
  say "installing Rust by rustup"
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs \
    | sh -s -- -y -q --profile minimal -c rustfmt -c clippy --no-modify-path >&2
fi
# `make test` falls back to `cargo test` without it; the note spares a day's runs another attempt.
if ! have cargo-nextest && [ -z "$(find "$cache/no-nextest" -mtime -1 2>/dev/null)" ]; then
  say "installing cargo-nextest"
  cargo install --locked --quiet cargo-nextest >&2 || { say "no cargo-nextest"; touch "$cache/no-nextest"; }
fi

environment venv scripts/requirements-readers.txt
environment dbt-venv scripts/requirements-dbt.txt
