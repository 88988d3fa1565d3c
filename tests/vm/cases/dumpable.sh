# With fs.suid_dumpable 1, a service's user who stops its children before they are their
# program, and reads their memory, finds nothing of the server's: no other service's secret.
# With 0 and 2 the kernel does not let him read at all.
# alone: it changes a setting of the kernel
own=$(port 1) other=$(port 2)
secret=of-another-service-5f0c2

# As the service's user: again and again some clients, whose children are stopped as soon as
# they can be signalled. While one is stopped before it is its program, others of the same
# user come, each of which may open again what it has closed; one look at the right moment
# is enough, for what is open stays open. Says how many were stopped, how many of them could
# be read, and in how many the secret was.
attack() {
    setpriv --reuid=nobody --regid=nogroup --clear-groups \
        python3 - "$own" "$secret" "$(main_pid)" "$1" "$2" <<'PYTHON'
import os, signal, socket, sys, time
port, secret, server = int(sys.argv[1]), sys.argv[2].encode(), sys.argv[3]
seconds, enough = int(sys.argv[4]), int(sys.argv[5])

def children():
    with open(f"/proc/{server}/task/{server}/children") as file:
        return file.read().split()

def send(pid, which):
    try:
        os.kill(int(pid), which)
        return True
    except (PermissionError, ProcessLookupError):
        return False

def is_on_its_way(pid):
    # Stopped, and not the service's program, sleep(1), yet.
    try:
        with open(f"/proc/{pid}/stat") as file:
            name, rest = file.read().split("(", 1)[1].rsplit(")", 1)
    except OSError:
        return False
    return name != "sleep" and rest.split()[0] == "T"

def contents(maps, memory):
    whole = b""
    for line in maps.decode().splitlines():
        ends, rights = line.split()[:2]
        start, end = (int(number, 16) for number in ends.split("-"))
        if rights.startswith("r") and "[v" not in line:
            try:
                whole += os.pread(memory, end - start, start)
            except (OSError, OverflowError):
                pass
    return whole

def look(pid, until):
    opened = {}
    while time.monotonic() < until and len(opened) < 2:
        for name in ("mem", "maps"):
            try:
                if name not in opened:
                    opened[name] = os.open(f"/proc/{pid}/{name}", os.O_RDONLY)
            except OSError:
                pass
    if len(opened) < 2:
        return b""
    text = b""
    while piece := os.read(opened["maps"], 1 << 16):
        text += piece
    return contents(text, opened["mem"])

def connect():
    return socket.create_connection(("127.0.0.1", port))

stopped = read = found = 0
begin = time.monotonic()
# On a busy machine it takes longer until enough have been stopped to have tried anything.
while time.monotonic() < begin + (seconds if stopped >= enough else 4 * seconds):
    clients = [connect() for _ in range(4)]
    caught, until = set(), time.monotonic() + 0.3
    while time.monotonic() < until:
        caught.update(pid for pid in children() if pid not in caught and send(pid, signal.SIGSTOP))
    caught = [pid for pid in caught if is_on_its_way(pid)]
    stopped += len(caught)
    if caught:
        crowd = os.fork()
        if crowd == 0:
            while True:
                connect().close()
                for pid in children():
                    if pid not in caught:
                        send(pid, signal.SIGKILL)
        whole = look(caught[0], time.monotonic() + 6)
        read += whole != b""
        found += secret in whole
        os.kill(crowd, signal.SIGKILL)
        os.waitpid(crowd, 0)
    for pid in children():
        send(pid, signal.SIGKILL)
    for client in clients:
        client.close()
print(stopped, read, found)
PYTHON
}

serve <<CONF
127.0.0.1:$own stream tcp nowait nobody /bin/sleep sleep 5
    instances = unlimited
127.0.0.1:$other stream tcp nowait nobody /bin/cat cat
    env = SECRET=$secret
CONF
before=$(sysctl -n fs.suid_dumpable)
for value in 0 2 1; do
    # Where nothing can be read at all, one is as good as many.
    seconds=8 enough=1
    [ "$value" != 1 ] || { seconds=40 enough=3; }
    sysctl -q -w "fs.suid_dumpable=$value"
    result=$(attack "$seconds" "$enough")
    echo "fs.suid_dumpable=$value: stopped, read, found the secret: $result"
    read -r stopped seen found <<<"$result"
    [ "$stopped" -ge "$enough" ] || fail "with $value hardly anything was stopped: $result"
    [ "$found" = 0 ] || fail "with $value the secret was found: $result"
    [ "$value" = 1 ] || [ "$seen" = 0 ] || fail "with $value memory could be read: $result"
    answers "$other" hello hello || fail "not served with $value"
    is_active || fail "the server is gone with $value"
done
sysctl -q -w "fs.suid_dumpable=$before"
