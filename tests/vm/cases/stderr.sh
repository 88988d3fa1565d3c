# What a program writes to standard error after its server has stopped is in the journal,
# with the unit, and it lives; so it is after a restart.
port=$(port 1)
cat >"$dir/repeat" <<'END'
#!/bin/sh
while read x; do echo "err $x" >&2; echo "said $x"; done
END
chmod 755 "$dir" "$dir/repeat"
serve <<END
127.0.0.1:$port stream tcp nowait nobody $dir/repeat repeat
END
readers() { members | xargs -I{} cat /proc/{}/comm 2>/dev/null | grep -c '^oxinetd-stderr$' || true; }
session one "$port"
tell one before && heard one "said before"
for round in first second; do
    systemctl restart "$name"
    tell one "$round" && heard one "said $round"
    wait_for "the journal" logged "stderr service=$port/tcp pid=.* line=\"err $round\""
done
session two "$port"
tell two in && heard two "said in"
systemctl stop "$name"
[ "$(property Result)" = success ] || fail "$(property Result)"
tell one third && heard one "said third"
tell two third && heard two "said third"
wait_for "the journal" eval '[ "$(log | grep -c "stderr .*line=\"err third\"")" = 2 ]'
[ "$(readers)" = 2 ] || fail "$(readers) read"
hang_up one && hang_up two
wait_for "the last reader to end" eval '[ "$(members | wc -l)" = 0 ]'
