# Virtual sockets, under the shipped unit: between programs of one machine, over a kernel's
# own loopback; held by systemd; and where the unit's addresses do not name them.
modprobe vsock_loopback
integration vsock::

# dial PORT TEXT: what is answered.
dial() {
    timeout 20 python3 - "$1" "$2" <<'END'
import socket, sys
client = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
client.connect((1, int(sys.argv[1])))
client.sendall(sys.argv[2].encode())
client.shutdown(socket.SHUT_WR)
while data := client.recv(4096):
    sys.stdout.write(data.decode())
END
}
one=$(port 1) two=$(port 2) tcp=$(port 3)
serve <<END
vsock:1:$one stream vsock nowait nobody cat cat
vsock:$two stream vsock nowait - internal echo
127.0.0.1:$tcp stream tcp nowait nobody cat cat
END
[ "$(dial "$one" hello)" = hello ] || fail "no answer"
[ "$(dial "$two" hello)" = hello ] || fail "no echo"
logged "accepted service=vsock:1:$one .*peer=vsock:1:" || fail "no peer in the log"
systemctl restart "$name"
[ "$(dial "$one" hello)" = hello ] || fail "no answer after a restart"

# Without it that service alone is not there.
systemctl stop "$name"
unit <<END
[Service]
RestrictAddressFamilies=
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
END
systemctl start "$name"
answers "$tcp" hello hello || fail "the others are not served"
logged "no virtual sockets (AF_VSOCK): not served" || fail "nothing is said"
systemctl stop "$name"

unit </dev/null
sed -e '/^Listen/d' -e "s|^\[Socket\]|&\nListenStream=vsock:1:$one|" \
    /share/etc/systemd/oxinetd.socket >"/run/systemd/system/$name.socket"
owns "$name.socket"
systemctl daemon-reload
systemctl start "$name.socket"
[ "$(dial "$one" hello)" = hello ] || fail "the first client is not served"
logged "listening service=vsock:1:$one .*adopted=yes" || fail "not adopted"
