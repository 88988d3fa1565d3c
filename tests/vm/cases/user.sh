# A server of an ordinary user: it has a control socket, so that it can be reloaded, told
# to upgrade, and asked, by root and by its user.
port=$(port 1) new=$(port 2)
configure <<END
127.0.0.1:$port stream tcp nowait - id id -un
END
unit <<END
[Service]
User=nobody
CapabilityBoundingSet=
NoNewPrivileges=yes
END
systemctl start "$name"
answers "$port" nobody || fail "not served as nobody"
! in_the_log no-control || fail "no control socket"
ask status | grep "$port/tcp"
setpriv --reuid=nobody --regid=nogroup --clear-groups \
    env "RUNTIME_DIRECTORY=/run/$name" oxinetd status | grep "$port/tcp"
configure <<END
127.0.0.1:$port stream tcp nowait - id id -un
127.0.0.1:$new  stream tcp nowait - echo echo hello
END
systemctl reload "$name"
answers "$new" hello || fail "not reloaded"
pid=$(main_pid)
ask upgrade
[ "$(main_pid)" = "$pid" ] && answers "$new" hello || fail "no upgrade"
systemctl stop "$name"
[ ! -e "/run/$name" ] || fail "something is left in /run"
