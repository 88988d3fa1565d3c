# What tests/run and tests/world have in common: where they work, as whom, what they
# install, what they left out. To be sourced in the top folder, by bash.

# `root` is put before commands that need root; can_be_root says if it works.
root=()
can_be_root=no

in_ci() { [ "${CI:-}" = true ]; }

if [ "$(id -u)" = 0 ]; then
    can_be_root=yes
elif in_ci && sudo -n true 2>/dev/null; then
    root=(sudo -n)
    can_be_root=yes
fi

work=$(mktemp -d /tmp/oxinetd-tests.XXXXXX)
chmod 755 "$work"

policy=/usr/sbin/policy-rc.d
policy_is_ours=no
cleanup() {
    if [ "$policy_is_ours" = yes ]; then "${root[@]}" rm -f "$policy"; fi
    "${root[@]}" rm -rf "$work"
}
trap cleanup EXIT

say() { printf '\n== %s\n' "$*"; }

# Daemons are found in sbin.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# Packages of daemons start them; exit status 101 of policy-rc.d forbids it.
forbid_daemons() {
    [ ! -e "$policy" ] || return 0
    policy_is_ours=yes
    printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee "$policy" >/dev/null
    "${root[@]}" chmod 755 "$policy"
}

apt_install() {
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -y -qq --no-install-recommends "$@" >"$work/apt.log" 2>&1
}

# All at once, or else one by one: a package that is unknown here (or a mirror
# that is out of reach) must not keep the others away.
install_packages() {
    local package
    forbid_daemons
    "${root[@]}" apt-get update -qq || true
    apt_install "$@" && return
    for package in "$@"; do
        apt_install "$package" || tail -n 2 "$work/apt.log"
    done
}

# Installs what `missing_packages` of the caller prints, where that can be, and leaves in
# `packages` what is missing still.
install_what_is_missing() {
    mapfile -t packages < <(missing_packages)
    if [ "${#packages[@]}" -gt 0 ] && [ "$can_be_root" = yes ] && command -v apt-get >/dev/null; then
        echo "installing: ${packages[*]}"
        install_packages "${packages[@]}"
        mapfile -t packages < <(missing_packages)
    fi
}

need_cargo() {
    if ! command -v cargo >/dev/null; then
        echo "cargo is missing: install Rust, https://rustup.rs" >&2
        exit 1
    fi
}

target_directory() {
    cargo metadata --no-deps --format-version 1 |
        sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'
}

host_tuple() { rustc -vV | sed -n 's/^host: //p'; }

has_static_libc() { [ -e "$(cc -print-file-name=libc.a)" ]; }
