# The package, on a machine without a superserver: from its installation to an answer, and what
# becomes of the administrator's lines.
# alone: it installs a package
[ -e /share/oxinetd-1.deb ] || skip "there is no package"
owns oxinetd.service
installed+=(oxinetd)
port=$(port 1)

rm -f /usr/sbin/oxinetd
begin=$SECONDS
DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet /share/oxinetd-1.deb
! grep '^[^#[:space:]]' /etc/inetd.conf || fail "something is served already"
echo "127.0.0.1:$port stream tcp nowait nobody cat cat" >>/etc/inetd.conf
systemctl reload oxinetd
answers "$port" hello hello || fail "not served"
echo "from the package to an answer: $((SECONDS - begin)) seconds"
systemctl is-enabled oxinetd
oxinetd status | grep "$port/tcp"

# What is served is the administrator's; nothing else stays.
dpkg --purge oxinetd
! answers "$port" hello hello || fail "served by a package that is gone"
grep "$port" /etc/inetd.conf || fail "the configuration is gone"
rm /etc/inetd.conf
install -m 755 /share/oxinetd /usr/sbin/oxinetd
