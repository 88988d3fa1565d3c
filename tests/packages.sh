# The packages, built as their users build them and looked at with the tools of their systems.
# To be sourced by tests/world, after tests/tools.sh. What is installed from them on a machine
# that runs is in tests/vm/cases/package*.sh.

# Exactly these: what they make of Cargo.toml is looked at here.
package_tools=(cargo-deb@3.8.0 cargo-generate-rpm@0.21.1)

# Puts the tools in `PATH`. They stay where they are until their versions change.
packages_find_tools() {
    local place=$1/packages
    PATH=$place/bin:$PATH
    [ "$(cat "$place/have" 2>/dev/null)" != "${package_tools[*]}" ] || return 0
    rm -rf "$place"
    # Not optimised: they run for a second and are compiled for minutes.
    CARGO_TARGET_DIR=$1/packages-build cargo install --quiet --locked --profile dev \
        --root "$place" "${package_tools[@]}" || return
    rm -rf "$1/packages-build"
    echo "${package_tools[*]}" >"$place/have"
}

# Packages for the machines: of the static binary for the target $1, since a machine's libc may
# be older than ours; the second is a newer version of the first.
packages_for_vm() {
    local revision
    for revision in 1 2; do
        CARGO_TARGET_DIR=$vm_target cargo deb --quiet --no-build --target "$1" \
            --deb-revision "$revision" --output "$work/oxinetd-$revision.deb"
    done
}

# Builds it as everybody does, and prints where it is.
packages_deb() { cargo deb --quiet --locked; }

# Each of these says why it fails.
packages_case_deb() {
    local deb fields paths
    deb=$(packages_deb) || return
    fields=$(dpkg-deb --field "$deb")
    for field in 'Provides: inet-superserver' 'Conflicts: inet-superserver' 'Section: net'; do
        grep -qx "$field" <<<"$fields" || { echo "no $field"; return 1; }
    done
    paths=$(dpkg-deb --contents "$deb" | awk '{print $6}')
    for path in usr/sbin/oxinetd usr/lib/systemd/system/oxinetd.service etc/init.d/oxinetd \
        etc/logrotate.d/oxinetd usr/share/man/man8/oxinetd.8.gz \
        usr/share/man/man5/oxinetd.conf.5.gz usr/share/bash-completion/completions/oxinetd \
        usr/share/zsh/vendor-completions/_oxinetd \
        usr/share/fish/vendor_completions.d/oxinetd.fish; do
        grep -qx "./$path" <<<"$paths" || { echo "no $path"; return 1; }
    done
    # Who gives it to others says whom they write to, as the README has it.
    cargo deb --quiet --locked --no-build --maintainer 'A. Packer <packer@example.org>' \
        --output "$work/packed.deb" || return
    [ "$(dpkg-deb --field "$work/packed.deb" Maintainer)" = 'A. Packer <packer@example.org>' ] ||
        { echo "another maintainer"; return 1; }
    # /etc/inetd.conf is made by a script, where there is none.
    ! grep -qx ./etc/inetd.conf <<<"$paths" || { echo "/etc/inetd.conf is in it"; return 1; }
}

# With everything in it, for a machine like this one (src/build.rs).
packages_case_size() {
    local size
    packages_deb >/dev/null || return
    size=$(stat -c %s "$(target_directory)/release/oxinetd")
    [ "$size" -le $((5 * 1024 * 1024)) ] || { echo "the program has $size bytes"; return 1; }
}

packages_case_lintian() {
    local deb
    deb=$(packages_deb) || return
    # It is not for Debian's own archive, whose list of wishes has an entry for what is new.
    lintian --allow-root --fail-on error,warning,info --info \
        --suppress-tags initial-upload-closes-no-bugs "$deb"
}

