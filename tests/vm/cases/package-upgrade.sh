# The next version of the package while somebody is served, and one that is refused.
# alone: it installs a package
[ -e /share/oxinetd-1.deb ] || skip "there is no package"
owns oxinetd.service
installed+=(oxinetd)
port=$(port 1)
program() { readlink "/proc/$(main_pid oxinetd)/exe"; }

rm -f /usr/sbin/oxinetd
echo "127.0.0.1:$port stream tcp nowait nobody cat cat" >/etc/inetd.conf
dpkg --install /share/oxinetd-1.deb
# Clients come all the time, and one stays.
session one "$port"
tell one before && heard one before
pid=$(main_pid oxinetd)
(
    while [ ! -e "$dir/over" ]; do
        answers "$port" hello hello || echo refused
        # There are two processors, and the package wants one.
        sleep 0.5
    done >"$dir/refusals"
) &
dpkg --install /share/oxinetd-2.deb 2>&1 | tee "$dir/said"
grep "upgraded from" "$dir/said" || fail "the server was not told"
touch "$dir/over"
wait "$!"
[ ! -s "$dir/refusals" ] || fail "clients were refused"
[ "$(main_pid oxinetd)" = "$pid" ] || fail "another process"
[ "$(program)" = /usr/sbin/oxinetd ] || fail "the old program: $(program)"
tell one after && heard one after

# It cannot go on with a file that is wrong: the old program does, and the package is installed.
echo nonsense >>/etc/inetd.conf
dpkg --install /share/oxinetd-1.deb 2>&1 | tee "$dir/said"
grep "goes on with the program from before" "$dir/said" || fail "it is not said"
[ "$(program)" = "/usr/sbin/oxinetd (deleted)" ] || fail "another program: $(program)"
answers "$port" hello hello || fail "not served any more"
sed -i '/nonsense/d' /etc/inetd.conf
systemctl restart oxinetd
[ "$(program)" = /usr/sbin/oxinetd ] || fail "the old program after a restart: $(program)"
tell one still && heard one still

dpkg --purge oxinetd
rm -f /etc/inetd.conf
install -m 755 /share/oxinetd /usr/sbin/oxinetd
