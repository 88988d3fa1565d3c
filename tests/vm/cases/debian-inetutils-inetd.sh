# Debian's inetutils-inetd with ours in the place of its program: its script, by systemd and
# without, its two places for services, and update-inetd.
# alone: it installs a package
owns inetutils-inetd.service
in_place_of inetutils-inetd /usr/sbin/inetutils-inetd
one=$(port 1) two=$(port 2) three=$(port 3)
line() { printf '%s\tstream\ttcp\tnowait\tnobody\t/bin/cat\tcat\n' "$1"; }
line "127.0.0.1:$one" >>/etc/inetd.conf

systemctl restart inetutils-inetd
wait_for "its answer" answers "$one" hello hello
is_ours "$(cat /run/inetd.pid)"
mkdir -p /etc/inetd.d
line "127.0.0.1:$two" >/etc/inetd.d/two
systemctl reload inetutils-inetd
wait_for "the file of the folder" answers "$two" hello hello
update-inetd --add "$three\tstream\ttcp\tnowait\tnobody\t/bin/cat\tcat"
wait_for "what update-inetd adds" answers "$three" hello hello
systemctl stop inetutils-inetd
wait_for "systemd's stop" eval '! answers "$one" hello hello'

script inetutils-inetd start
answers "$one" hello hello || fail "not served by the script"
# Its status is 0 in any case.
script inetutils-inetd status | grep "is running" || fail "the script does not find it"
rm /etc/inetd.d/two
script inetutils-inetd reload
wait_for "the script's reload" eval '! answers "$two" hello hello'
script inetutils-inetd restart
wait_for "the script's restart" answers "$one" hello hello
script inetutils-inetd stop
! answers "$one" hello hello || fail "served after the script's stop"
script inetutils-inetd status | grep "is not running" || fail "the script finds it still"
