# The unit as it is, under its own name, with the example configuration in its place.
owns oxinetd.service
cp /share/etc/inetd.conf /etc/inetd.conf
cp /share/etc/systemd/oxinetd.service /etc/systemd/system/oxinetd.service
# Whatever this systemd does not know would be said here.
said=$(systemd-analyze verify --man=no /etc/systemd/system/oxinetd.service 2>&1) || fail "$said"
# Groups beside the server's are for newer ones, and older ones go on without this.
[ "$SYSTEMD" -ge 254 ] || said=$(grep -v "Unknown key.*'DelegateSubgroup'" <<<"$said") || true
[ -z "$said" ] || fail "$said"

systemctl daemon-reload
systemctl enable --now oxinetd
answers 50007 hello hello || fail "no echo"
[ "$(property StatusText oxinetd)" != "" ] || fail "no status text"
oxinetd status | grep 50007/tcp
oxinetd reload
systemctl reload oxinetd
systemctl disable --now oxinetd
[ "$(property Result oxinetd)" = success ] || fail "$(property Result oxinetd)"
rm /etc/systemd/system/oxinetd.service /etc/inetd.conf
