#!/bin/bash
# run.sh DIRECTORY [KERNEL ...]: boots the kernels that fetch.sh unpacked, and runs the cases in each.
# run.sh --ready: only tells whether it could; exit 1 if not.
#
# DIRECTORY holds the static sluiced, sluicectl and sluice-vm. One guest has all NICs, and both ends of each wire:
#
#   virtio_a (4 queues) --- tap --- bridge --- tap --- virtio_b      in a network namespace of this run's own
#   igb_a ----- QEMU's hub 0 ----- igb_b
#   e1000e_a -- QEMU's hub 1 -- e1000e_b
#
# Without KVM: emulation is the same everywhere. A case that fails, a panic, or a guest that does not come to its
# end shows the guest's console, and is a failure if it comes to pass a second time; what cannot be run is told as
# `*** NOT RUN`.
# SLUICE_VM_CASES runs those cases only, and SLUICE_VM_SHOW=1 shows the console in any case.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${SLUICE_VM_CACHE:-$HOME/.cache/sluice-vm}
# A guest that takes longer hangs: on an idle machine none takes a quarter of that.
guest_seconds=${SLUICE_VM_SECONDS:-900}

# cases KERNEL: what runs there. The cloud kernels have virtio-net only, and no zero-copy for it.
cases() {
    case $1 in
        linux-7.3)
            echo virtio-zero-copy virtio-added-queues virtio-copy-asked virtio-generic-asked virtio-link virtio-vlan \
                virtio-sctp virtio-jumbo virtio-polled igb-zero-copy igb-polled igb-queues-change igb-link igb-vlan e1000e-generic ;;
        linux-6.12 | linux-5.10) echo virtio-copy ;;
    esac
}

modules=(virtio_pci virtio_net igb e1000e veth 8021q sctp)
programs=(ip ethtool)

not_run() { echo "*** NOT RUN: $*" >&2; }

# ready: whether guests can be run here at all; says what is missing.
ready() {
    local what='tests in virtual machines' version program
    if [ "$(id -u)" != 0 ]; then not_run "$what: they make a network namespace and want root"; return 1; fi
    for program in "${programs[@]}" busybox cpio depmod dpkg xz; do
        if ! command -v "$program" >/dev/null; then not_run "$what: $program is missing"; return 1; fi
    done
    version=$(qemu-system-x86_64 --version 2>/dev/null | sed -n 's/^QEMU emulator version \([0-9.]*\).*/\1/p')
    if [ -z "$version" ] || ! dpkg --compare-versions "$version" ge 8.2; then
        not_run "$what: no qemu-system-x86_64 8.2 or newer"
        return 1
    fi
    # The module may have to be loaded.
    if [ ! -c /dev/net/tun ] && ! modprobe tun 2>/dev/null; then not_run "$what: no /dev/net/tun"; return 1; fi
    if ! ls "$cache"/linux-*/stamp >/dev/null 2>&1; then not_run "$what: no kernel in $cache"; return 1; fi
}

if [ "${1:-}" = --ready ]; then
    ready || exit 1
    exit 0
