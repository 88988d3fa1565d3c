# A server that is not root's: groups of processes, a crash, and programs that go on.
port=$(port 1)
configure <<END
127.0.0.1:$port stream tcp nowait - cat cat
    memory_max = 64M
END
chmod 755 "$dir" && chmod 644 "$conf"
unit <<END
[Service]
User=nobody
CapabilityBoundingSet=
ExecStart=
ExecStart=/usr/sbin/oxinetd --control none $conf
END
systemctl start "$name"
session one "$port"
tell one before && heard one before
group=/sys/fs/cgroup/system.slice/$name.service/oxinetd.${port}_tcp@127.0.0.1
[ "$(cat "$group/memory.max")" = 67108864 ] || fail "no limit"
pid=$(main_pid)
kill -KILL "$pid"
wait_for "another process" eval 'is_active && [ "$(main_pid)" != "$pid" ]'
answers "$port" hello hello || fail "not served"
[ "$(cat "$group/memory.max")" = 67108864 ] || fail "no limit"
tell one after && heard one after