# An rpm in a folder of its own, with rpm's own idea of what is installed there.
packages_case_rpm() {
    local paths place=$work/rpm
    mkdir -p "$place"
    # The tool is not optimised, and would compress for minutes.
    cargo generate-rpm --payload-compress none --output "$work/1.rpm" || return
    cargo generate-rpm --payload-compress none --set-metadata 'release = "2"' \
        -s 'vendor = "A. Packer"' --output "$work/2.rpm" || return
    [ "$(rpm --query --queryformat '%{VENDOR}' --package "$work/2.rpm")" = 'A. Packer' ] ||
        { echo "another vendor"; return 1; }
    paths=$(rpm --query --list --package "$work/1.rpm") || return
    for path in /usr/sbin/oxinetd /usr/lib/systemd/system/oxinetd.service /etc/inetd.conf \
        /etc/logrotate.d/oxinetd /usr/share/man/man8/oxinetd.8 \
        /usr/share/zsh/site-functions/_oxinetd; do
        grep -qx "$path" <<<"$paths" || { echo "no $path"; return 1; }
    done
    rpm --query --provides --package "$work/1.rpm" | grep -q '^inet-superserver' || return
    # There are no other packages, and no shell for the scripts.
    in_place() { "${root[@]}" rpm --root "$place" --force-debian --nodeps --noscripts "$@"; }
    in_place --install "$work/1.rpm" || return
    in_place --verify oxinetd || { echo "not as it was packed"; return 1; }
    "$place/usr/sbin/oxinetd" check "$place/etc/inetd.conf" || return
    echo '# mine' | "${root[@]}" tee -a "$place/etc/inetd.conf" >"$work/mine"
    in_place --upgrade "$work/2.rpm" || return
    grep '^# mine' "$place/etc/inetd.conf" || { echo "the configuration is replaced"; return 1; }
    in_place --erase oxinetd || return
    ls "$place/etc/inetd.conf.rpmsave" || { echo "what was changed is gone"; return 1; }
    # Folders are removed by a script.
    paths=$(find "$place" -name '*oxinetd*' -not -path '*/var/lib/rpm/*' -not -type d)
    [ -z "$paths" ] || { echo "left: $paths"; return 1; }
}

# The scripts in it, as rpm calls them, with a systemctl and a server that say what they are
# asked.
packages_case_rpm_scripts() {
    local place=$work/scripts
    mkdir -p "$place"
    for program in systemctl oxinetd; do
        printf '#!/bin/sh\necho "%s $*" >>%s\n[ "$*" != "$REFUSED" ]\n' \
            "$program" "$place/asked" >"$place/$program"
    done
    chmod +x "$place"/*
    # says NAME NUMBER [WHAT IS REFUSED]: what is asked for, a line each.
    asks() {
        : >"$place/asked"
        REFUSED=${3:-} PATH=$place:$PATH sh -eu "etc/package/rpm/$1" "$2" 2>"$place/said" || return
        grep -v daemon-reload "$place/asked" | paste -s -d ';'
    }
    [ "$(asks post 1)" = "systemctl preset oxinetd.service" ] || return
    [ "$(asks post 2)" = "oxinetd status;oxinetd upgrade" ] || return
    [ "$(asks post 2 status)" = "oxinetd status" ] || return
    [ "$(asks post 2 upgrade)" = "oxinetd status;oxinetd upgrade" ] || return
    grep "goes on with the program from before" "$place/said" || return
    [ "$(asks preun 1)" = "" ] || return
    [ "$(asks preun 0)" = "systemctl --no-reload disable --now oxinetd.service" ] || return
    [ "$(asks postun 0)" = "" ]
}

# The lines of tests/world for the cases $@, or for all of them.
packages_world() {
    local name lacks=
    if ! packages_find_tools "$(target_directory)" >"$work/tools.log" 2>&1; then
        lacks="no ${package_tools[*]}: $(tail -n 1 "$work/tools.log")"
    elif [ "${#packages[@]}" -gt 0 ]; then
        lacks="missing: ${packages[*]}"
    elif [ "$can_be_root" != yes ]; then
        lacks="rpm wants to be root"
    fi
    for name in deb size lintian rpm rpm_scripts; do
        if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then
            continue
        elif [ -n "$lacks" ]; then
            echo "skipped $name: $lacks"
        elif "packages_case_$name" >"$work/case.log" 2>&1; then
            echo "ok $name"
        else
            echo "FAILED $name: $(tail -n 1 "$work/case.log")"
            sed 's/^/    /' "$work/case.log"
        fi
    done
}
