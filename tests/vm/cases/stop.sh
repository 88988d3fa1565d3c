# A stop closes the ports, is a success, and leaves running programs alone unless their
# service says otherwise.
on=$(port 1) off=$(port 2)
serve <<END
127.0.0.1:$on  stream tcp nowait root cat cat
127.0.0.1:$off stream tcp nowait root cat cat
    on_stop = terminate
END
session goes-on "$on"
session ends "$off"
tell goes-on one && heard goes-on one
tell ends one && heard ends one

systemctl stop "$name"
[ "$(property Result)" = success ] || fail "$(property Result)"
! client "$on" || fail "the port is open"
tell goes-on two && heard goes-on two
programs() { members | xargs -I{} cat /proc/{}/comm 2>/dev/null | grep -c '^cat$'; }
wait_for "the other program to end" eval '[ "$(programs)" = 1 ]'
logged stopped || fail "no last line"
