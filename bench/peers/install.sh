#!/bin/sh
# Installs the Debian packages that are named, without their services.
#
# Open vSwitch's package starts a switch as soon as it is there and at every boot. The benches start
# their own, so: while packages are installed, a policy forbids to start anything (policy-rc.d, as
# invoke-rc.d and deb-systemd-invoke ask it), and what they have asked to start at boot is taken
# back. A policy that is there already stays, and so does a switch that ran before.
set -eu

POLICY=/usr/sbin/policy-rc.d
SERVICES='openvswitch-switch ovs-vswitchd ovsdb-server'

runs() {
    pgrep -x "$1" >/dev/null 2>&1
}

is_installed() {
    dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'
}

missing=
for package in "$@"; do
    is_installed "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

ran_before=no
if runs ovs-vswitchd || runs ovsdb-server || is_installed openvswitch-switch; then
    ran_before=yes
fi

if [ ! -e "$POLICY" ]; then
    trap 'rm -f "$POLICY"' EXIT INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$POLICY"
    chmod 755 "$POLICY"
fi

echo "installing:$missing"
apt-get update -qq
failed=
for package in $missing; do
    # One by one: what a distribution does not have keeps none of the others away.
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" \
        >/dev/null || failed="$failed $package"
done

if [ "$ran_before" = no ]; then
    for service in $SERVICES; do
        if [ -d /run/systemd/system ]; then
            systemctl disable --now "$service" >/dev/null 2>&1 || true
        fi
        if [ -x "/etc/init.d/$service" ]; then
            update-rc.d "$service" disable >/dev/null 2>&1 || true
        fi
    done
    if runs ovs-vswitchd || runs ovsdb-server; then
        echo '*** a switch runs that its package has started; "service openvswitch-switch stop" ends it' >&2
    fi
fi

[ -z "$failed" ] || {
    echo "*** not installed:$failed; what needs it is reported as not measured" >&2
    exit 1
}
