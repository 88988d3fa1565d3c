# `oxinetd upgrade`: the same main process, no port closed, sessions live.
port=$(port 1)
serve <<END
127.0.0.1:$port stream tcp nowait nobody cat cat
END
session one "$port"
tell one before && heard one before
pid=$(main_pid)
ask upgrade
[ "$(main_pid)" = "$pid" ] || fail "another process"
is_active || fail "$(property ActiveState)"
answers "$port" hello hello || fail "not served"
tell one after && heard one after
logged upgraded || fail "the journal does not have it"
# It tells the manager how it is still, and is told by it.
systemctl reload "$name"
wait_for "the status" eval '[[ "$(property StatusText)" == *"1 program running"* ]]'
