# A server that has hung for a while, but goes on before the watchdog's time is over, stays.
port=$(port 1)
configure <<END
127.0.0.1:$port stream tcp nowait nobody echo echo hello
END
unit <<END
[Service]
WatchdogSec=20s
END
systemctl start "$name"
pid=$(main_pid)
kill -STOP "$pid"
sleep 5
kill -CONT "$pid"
answers "$port" hello || fail "not served"
sleep 22
[ "$(main_pid)" = "$pid" ] || fail "a server that had recovered was taken"
is_active || fail "$(property ActiveState)"
