# HUP sent by hand, good and bad: the unit stays active.
port=$(port 1)
serve <<END
127.0.0.1:$port stream tcp nowait nobody echo echo hello
END
configure <<<"127.0.0.1:$port stream tcp nowait nobody echo echo other"
systemctl kill --signal=HUP --kill-who=main "$name"
wait_for "the other answer" answers "$port" other
configure <<<"junk"
systemctl kill --signal=HUP --kill-who=main "$name"
wait_for "the refusal" logged reload-refused
is_active || fail "$(property ActiveState)"
answers "$port" other
# A manager that waits for the end of a reload would refuse this.
configure <<<"127.0.0.1:$port stream tcp nowait nobody echo echo third"
systemctl reload "$name"
answers "$port" third || fail "no reload after that"
