# `systemctl reload` with a file that is refused fails; what was served before still is,
# the unit is active, and the journal says why.
port=$(port 1)
serve <<END
127.0.0.1:$port stream tcp nowait nobody echo echo hello
END
configure <<<"127.0.0.1:$port strem tcp nowait nobody echo echo other"
! systemctl reload "$name" || fail "the reload of a file with an error is a success"
is_active || fail "$(property ActiveState)"
answers "$port" hello || fail "not served any more"
logged reload-refused || fail "the journal does not have it"
logged strem || fail "the journal does not say why"

# And a good one is taken over afterwards.
configure <<<"127.0.0.1:$port stream tcp nowait nobody echo echo other"
systemctl reload "$name"
answers "$port" other || fail "not taken over"
