# After a crash the unit comes back by itself, and programs that ran go on.
port=$(port 1)
serve <<END
127.0.0.1:$port stream tcp nowait nobody cat cat
END
session one "$port"
tell one before && heard one before
pid=$(main_pid)
kill -KILL "$pid"
wait_for "another process" eval 'is_active && [ "$(main_pid)" != "$pid" ]'
wait_for "it to serve" answers "$port" hello hello
tell one after && heard one after
