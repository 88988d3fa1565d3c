# What a case has, in the guest: see tests/vm/README.md. Run as `bash lib.sh CASE`.
set -Eeuo pipefail

dir=/world/$CASE
# The unit of this case, its configuration, its ports: no other case has them.
name=oxinetd-$CASE
conf=$dir/inetd.conf
port() { echo $((20000 + NUMBER * 50 + $1)); }

# --- the end of a case ---

fail() {
    echo "failed: $*"
    echo "$*" >"$dir/why"
    exit 1
}
skip() {
    echo "$*" >"$dir/why"
    exit 77
}
on_error() {
    echo "line $2: $3 (exit status $1)" | tee "$dir/why"
    exit 1
}
trap 'on_error "$?" "$LINENO" "$BASH_COMMAND"' ERR

units=() installed=()
tidy() {
    local status=$? unit
    trap - EXIT ERR
    set +eu
    if [ "$status" != 0 ] && [ "$status" != 77 ]; then
        for unit in "${units[@]}"; do
            echo "--- $unit"
            systemctl status --no-pager --lines=0 "$unit"
            journalctl --no-pager --output=short-monotonic -u "$unit" | tail -n 30
        done
    fi
    for unit in "${units[@]}"; do
        systemctl kill --signal=KILL "$unit"
        systemctl stop "$unit"
        # What runs on after its end.
        echo 1 >"/sys/fs/cgroup/system.slice/$unit/cgroup.kill"
        rm -rf "/run/systemd/system/$unit" "/run/systemd/system/$unit.d"
    done >/dev/null 2>&1
    [ "${#installed[@]}" = 0 ] || dpkg --purge "${installed[@]}" >/dev/null 2>&1
    kill $(jobs -p) 2>/dev/null
    exit "$status"
}
trap tidy EXIT

# --- waiting ---

# wait_for WHAT COMMAND...: until the command succeeds, for 40 seconds.
wait_for() {
    local what=$1 end=$((SECONDS + 40))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || fail "waited in vain: $what"
        sleep 0.2
    done
}

# --- units ---

# Writes the configuration from standard input.
configure() { cat >"$conf"; }

# unit [NAME]: the shipped service under the case's name, reading the case's file. Lines on
# standard input are a drop-in (`unit </dev/null` for none).
unit() {
    local unit=${1:-$name}.service folder=/run/systemd/system
    mkdir -p "$folder/$unit.d"
    sed -e "s|/etc/inetd\.conf|$conf|" -e "s|^RuntimeDirectory=oxinetd|RuntimeDirectory=${unit%.service}|" \
        /share/etc/systemd/oxinetd.service >"$folder/$unit"
    cat >"$folder/$unit.d/case.conf"
    owns "$unit"
    systemctl daemon-reload
}
# A unit that goes with the case.
owns() { units+=("$1"); }

# serve: `configure`, `unit`, and a start.
serve() {
    configure
    unit </dev/null
    systemctl start "$name"
}
property() { systemctl show --property="$1" --value "${2:-$name}"; }
main_pid() { property MainPID "$@"; }
# `cgroup.procs` of all groups in the unit's.
members() {
    find "/sys/fs/cgroup/system.slice/$name.service" -name cgroup.procs -exec cat {} + 2>/dev/null
}
is_active() { [ "$(property ActiveState)" = active ]; }

# The journal of the unit, and whether a pattern is in it: soon, as one that is being
# written to may be read in part only. What is in the journal so far: `in_the_log`.
log() { journalctl --sync && journalctl --no-pager --output=cat -u "$name"; }
in_the_log() { log | grep -q -e "$1"; }
logged() {
    local try
    for try in {1..20}; do
        if in_the_log "$1"; then return; fi
        sleep 0.5
    done
    return 1
}

# The unit's server is asked: `ask status`.
ask() { oxinetd "$@" --control "/run/$name/oxinetd.sock"; }

# --- in the place of others ---

# in_place_of PACKAGE PROGRAM: installs one of the packages that the image has, with our
# binary in the place of its program. It goes with the case.
in_place_of() {
    dpkg-divert --quiet --local --rename --divert "$2.distrib" --add "$2"
    ln -s /usr/sbin/oxinetd "$2"
    installed+=("$1")
    # Another log than journald's would be left behind.
    rm -f "/var/cache/world/$1"/*-syslogd_*
    DEBIAN_FRONTEND=noninteractive dpkg --install --force-depends "/var/cache/world/$1"/*.deb
}
# script NAME COMMAND: its script for init, which asks no systemd.
script() {
    env -i PATH="$PATH" SYSTEMCTL_SKIP_REDIRECT=1 _SYSTEMCTL_SKIP_REDIRECT=1 "/etc/init.d/$1" "$2"
}
# Whether a process runs, and it is ours.
is_ours() { [ "$(readlink "/proc/$1/exe" || true)" = /usr/sbin/oxinetd ]; }
# The process of a unit, whether systemd knows it or it has gone to the background.
process_of() {
    local pid
    pid=$(main_pid "$1")
    if [ "$pid" != 0 ]; then echo "$pid"; else cat "$2"; fi
}

# --- clients ---

# client PORT [TEXT]: sends TEXT, prints the answer.
client() { printf '%s' "${2:-}" | timeout 20 nc -N 127.0.0.1 "$1"; }
# Whether the answer is that.
answers() { [ "$(client "$1" "${3:-}" 2>&1)" = "$2" ]; }

# session NAME PORT: a connection that stays; `tell NAME TEXT` sends a line, `heard NAME
# PATTERN` waits for one, `hang_up NAME` ends it.
declare -A sessions=()
session() {
    mkfifo "$dir/$1.in"
    nc -N 127.0.0.1 "$2" <"$dir/$1.in" >"$dir/$1.out" 2>&1 &
    exec {sessions[$1]}>"$dir/$1.in"
}
tell() { printf '%s\n' "$2" >&"${sessions[$1]}"; }
heard() { wait_for "$1 to hear $2" grep -q -e "$2" "$dir/$1.out"; }
hang_up() { exec {sessions[$1]}>&-; }

# --- integration tests ---

# Runs the tests of these names in the root of all groups of processes; none may be skipped.
integration() {
    # A subshell of its own, since systemd looks after the others.
    (
        echo "$BASHPID" >/sys/fs/cgroup/cgroup.procs
        cd "$dir"
        OXINETD_TESTS_NO_SKIP=1 /share/integration --test-threads=2 "$@" 2>&1 | tee "$dir/tests"
    ) || fail "$(grep -m 1 -e '\.\.\. FAILED' -e panicked "$dir/tests")"
    ! grep SKIPPED "$dir/tests" || fail "$(grep -m 1 SKIPPED "$dir/tests")"
    ! grep 'ok. 0 passed' "$dir/tests" || fail "there are no such tests: $*"
}

. "$1"
