# A server that hangs is ended by the watchdog, at once, and comes back.
port=$(port 1)
configure <<END
127.0.0.1:$port stream tcp nowait nobody echo echo hello
END
unit <<END
[Service]
WatchdogSec=6s
# Far above what is waited for here: the watchdog's signal is enough.
TimeoutAbortSec=300s
LimitCORE=0
END
systemctl start "$name"
# One that works is left alone: longer than it could be silent.
pid=$(main_pid)
sleep 10
[ "$(main_pid)" = "$pid" ] || fail "ended though it works"
kill -STOP "$pid"
wait_for "another process" eval 'is_active && [ "$(main_pid)" != "$pid" ]'
logged watchdog || fail "the journal does not name the watchdog"
wait_for "it to serve" answers "$port" hello
