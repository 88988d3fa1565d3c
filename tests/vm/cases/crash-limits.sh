# After a crash, with programs that run with limits and without: the unit comes back, they
# go on, and limits hold for them and for whoever comes.
limited=$(port 1) plain=$(port 2)
serve <<END
127.0.0.1:$limited stream tcp nowait nobody cat cat
    memory_max = 64M
    tasks_max = 10
    cpu_max = 50%
127.0.0.1:$plain stream tcp nowait nobody cat cat
END
group=/sys/fs/cgroup/system.slice/$name.service/oxinetd.${limited}_tcp@127.0.0.1
limits() { cat "$group"/{memory,pids,cpu}.max | tr '\n' ' '; }
hold() { [ "$(limits)" = "67108864 10 50000 100000 " ]; }
session one "$limited"
session two "$plain"
tell one before && heard one before
tell two before && heard two before
hold || fail "$(limits)"
pid=$(main_pid)
kill -KILL "$pid"
# Where the server can be started beside them, they never end.
if [ "$SYSTEMD" -ge 254 ]; then hold || fail "nobody serves, and the limits are gone"; fi
wait_for "another process" eval 'is_active && [ "$(main_pid)" != "$pid" ]'
hold || fail "$(limits)"
answers "$limited" hello hello || fail "not served with limits"
answers "$plain" hello hello || fail "not served"
tell one after && heard one after
tell two after && heard two after
[ "$(wc -l <"$group/cgroup.procs")" = 1 ] || fail "the program is not in the group of before"
# Where limits were not there for a while, the log has it.
if [ "$SYSTEMD" -ge 254 ]; then
    ! in_the_log 'call=cgroup' || fail "$(log | grep cgroup)"
else
    logged 'trouble .*call=cgroup .*no limits for a while' || fail "nothing is said"
fi
