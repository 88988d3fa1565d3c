# Over a restart programs go on.
port=$(port 1)
serve <<END
127.0.0.1:$port stream tcp nowait nobody cat cat
END
session one "$port"
tell one before && heard one before
pid=$(main_pid)
systemctl restart "$name"
[ "$(main_pid)" != "$pid" ] || fail "the same process"
answers "$port" hello hello || fail "not served after the restart"
tell one after && heard one after
