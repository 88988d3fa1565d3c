# Debian's xinetd with ours in the place of its program: its unit or its script, by systemd
# and without, the files that come with it, its signals.
# alone: it installs a package
owns xinetd.service
in_place_of xinetd /usr/sbin/xinetd
one=$(port 1) two=$(port 2)
# Where there is no unit, systemd makes one of the script.
wait_for "the process" eval 'is_ours "$(process_of xinetd /run/xinetd.pid)"'
pid=$(process_of xinetd /run/xinetd.pid)

# Its own files, with two services switched on, and one beside them.
sed -i 's/disable\([[:blank:]]*\)= yes/disable\1= no/' /etc/xinetd.d/{daytime,echo-udp}
service() {
    printf '%s\n' "service $1" '{' 'type = UNLISTED' "port = $2" 'socket_type = stream' \
        'protocol = tcp' 'wait = no' 'user = nobody' "server = $3" '}' >"/etc/xinetd.d/$1"
}
service one "$one" /bin/cat
systemctl reload xinetd
wait_for "daytime" eval '[ -n "$(client 13)" ]'
wait_for "the service" answers "$one" hello hello
[ "$(printf hello | timeout 20 nc -u -w 2 127.0.0.1 7)" = hello ] || fail "no echo for datagrams"

session who "$one"
tell who hello
heard who hello
said() { journalctl --sync && journalctl --no-pager --output=cat "_PID=$pid" | grep -q -e "$1"; }
kill -USR1 "$pid"
wait_for "USR1" said "^peer .*address=127.0.0.1.*state=running"
kill -USR2 "$pid"
wait_for "USR2" said "^peers .*running=1"
kill -ALRM "$pid"
service two "$two" /bin/date
kill -HUP "$pid"
wait_for "HUP" eval '[ -n "$(client "$two")" ]'
is_ours "$pid" || fail "it has ended"
systemctl status --no-pager xinetd
systemctl stop xinetd
wait_for "systemd's stop" eval '! answers "$one" hello hello'

# The script asks for inetd's file, too.
printf '%s\tstream\ttcp\tnowait\tnobody\t/bin/cat\tcat\n' "127.0.0.1:$(port 3)" >/etc/inetd.conf
script xinetd start
wait_for "the script's start" answers "$one" hello hello
answers "$(port 3)" hello hello || fail "inetd.conf is not served"
script xinetd status || fail "the script does not find it"
rm /etc/xinetd.d/two
script xinetd reload
wait_for "the script's reload" eval '[ -z "$(client "$two")" ]'
before=$(cat /run/xinetd.pid)
script xinetd force-reload
wait_for "the script's force-reload" eval '[ "$(cat /run/xinetd.pid)" != "$before" ] && answers "$one" hello hello'
script xinetd stop
wait_for "the script's stop" eval '! answers "$one" hello hello'
! script xinetd status || fail "the script finds it still"
rm /etc/inetd.conf
