# Over a restart, limits hold for programs that go on; where the service has gone, too, and
# its group goes with the last of them.
limited=$(port 1) plain=$(port 2)
serve <<END
127.0.0.1:$limited stream tcp nowait nobody cat cat
    memory_max = 64M
127.0.0.1:$plain stream tcp nowait nobody cat cat
END
group=/sys/fs/cgroup/system.slice/$name.service/oxinetd.${limited}_tcp@127.0.0.1
session one "$limited"
tell one before && heard one before
systemctl restart "$name"
[ "$(cat "$group/memory.max")" = 67108864 ] || fail "no limit"
answers "$limited" hello hello || fail "not served after the restart"
tell one after && heard one after
configure <<END
127.0.0.1:$plain stream tcp nowait nobody cat cat
END
systemctl restart "$name"
answers "$plain" hello hello || fail "not served without limits"
if [ "$SYSTEMD" -ge 254 ]; then
    [ "$(cat "$group/memory.max")" = 67108864 ] || fail "the limit has gone with the service"
fi
tell one last && heard one last
hang_up one
wait_for "the group to go" eval '! [ -e "$group" ]'
