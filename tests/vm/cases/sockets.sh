# Ports that systemd holds: the first client starts the server, and clients wait while it
# is restarted.
port=$(port 1) own=$(port 2)
configure <<END
127.0.0.1:$port stream tcp nowait nobody cat cat
127.0.0.1:$own  stream tcp nowait nobody cat cat
END
unit </dev/null
sed -e '/^Listen/d' -e "s|^\[Socket\]|&\nListenStream=127.0.0.1:$port|" \
    /share/etc/systemd/oxinetd.socket >"/run/systemd/system/$name.socket"
owns "$name.socket"
systemctl daemon-reload
systemctl start "$name.socket"
! is_active || fail "started before there is a client"
answers "$port" hello hello || fail "the first client is not served"
is_active || fail "$(property ActiveState)"
answers "$own" hello hello || fail "its own port is not served"
logged "listening service=$port/tcp .*adopted=yes" || fail "not adopted"

systemctl stop "$name.service"
answers "$port" hello hello || fail "the socket does not start it again"
pid=$(main_pid)
kill -KILL "$pid"
answers "$port" hello hello || fail "a client is lost in a crash"
