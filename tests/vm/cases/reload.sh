# `systemctl reload` with a good file: what is new is served when it returns.
old=$(port 1) new=$(port 2)
serve <<END
127.0.0.1:$old stream tcp nowait nobody echo echo old
END
pid=$(main_pid)
for text in first second third; do
    configure <<END
127.0.0.1:$old stream tcp nowait nobody echo echo old
127.0.0.1:$new stream tcp nowait nobody echo echo $text
END
    systemctl reload "$name"
    answers "$new" "$text" || fail "$text is not served after the reload"
done
answers "$old" old || fail "the old service is gone"
[ "$(main_pid)" = "$pid" ] || fail "another process"
is_active || fail "$(property ActiveState)"
