# An address that comes after the start is served as soon as it is there.
port=$(port 1) address=10.9.$NUMBER.1
serve <<END
127.0.0.1:$port stream tcp nowait nobody echo echo here
$address:$port  stream tcp nowait nobody echo echo late
END
answers "$port" here || fail "an address that is missing keeps another from being served"
logged "not-listening .*$address" || fail "the journal does not say what is missing"
ip address add "$address/32" dev lo
wait_for "the address to be served" eval 'echo | timeout 5 nc -N "$address" "$port" | grep late'
