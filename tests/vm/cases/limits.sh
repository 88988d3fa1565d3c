# `memory_max` and the like hold under the unit, which delegates its group.
port=$(port 1)
cat >"$dir/limits" <<'END'
#!/bin/sh
cd "/sys/fs/cgroup$(sed s/^0::// /proc/self/cgroup)" && cat memory.max pids.max
END
chmod 755 "$dir/limits"
serve <<END
127.0.0.1:$port stream tcp nowait nobody $dir/limits limits
    memory_max = 32M
    tasks_max = 20
END
answers "$port" $'33554432\n20' || fail "$(client "$port")"
is_active || fail "$(property ActiveState)"
