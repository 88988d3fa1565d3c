# Debian's openbsd-inetd with ours in the place of its program: its unit, its script, and
# what changes its file for other packages, as they come. (Its installation has invoke-rc.d
# start it.)
# alone: it installs a package
owns inetd.service
in_place_of openbsd-inetd /usr/sbin/inetd
one=$(port 1) two=$(port 2) three=$(port 3)
line() { printf '%s\tstream\ttcp\tnowait\tnobody\t/bin/cat\tcat\n' "$1"; }
line "127.0.0.1:$one" >>/etc/inetd.conf

systemctl restart inetd
pid=$(main_pid inetd)
is_ours "$pid" || fail "the process $pid is not ours"
[ "$(cat /run/inetd.pid)" = "$pid" ] || fail "the file for the process id has $(cat /run/inetd.pid), not $pid"
answers "$one" hello hello || fail "not served"
session who "$one"
tell who hello
heard who hello

line "127.0.0.1:$two" >>/etc/inetd.conf
systemctl reload inetd
wait_for "the new line" answers "$two" hello hello
# As other packages add theirs: it looks for the name of the process, and sends HUP.
update-inetd --add "$three\tstream\ttcp\tnowait\tnobody\t/bin/cat\tcat"
wait_for "what update-inetd adds" answers "$three" hello hello
oxinetd upgrade
update-inetd --disable "$three"
wait_for "update-inetd after an upgrade" eval '! answers "$three" hello hello'
[ "$(main_pid inetd)" = "$pid" ] || fail "it has been started again"

systemctl status --no-pager inetd
systemctl restart inetd
answers "$one" hello hello || fail "not served after a restart"
tell who again
heard who again
systemctl stop inetd
[ "$(property Result inetd)" = success ] || fail "$(property Result inetd)"
[ ! -e /run/inetd.pid ] || fail "the file for the process id is left"

script openbsd-inetd start
answers "$one" hello hello || fail "not served by the script"
script openbsd-inetd status || fail "the script does not find it"
is_ours "$(cat /run/inetd.pid)"
update-inetd --enable "$three"
wait_for "update-inetd without systemd" answers "$three" hello hello
line "127.0.0.1:$(port 4)" >>/etc/inetd.conf
script openbsd-inetd reload
wait_for "the script's reload" answers "$(port 4)" hello hello
script openbsd-inetd restart
wait_for "the script's restart" answers "$one" hello hello
script openbsd-inetd stop
wait_for "the script's stop" eval '! answers "$one" hello hello'
! script openbsd-inetd status || fail "the script finds it still"
