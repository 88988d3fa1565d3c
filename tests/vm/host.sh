# Virtual machines, seen from outside: the image, what goes in, what comes out. To be
# sourced by tests/world, after tests/tools.sh.

vm_folder=tests/vm
# All that a case may count on in the guest, besides what every Debian has.
vm_packages=(
    linux-image-cloud-amd64 initramfs-tools systemd systemd-sysv udev dbus
    netcat-openbsd python3-minimal iproute2 procps util-linux
    netbase tcpd update-inetd
)
# Whose place ours takes there: a case installs one, and takes it away again.
vm_others=(xinetd openbsd-inetd inetutils-inetd)
# How long a machine may take from its start to its end, in seconds.
vm_deadline=1200

# What is put in: the server, and the integration tests, whose paths are built in.
vm_build() {
    local host target
    target=$(target_directory)
    host=$(host_tuple)
    vm_target=$target/world
    # Static: a guest's libc may be older than ours.
    vm_cargo() {
        CARGO_TARGET_DIR=$vm_target RUSTFLAGS='-C target-feature=+crt-static' \
            CARGO_PROFILE_DEV_DEBUG=0 cargo "$@" --quiet --locked --target "$host"
    }
    vm_cargo build --release --bin oxinetd
    vm_server=$vm_target/$host/release/oxinetd
    vm_integration=$(
        vm_cargo test --no-run --test integration --message-format=json |
            sed -n '/"name":"integration"/s/.*"executable":"\([^"]*\)".*/\1/p'
    )
    # Without the tools, what needs packages is skipped.
    ! packages_find_tools "$target" || packages_for_vm "$host"
    # Where the integration tests look for the server.
    vm_server_of_tests=$vm_target/$host/debug/oxinetd
}

# The folder of an image of the suite $1, in `vm_image`; it is made if it is not there. On
# failure `vm_image` says why.
vm_find_image() {
    local suite=$1 cache key
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/oxinetd-world
    key=$(cat "$vm_folder/image" <(echo "$suite ${vm_packages[*]} ${vm_others[*]}") | sha256sum | cut -c 1-16)
    mkdir -p "$cache"
    vm_image=$cache/$suite-$key
    # Whoever comes meanwhile waits, and finds it.
    (
        flock 9
        [ ! -e "$vm_image/root.ext4" ] || exit 0
        "${root[@]}" rm -rf "$cache/$suite-"*
        "${root[@]}" "$vm_folder/image" "$suite" "$vm_image" "${vm_others[*]}" "${vm_packages[@]}" >"$work/image.log" 2>&1
    ) 9>"$cache/$suite.lock" || {
        "${root[@]}" rm -rf "$vm_image"
        vm_image="no image: $(grep -v '^$' "$work/image.log" | tail -n 1)"
        return 1
    }
}

# What the guest finds in /share, as a disk that is a tar file.
vm_pack() {
    local share=$work/share
    rm -rf "$share"
    mkdir -p "$share"
    cp -r "$vm_folder"/{guest,lib.sh,cases} etc "$share"
    cp "$vm_server" "$share/oxinetd"
    cp "$vm_integration" "$share/integration"
    cp "$work"/oxinetd-*.deb "$share" 2>/dev/null || true
    printf '%s\n' "$PWD" "$vm_server_of_tests" >"$share/paths"
    printf '%s\n' "$@" >"$share/wanted"
    tar -cf "$work/share.tar" -C "$share" .
    truncate -s %512 "$work/share.tar"
}

# Runs a machine of the image `vm_image`; prints its report.
vm_run() {
    local accel=${OXINETD_WORLD_ACCEL:-tcg,thread=multi}
    timeout --foreground "$vm_deadline" qemu-system-x86_64 \
        -accel "$accel" -cpu max -smp 2 -m 1024 -display none -no-reboot -monitor none \
        -kernel "$vm_image/vmlinuz" -initrd "$vm_image/initrd" \
        -append "root=/dev/vda rw console=ttyS0 quiet panic=-1 world.jobs=${OXINETD_WORLD_JOBS:-3}" \
        -drive "file=$vm_image/root.ext4,if=virtio,format=raw,snapshot=on" \
        -drive "file=$work/share.tar,if=virtio,format=raw,readonly=on" \
        -serial "file:$work/console" -serial stdio \
        -nic none -device virtio-rng-pci </dev/null 2>&1 | sed -u 's/\r//g'
}

# Whether the kernel of the last machine has crashed. In software, where one processor changes
# code that another runs, QEMU's does so now and then: that says nothing of what is tested.
vm_has_crashed() {
    grep -q 'Kernel panic' "$work/console"
}

# The report of a machine whose kernel has not crashed, in the file $1.
vm_report() {
    local attempt
    for attempt in 1 2 3; do
        vm_run >"$1" || true
        if grep -q '^@ end$' "$1" || ! vm_has_crashed; then return; fi
        echo "    the kernel of the machine has crashed ($attempt): $(grep -m 1 -o 'Oops:.*\|Kernel panic.*' "$work/console" | tr -d '\r')"
    done
}

# The world of the suite $1: the lines of tests/world for the cases $2… or all of them.
vm_world() {
    local suite=$1 line ended=no
    shift
    if ! vm_find_image "$suite"; then
        echo "skipped $suite: $vm_image"
        return
    fi
    vm_pack "$@"
    vm_report "$work/report"
    while IFS= read -r line; do
        case $line in
        '@ end') ended=yes ;;
        '@ '*) printf '%s\n' "${line#@ }" ;;
        *) printf '    %s\n' "$line" ;;
        esac
    done <"$work/report"
    if [ "$ended" = no ]; then
        # The last line of a console may have no end, and the next one is to be counted.
        printf '%s\n' "$(tail -n 20 "$work/console" | tr -d '\r')" | sed 's/^/    /'
        echo "FAILED $suite: the machine did not come to its end (it has $vm_deadline seconds)"
    fi
}
