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

for end in kill restart; do
    pid=$(main_pid)
    if [ "$end" = kill ]; then
        kill -KILL "$pid"
        # They never end where the server can be started beside them.
        if [ "$SYSTEMD" -ge 254 ]; then hold || fail "nobody serves, and the limits are gone"; fi
        wait_for "another process" eval 'is_active && [ "$(main_pid)" != "$pid" ]'
    else
        systemctl restart "$name"
    fi
    hold || fail "after a $end: $(limits)"
    answers "$limited" hello hello || fail "not served after a $end"
    answers "$plain" hello hello || fail "not served after a $end"
    tell one "after $end" && heard one "after $end"
    tell two "after $end" && heard two "after $end"
    [ "$(wc -l <"$group/cgroup.procs")" = 1 ] || fail "the program is not in the group of before"
done
# Where limits were not there for a while, the log has it.
if [ "$SYSTEMD" -ge 254 ]; then
    ! logged 'call=cgroup' || fail "$(log | grep cgroup)"
else
    logged 'trouble .*call=cgroup .*no limits for a while' || fail "nothing is said"
fi
# The group goes with the service and its last program.
configure <<END
127.0.0.1:$plain stream tcp nowait nobody cat cat
END
systemctl restart "$name"
tell one last && heard one last
hang_up one
wait_for "the group to go" eval '! [ -e "$group" ]'
