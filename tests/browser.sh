# Pages that programs behind the server give to a real browser, headless Chromium, and the
# server's own. To be sourced by tests/world, after tests/tools.sh. A case more is a function
# `browser_case_NAME`, and its name in `browser_cases`.

browser_cases=(self_signed refused plain large page)

# The element tree of the page at $1 when its scripts have run. More words are options.
browser_shows() {
    local url=$1
    shift
    # It is root here, and so has no sandbox of its own. Names are not looked up outside.
    timeout 120 chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage \
        --no-first-run --disable-background-networking --host-resolver-rules='MAP * 127.0.0.1' \
        --user-data-dir="$browser_place/profile" --virtual-time-budget=20000 \
        --timeout=60000 --dump-dom "$@" "$url" 2>>"$browser_place/browser.log"
}

# Starts `oxinetd run`, with these words, on a port that is free and waits until it listens: the
# port is in `browser_port`. It ends with the case.
browser_serve() {
    local log=$browser_place/server.log
    "$browser_server" run --control none "$@" 2>"$log" &
    browser_started+=($!)
    for _ in $(seq 600); do
        browser_port=$(sed -n 's/.*listening.* address=[^ ]*:\([0-9]*\).*/\1/p' "$log")
        [ -z "$browser_port" ] || return 0
        kill -0 $! 2>/dev/null || break
        sleep 0.1
    done
    cat "$log"
    return 1
}

# Writes a shell script under the name $1 that answers requests of HTTP, and prints where it is.
browser_script() {
    cat >"$browser_place/$1" <<'SCRIPT'
IFS=' ' read -r method path version
while IFS= read -r header && [ "$header" != "$(printf '\r')" ]; do :; done
give() {
    printf 'HTTP/1.1 200 OK\r\nContent-Type: %s\r\nConnection: close\r\n\r\n%s' "$1" "$2"
}
case $path in
/) give text/html "<!doctype html><title>it</title><body><p>$SSL_PROTOCOL $PROTO $REMOTE_ADDR</p>
    <script src=a.js></script><script src=b.js></script><script src=c.js></script>
    <script>document.body.append(isSecureContext ? 'secure-context' : 'open-context')</script>" ;;
/*.js) give text/javascript "document.write('<i>from $path</i>')" ;;
/large) give text/plain "$(seq 1 200000)" ;;
*) printf 'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n' ;;
esac
SCRIPT
    echo "$browser_place/$1"
}

# Says what is missing of these words in the text $1.
browser_has() {
    local text=$1 word
    shift
    for word in "$@"; do
        [[ $text == *"$word"* ]] || { printf '%s\nno %s in that\n' "$text" "$word"; return 1; }
    done
}

# A page with what belongs to it, each over a connection of its own.
browser_case_self_signed() {
    browser_serve --tls self-signed 127.0.0.1:0 -- sh "$(browser_script page)" || return
    local shown
    shown=$(browser_shows "https://localhost:$browser_port/" --ignore-certificate-errors) || return
    browser_has "$shown" '<p>TLSv1.3 SSL 127.0.0.1</p>' '<i>from /a.js</i>' '<i>from /b.js</i>' \
        '<i>from /c.js</i>' secure-context
}

# Who is not told to believe in the certificate does not, and that costs no program.
browser_case_refused() {
    browser_serve --tls self-signed 127.0.0.1:0 -- sh "$(browser_script page)" || return
    browser_shows "https://localhost:$browser_port/"
    grep 'refused .* reason=tls alert=certificate_unknown' "$browser_place/server.log" || return
    browser_has "$(cat "$browser_place/browser.log")" ERR_CERT_AUTHORITY_INVALID || return
    ! grep 'accepted ' "$browser_place/server.log"
}

# Who forgets the `s` is told so.
browser_case_plain() {
    browser_serve --tls self-signed 127.0.0.1:0 -- sh "$(browser_script page)" || return
    browser_has "$(browser_shows "http://127.0.0.1:$browser_port/")" https
}

# All of what is long arrives, with version 1.2 as well.
browser_case_large() {
    local shown version
    for version in 1.2 1.3; do
        browser_serve -o "tls_versions=$version" --tls self-signed 127.0.0.1:0 -- \
            sh "$(browser_script page)" || return
        shown=$(browser_shows "https://localhost:$browser_port/large" \
            --ignore-certificate-errors) || return
        browser_has "$shown" $'\n199999\n200000' || return
    done
}

# The server's own page (--page), on a desk and on a phone, by mouse and by keyboard.
browser_case_page() {
    timeout 300 python3 tests/browser_page.py "$browser_server" "$browser_place"
}

# One case, in a place of its own.
browser_run() {
    local status=0 pid
    browser_place=$work/browser-$1
    browser_started=()
    mkdir "$browser_place"
    "browser_case_$1" || status=$?
    for pid in "${browser_started[@]}"; do
        kill "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    [ "$status" = 0 ] || grep -vh 'dbus' "$browser_place"/*.log | tail -n 50
    return "$status"
}

# The lines of tests/world for the cases $@, or for all of them.
browser_world() {
    local name lacks=
    if ! command -v chromium >/dev/null; then
        lacks="needs chromium"
    elif ! cargo build --quiet --locked >"$work/build.log" 2>&1; then
        lacks="it cannot be built: $(tail -n 1 "$work/build.log")"
    fi
    browser_server=$(target_directory)/debug/oxinetd
    for name in "${browser_cases[@]}"; do
        if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then
            continue
        elif [ -n "$lacks" ]; then
            echo "skipped $name: $lacks"
        elif (browser_run "$name") >"$work/case.log" 2>&1; then
            echo "ok $name"
        else
            echo "FAILED $name: $(grep -v '^ *$' "$work/case.log" | tail -n 1)"
            sed 's/^/    /' "$work/case.log"
        fi
    done
}
