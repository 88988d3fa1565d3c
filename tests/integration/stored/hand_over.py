"""Hands over as the server did of which format-1.json is: the same descriptors under the same
numbers, with ports, paths, processes and moments of here and now.

FORMAT-1.JSON ECHO CAT UDP RELAY BINARY FILE --control PATH
"""
import fcntl, json, os, re, socket, subprocess, sys, time

stored, *ports = sys.argv[1:6]
arguments = sys.argv[6:]
text = open(stored).read()
for old, new in zip((28007, 28008, 28009, 28010), ports):
    text = re.sub(rf"\b{old}\b", new, text)
later = time.monotonic_ns() - json.loads(text)["began"]
text = re.sub(r"\b377\d{11}\b", lambda moment: str(int(moment[0]) + later), text)
since_boot = int(time.clock_gettime(time.CLOCK_BOOTTIME))
state = json.loads(re.sub(r'"secs":377\d\d\b', f'"secs":{since_boot}', text))


def bound(kind, port):
    bound = socket.socket(socket.AF_INET, kind)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", int(port)))
    if kind == socket.SOCK_STREAM:
        bound.listen()
    return bound


kinds = (socket.SOCK_STREAM, socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_STREAM)
services = [bound(kind, port) for kind, port in zip(kinds, ports)]
echo, cat, udp, relay = services
clients = [listener.accept()[0] for listener in (echo, cat, relay)]
target = socket.create_connection(echo.getsockname())
conversations = [clients[0], echo.accept()[0]]
control = socket.socket(socket.AF_UNIX)
control.bind(arguments[-1])
control.listen()
failures = os.pipe()
asker = socket.socketpair()

pipes = [os.pipe(), os.pipe()]
programs = [
    subprocess.Popen(words, stdin=its, stdout=its, stderr=pipe[1], start_new_session=True)
    for words, its, pipe in (
        (["cat"], clients[1], pipes[0]),
        (["sh", "-c", "head -c1 >/dev/null"], udp, pipes[1]),
    )
]
for place, program in enumerate(programs):
    old = state["children"][place]["pid"]
    state["children"][place]["pid"] = state["pipes"][place]["pid"] = program.pid
    for peer in state["peers"]["known"].values():
        peer["pid"] = program.pid if peer["pid"] == old else peer["pid"]


def words(text):
    return {"Unix": list(os.fsencode(text))}


state["arguments"] = [words(argument) for argument in arguments]
state["program"] = words(arguments[0])
state["nofile"] = None
door, place = state["doors"][0], os.stat(arguments[-1])
door["spec"]["endpoint"] = {"Unix": words(arguments[-1])}
door["open"]["identity"] = [place.st_dev, place.st_ino]

given = {service["sockets"][0]["open"]["descriptor"]: its
         for service, its in zip(state["services"], services)}
given |= {it["descriptor"]: its for it, its in zip(state["conversations"], conversations)}
given |= {it["descriptor"]: pipe[0] for it, pipe in zip(state["pipes"], pipes)}
given |= {
    state["relays"][0]["client"]: clients[2],
    state["relays"][0]["target"]: target,
    state["children"][0]["kept"]["descriptor"]: clients[1].dup(),
    state["failure_pipe"]: failures[0],
    door["open"]["descriptor"]: control,
    state["edges"][0]["descriptor"]: asker[0],
    state["image"]: os.open(arguments[0], os.O_PATH),
}
assert sorted(state["descriptors"] + [state["image"]]) == sorted(given)
parcel = os.memfd_create("oxinetd")
os.write(parcel, json.dumps(state).encode())
given[max(given) + 1] = parcel

# Those wait.
programs_own = [
    state["children"][0]["kept"]["descriptor"],
    state["services"][2]["sockets"][0]["open"]["descriptor"],
    state["image"],
]
far = {number: fcntl.fcntl(its, fcntl.F_DUPFD_CLOEXEC, 200) for number, its in given.items()}
for number, its in far.items():
    if number not in programs_own:
        os.set_blocking(its, False)
    os.dup2(its, number)
handed = f"{max(given)} {state['image']} {os.getpid()}"
os.execve(arguments[0], arguments, os.environ | {"OXINETD_HANDOVER": handed})
