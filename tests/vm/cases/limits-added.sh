# Limits that come with a restart, while programs of before run: they are served with them.
port=$(port 1)
serve <<END
127.0.0.1:$port stream tcp nowait nobody cat cat
END
session one "$port"
tell one before && heard one before
configure <<END
127.0.0.1:$port stream tcp nowait nobody cat cat
    memory_max = 64M
END
pid=$(main_pid)
kill -KILL "$pid"
wait_for "another process" eval 'is_active && [ "$(main_pid)" != "$pid" ]'
wait_for "it to serve" answers "$port" hello hello
[ "$(cat "/sys/fs/cgroup/system.slice/$name.service/oxinetd.${port}_tcp@127.0.0.1/memory.max")" = 67108864 ] ||
    fail "no limit"
tell one after && heard one after
# And taken away again.
configure <<END
127.0.0.1:$port stream tcp nowait nobody cat cat
END
systemctl restart "$name"
answers "$port" hello hello || fail "not served without limits"
tell one last && heard one last
