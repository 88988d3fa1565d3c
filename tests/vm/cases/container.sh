# In a container, as its process 1: a cgroup name space of its own, with cgroup2 mounted in it.
# Services have their groups there, also those that a reload gives limits while programs run.
# Where it is mounted read-only, a service with limits is not served, and the log says why.
group=/sys/fs/cgroup/$name-container
cat >"$dir/limits" <<'END'
#!/bin/sh
cd "/sys/fs/cgroup$(sed s/^0::// /proc/self/cgroup)" && cat memory.max pids.max
END
chmod 755 "$dir/limits"
limited="127.0.0.1:$(port 1) stream tcp nowait nobody $dir/limits limits
    memory_max = 32M
    tasks_max = 20"
plain="127.0.0.1:$(port 2) stream tcp nowait nobody /bin/cat cat"

# container OPTIONS: a server in one, with what it says in $dir/said. Whoever makes it stays outside.
container() {
    mkdir -p "$group"
    rm -f "$dir/said"
    unshare --mount --pid --fork --mount-proc --kill-child sh -c "
        echo 0 >'$group/cgroup.procs'
        exec unshare --cgroup sh -c 'umount /sys/fs/cgroup && mount -t cgroup2 -o $1 none /sys/fs/cgroup &&
            exec oxinetd $conf --control none'" > >(tee "$dir/said") 2>&1 &
    container=$!
    wait_for "a server" grep -q -w ready "$dir/said"
    server=$(pgrep -P "$container" -x oxinetd)
}
has_said() { grep -q -e "$1" "$dir/said"; }
stop() {
    kill "$server"
    wait_for "the end" eval '! kill -0 "$container"'
    # Nothing is in the way of the next one.
    [ -z "$(cat "$group/cgroup.subtree_control")" ] || fail "controllers are left"
    [ -z "$(ls -d "$group"/*/ 2>/dev/null)" ] || fail "groups are left: $(ls -d "$group"/*/)"
}

configure <<<"$plain"
container rw
session one "$(port 2)"
tell one before && heard one before
configure <<END
$plain
$limited
END
kill -HUP "$server"
wait_for "another service" has_said "listening .*:$(port 1)"
answers "$(port 1)" $'33554432\n20' || fail "$(client "$(port 1)")"
tell one after && heard one after
hang_up one
stop

# The limits are there from the start; the group is one that another server has left.
container rw
answers "$(port 1)" $'33554432\n20' || fail "$(client "$(port 1)")"
answers "$(port 2)" hello hello || fail "not served"
stop

container ro
has_said "trouble .*$(port 1)/tcp call=cgroup error=.*/sys/fs/cgroup.*Read-only" || fail "it is not said"
answers "$(port 1)" "" || fail "a program runs without its limits"
answers "$(port 2)" hello hello || fail "the other is not served"
stop
