#!/bin/bash
# fetch.sh: gets what the guests boot, and a QEMU that can run them, into SLUICE_VM_CACHE.
#
# Packages are pinned by hash in `packages`. Kernels are unpacked into the cache and never installed. What
# cannot be had is told as `*** NOT RUN` and leaves its set out, with exit 0: run.sh skips the cases that
# want it. A file with a wrong hash is a failure.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${SLUICE_VM_CACHE:-$HOME/.cache/sluice-vm}
mirror=${SLUICE_VM_MIRROR:-http://deb.debian.org/debian}
sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
# igb came with QEMU 8.0, and 7.2 crashes guests under several TCG threads.
qemu_min=8.2
mkdir -p "$cache/deb"

# hash_is FILE SHA256
hash_is() { [ "$(sha256sum "$1" | cut -d' ' -f1)" = "$2" ]; }

# fetch PATH SHA256: into the cache. 0: it is there. 1: not to be had. A wrong hash ends everything.
fetch() {
    local file=$cache/deb/${1##*/} log
    if [ -f "$file" ] && hash_is "$file" "$2"; then return 0; fi
    rm -f "$file" "$file.part"
    # apt's own client: it knows the proxies that the machine is set up for.
    if ! log=$(/usr/lib/apt/apt-helper -o Acquire::Retries=2 -o Acquire::http::Timeout=30 \
        download-file "$mirror/$1" "$file.part" 2>&1); then
        echo "    $mirror/$1: ${log##*$'\n'}" >&2
        rm -f "$file.part"
        return 1
    fi
    if ! hash_is "$file.part" "$2"; then
        echo "$mirror/$1: its SHA-256 is $(sha256sum "$file.part" | cut -d' ' -f1); control/vm/packages wants $2" >&2
        rm -f "$file.part"
        exit 1
    fi
    mv "$file.part" "$file"
}

# fetch_set SET: all packages of a set, and their files' names in $files. 1: one is not to be had.
fetch_set() {
    local set path hash
    files=()
    while read -r set path hash; do
        [ "$set" = "$1" ] || continue
        fetch "$path" "$hash" || return 1
        files+=("$cache/deb/${path##*/}")
    done < "$here/packages"
    [ ${#files[@]} -gt 0 ]
}

# kernel SET: unpacks a kernel into the cache, unless exactly its packages are unpacked there.
kernel() {
    local directory=$cache/$1 stamp file
    if ! fetch_set "$1"; then
        rm -rf "$directory"
        echo "*** NOT RUN: what wants the kernel $1: $mirror does not give it, or there is no network" >&2
        return 0
    fi
    stamp=$(printf '%s\n' "${files[@]##*/}")
    if [ "$(cat "$directory/stamp" 2>/dev/null)" = "$stamp" ]; then return 0; fi
    rm -rf "$directory"
    mkdir -p "$directory"
    for file in "${files[@]}"; do dpkg -x "$file" "$directory"; done
    printf '%s\n' "$stamp" > "$directory/stamp"
}

# version_of PROGRAM: what it calls itself; empty if it does not start.
version_of() { "$1" --version 2>/dev/null | sed -n 's/^QEMU emulator version \([0-9.]*\).*/\1/p'; }

new_enough() { [ -n "$1" ] && dpkg --compare-versions "$1" ge "$qemu_min"; }

install() { $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null; }

qemu() {
    if new_enough "$(version_of qemu-system-x86_64)"; then return 0; fi
    $sudo apt-get update -qq || true
    local candidate
    candidate=$(apt-cache policy qemu-system-x86 | sed -n 's/^ *Candidate: \([0-9]*:\)\?\([0-9][0-9.]*\).*/\2/p')
    if new_enough "$candidate"; then
        echo "installing: qemu-system-x86 $candidate"
        install qemu-system-x86 || true
    elif [ "$(. /etc/os-release; echo "${VERSION_CODENAME:-}")" = bookworm ] && fetch_set qemu-bookworm; then
        # These four from backports; what they depend on is in bookworm itself, so nothing else changes its release.
        echo "installing: qemu-system-x86 of bookworm-backports"
        install "${files[@]}" || true
    fi
    new_enough "$(version_of qemu-system-x86_64)" ||
        echo "*** NOT RUN: tests in virtual machines: no qemu-system-x86_64 $qemu_min or newer, and none to install" >&2
}

# A host that is no x86-64 Debian has none of this.
if [ ! -x /usr/lib/apt/apt-helper ] || [ "$(dpkg --print-architecture)" != amd64 ]; then
    echo '*** NOT RUN: tests in virtual machines: they want Debian or Ubuntu on amd64' >&2
    exit 0
fi
for set in $(sed -n 's/^\(linux-[^ ]*\) .*/\1/p' "$here/packages" | sort -u); do kernel "$set"; done
qemu
