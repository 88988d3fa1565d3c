# What no restart mends is not tried again: a configuration that is all errors, a wrong
# command line. Why is in the journal.
configure <<<"junk"
unit </dev/null
! systemctl start "$name" || fail "started"
[ "$(property ActiveState)" = failed ] || fail "$(property ActiveState)"
[ "$(property ExecMainStatus)" = 1 ] || fail "status $(property ExecMainStatus)"
[ "$(property NRestarts)" = 0 ] || fail "started again"
logged "the field .* is missing" || fail "the journal does not say why"

mkdir -p "/run/systemd/system/$name.service.d"
printf '[Service]\nExecStart=\nExecStart=/usr/sbin/oxinetd --nonsense\n' \
    >"/run/systemd/system/$name.service.d/wrong.conf"
systemctl daemon-reload
systemctl reset-failed "$name"
! systemctl start "$name" || fail "started"
[ "$(property ActiveState)" = failed ] || fail "$(property ActiveState)"
[ "$(property ExecMainStatus)" = 2 ] || fail "status $(property ExecMainStatus)"
[ "$(property NRestarts)" = 0 ] || fail "started again"