fi
ready || exit 0
binaries=$(cd "$1" && pwd)
shift
kernels=("$@")
[ ${#kernels[@]} -gt 0 ] || kernels=(linux-7.3 linux-6.12 linux-5.10)

netns=sluice-vm-$$
work=$(mktemp -d)
qemu=
finish() {
    if [ -n "$qemu" ]; then kill -KILL "$qemu" 2>/dev/null || true; wait "$qemu" 2>/dev/null || true; fi
    ip netns delete "$netns" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' INT TERM

# The wire of the virtio NICs: taps with many queues exist on a kernel's bridge only.
wire() {
    ip netns add "$netns" || return 1
    ip netns exec "$netns" sh -c '
        echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6
        echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6'
    ip -n "$netns" link add wire type bridge stp_state 0 mcast_snooping 0 || return 1
    # A bridge that shows its frames to netfilter drops those with a wrong checksum.
    ip netns exec "$netns" sh -c '
        for it in iptables ip6tables arptables; do
            if [ -e /proc/sys/net/bridge/bridge-nf-call-$it ]; then echo 0 > /proc/sys/net/bridge/bridge-nf-call-$it; fi
        done'
    ip -n "$netns" tuntap add tap-a mode tap multi_queue vnet_hdr || return 1
    ip -n "$netns" tuntap add tap-b mode tap vnet_hdr || return 1
    local tap
    for tap in tap-a tap-b; do
        # Long enough a queue for an emulator that is not scheduled for a while.
        ip -n "$netns" link set "$tap" mtu 9216 txqueuelen 10000 master wire up
    done
    ip -n "$netns" link set wire mtu 9216 up || return 1
}

# put FILE...: copies programs and the libraries that they want to the same place below $root.
put() {
    local file library
    for file; do
        for library in "$file" $(ldd "$file" | grep -o '/[^ )]*'); do
            mkdir -p "$root$(dirname "$library")"
            cp -L "$library" "$root$library"
        done
    done
}

# initramfs KERNEL: makes $work/initramfs and sets $vmlinuz.
initramfs() {
    local kernel=$cache/$1 release module file name
    root=$work/root
    rm -rf "$root"
    mkdir -p "$root"/{bin,sbin,dev,proc,sys,run,tmp,modules,etc,usr/bin,usr/sbin,var/lib}
    # Newer packages keep modules below /usr; depmod looks in /lib.
    [ -e "$kernel/lib" ] || ln -s usr/lib "$kernel/lib"
    release=$(basename "$kernel"/lib/modules/*)
    for vmlinuz in "$kernel/boot/vmlinuz-$release" "$kernel/lib/modules/$release/vmlinuz"; do
        [ ! -e "$vmlinuz" ] || break
    done
    [ -e "$kernel/lib/modules/$release/modules.dep" ] || depmod -b "$kernel" "$release" 2>/dev/null
    for module in "${modules[@]}"; do
        # Not every kernel has every NIC, and some have it built in; what a case misses it says.
        { modprobe -d "$kernel" -S "$release" --show-depends "$module" 2>/dev/null || true; } |
            sed -n 's/^insmod \([^ ]*\).*/\1/p'
    done | awk '!seen[$0]++' > "$work/modules"
    while read -r file; do
        name=$(basename "${file%.xz}")
        case $file in *.xz) xz -dc "$file" ;; *) cat "$file" ;; esac > "$root/modules/$name"
        echo "$name" >> "$root/modules/order"
    done < "$work/modules"
    cp "$(command -v busybox)" "$root/bin/busybox"
    "$root/bin/busybox" --list | grep -vx -e ip -e busybox | while read -r name; do ln -s busybox "$root/bin/$name"; done
    for name in "${programs[@]}"; do
        file=$(readlink -f "$(command -v "$name")")
        put "$file"
        ln -sf "$file" "$root/bin/$name"
    done
    cp "$binaries"/{sluiced,sluicectl,sluice-vm} "$root/bin/"
    cp "$here/init" "$root/init"
    (cd "$root" && find . | cpio --quiet -o -H newc) > "$work/initramfs"
}

# boot CASES: runs the guest, its console in $work/console. 0 if it came to its end in time.
boot() {
    local arguments=(
        -machine q35 -accel tcg,thread=multi -cpu max -smp 2 -m 768 -nodefaults -no-user-config
        -display none -serial stdio -no-reboot
        -kernel "$vmlinuz" -initrd "$work/initramfs"
        -append "console=ttyS0 panic=-1 quiet cases=$1"
        # Zero-copy wants memory that the device reaches by the platform's rules.
        -netdev tap,id=va,ifname=tap-a,script=no,downscript=no,vhost=off,queues=4
        -device "virtio-net-pci,netdev=va,mac=52:54:00:00:01:0a,mq=on,vectors=10,iommu_platform=on,disable-legacy=on,rx_queue_size=1024,romfile="
        -netdev tap,id=vb,ifname=tap-b,script=no,downscript=no,vhost=off
        -device "virtio-net-pci,netdev=vb,mac=52:54:00:00:01:0b,rx_queue_size=1024,romfile="
    )
    local slot=1 hub=0 driver end mac
    for driver in igb e1000e; do
        for end in a b; do
            mac=52:54:00:00:0$((hub + 2)):0$end
            arguments+=(
                -device "pcie-root-port,id=slot$slot,chassis=$slot,slot=$slot"
                -netdev "hubport,id=$driver-$end,hubid=$hub"
                -device "$driver,bus=slot$slot,netdev=$driver-$end,mac=$mac,romfile="
            )
            slot=$((slot + 1))
        done
        hub=$((hub + 1))
    done
    ip netns exec "$netns" timeout --kill-after=5 "$guest_seconds" \
        qemu-system-x86_64 "${arguments[@]}" < /dev/null > "$work/console" 2>&1 &
    qemu=$!
    local status=0
    wait "$qemu" || status=$?
    qemu=
    return "$status"
}

# attempt CASES: boots the guest once for them, and sets $bad to those that did not end well.
attempt() {
    local started=$SECONDS status=0 name result
    boot "${1// /,}" || status=$?
    tr -d '\r' < "$work/console" > "$work/log"
    bad=()
    for name in $1; do
        result=$(sed -n "s/^RESULT $name //p" "$work/log")
        [ "$result" = 0 ] || bad+=("$name")
        printf '%-11s %-26s %s\n' "$kernel" "$name" "$([ "$result" = 0 ] && echo ok || echo "FAILED (${result:-did not end})")"
    done
    # A guest that ends badly vouches for none of its cases.
    if [ "$status" != 0 ] || ! grep -qx DONE "$work/log" ||
        grep -q -e 'Kernel panic' -e '^\[.*\] BUG: ' -e '^\[.*\] Oops' "$work/log"; then
        read -ra bad <<<"$1"
    fi
    if [ ${#bad[@]} != 0 ] || [ -n "${SLUICE_VM_SHOW:-}" ]; then
        echo "---- console of the guest with $kernel; QEMU ended with $status"
        cat "$work/log"
        echo '----'
    fi
    echo "$kernel: $((SECONDS - started)) s"
}

if ! wire; then
    not_run 'tests in virtual machines: this machine gives no taps on a bridge in a network namespace'
    exit 0
fi
failed=0
for kernel in "${kernels[@]}"; do
    if [ ! -e "$cache/$kernel/stamp" ]; then
        not_run "$(cases "$kernel" | tr ' ' ','): no kernel $kernel in $cache"
        continue
    fi
    initramfs "$kernel"
    attempt "${SLUICE_VM_CASES:-$(cases "$kernel")}"
    if [ ${#bad[@]} != 0 ]; then
        # Under emulation a busy host makes time-outs of what is right. What fails alone, too, has failed.
        again="${bad[*]}"
        echo "*** FAILED ONCE, run again in a guest of their own: $again"
        attempt "$again"
        [ ${#bad[@]} = 0 ] || failed=1
    fi
done
exit "$failed"
