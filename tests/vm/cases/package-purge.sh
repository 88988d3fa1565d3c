# The package as Debian's tools use it: update-inetd, the script for init, an /etc/inetd.conf
# that is there, and that nothing is left of it after a purge.
# alone: it installs a package
# limit: 600
[ -e /share/oxinetd-1.deb ] || skip "there is no package"
owns oxinetd.service
export DEBIAN_FRONTEND=noninteractive
installed+=(oxinetd)
one=$(port 1) two=$(port 2)
line() { printf '%s\tstream\ttcp\tnowait\tnobody\t/bin/cat\tcat\n' "$1"; }
# All that is on the disk, but for logs and what dpkg and the service manager remember.
everything() {
    find / -xdev \( -path /share -o -path /world -o -path /tmp -o -path /run -o -path /var/log \
        -o -path /var/cache -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/lib/systemd \
        -o -path /var/backups \) -prune -o -print | sort
}

rm -f /usr/sbin/oxinetd
rm -f /etc/inetd.conf
everything >"$dir/before"
dpkg --install /share/oxinetd-1.deb

# As other packages add theirs: the first, and one more.
update-inetd --add "$one\tstream\ttcp\tnowait\tnobody\t/bin/cat\tcat"
wait_for "what update-inetd adds" answers "$one" hello hello
pid=$(main_pid oxinetd)
update-inetd --add "$two\tstream\ttcp\tnowait\tnobody\t/bin/cat\tcat"
wait_for "what it adds then" answers "$two" hello hello
update-inetd --disable "$two"
wait_for "what it disables" eval '! answers "$two" hello hello'
[ "$(main_pid oxinetd)" = "$pid" ] || fail "it has been started again"

# Without systemd.
systemctl stop oxinetd
script oxinetd start
is_ours "$(cat /run/inetd.pid)" || fail "the script starts another"
answers "$one" hello hello || fail "not served by the script"
script oxinetd status || fail "the script does not find it"
update-inetd --enable "$two"
wait_for "update-inetd without systemd" answers "$two" hello hello
echo nonsense >>/etc/inetd.conf
! script oxinetd reload || fail "the script does not say that a reload is refused"
sed -i '/nonsense/d' /etc/inetd.conf
script oxinetd reload
script oxinetd restart
answers "$one" hello hello || fail "not served after the script's restart"
script oxinetd stop
! script oxinetd status || fail "the script finds it still"
systemctl start oxinetd

# Removed, it is not there; purged, neither is its file, as nothing is served in it any more.
update-inetd --remove "$one"
update-inetd --remove "$two"
dpkg --remove oxinetd
[ -e /etc/inetd.conf ] || fail "the configuration is gone too soon"
[ ! -e /run/inetd.pid ] || fail "it runs still"
dpkg --purge oxinetd
everything >"$dir/after"
diff "$dir/before" "$dir/after" || fail "a purge leaves something: $(diff "$dir/before" "$dir/after" | tail -n 1)"

# A file that is there is somebody's.
line "$one" >/etc/inetd.conf
cp /etc/inetd.conf "$dir/mine"
dpkg --install /share/oxinetd-1.deb
answers "$one" hello hello || fail "the file that was there is not served"
sed -i 's/^/#/' /etc/inetd.conf
dpkg --purge oxinetd
grep -q "^#$one" /etc/inetd.conf || fail "the file that was there is gone"
rm /etc/inetd.conf
install -m 755 /share/oxinetd /usr/sbin/oxinetd
