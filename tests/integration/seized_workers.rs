//! What a worker is and has, seen from outside, and what it can do for somebody who has taken it
//! over: system calls that it is made to do (ptrace(2)).

use crate::common::tls::{make_certificate, output_of, python};
use crate::common::{Daemon, Folder, Setup, free_ports, me, need_program, need_root};

/// What the scripts begin with.
const BEGINNING: &str = r"
import ctypes, errno, signal, subprocess
port, server = int(sys.argv[1]), int(sys.argv[2])
client = connect(port)
client.sendall(b'x'); assert client.recv(1) == b'x'
said = subprocess.run(['ps', '-o', 'pid=,args=', '--ppid', str(server)], capture_output=True, text=True)
[worker] = [int(it.split()[0]) for it in said.stdout.splitlines() if it.split()[-1] == 'front-worker']
def memory_of(pid):
    'Everything that it could read.'
    with open(f'/proc/{pid}/maps') as maps, open(f'/proc/{pid}/mem', 'rb') as memory:
        for line in maps:
            place, rights = line.split()[:2]
            first, last = (int(it, 16) for it in place.split('-'))
            if 'r' not in rights or '[v' in line: continue
            memory.seek(first)
            try: yield memory.read(last - first)
            except OSError: pass
";

/// A server with one service behind TLS, which answers with what it is told.
fn served() -> Option<(Daemon, u16)> {
    let is_there = |program: &&str| need_program(program);
    if !need_root() || !["openssl", "python3", "ps", "setpriv"].iter().all(is_there) {
        return None;
    }
    let (folder, port) = (Folder::new(), free_ports(1)[0]);
    make_certificate(&folder, "site", "DNS:localhost", "90");
    let (own, key) = (folder.name("site.pem"), folder.name("site.key"));
    let line = format!("127.0.0.1:{port} stream tcp nowait {} /bin/cat cat\n", me());
    let text = line + &format!("    tls = {own} {key}\n");
    let setup = Setup::new().controlled().arg("--front-workers").arg("1");
    Some((setup.start_in(folder, &text), port))
}

#[track_caller]
fn runs(daemon: &Daemon, port: u16, script: &str, more: &[&str]) {
    let (port, pid) = (port.to_string(), daemon.pid().to_string());
    let words = [&[port.as_str(), pid.as_str()], more].concat();
    let said = python(&daemon.folder, &format!("{BEGINNING}\n{script}"), &words);
    if said.starts_with("cannot") {
        let _ = crate::common::needs::kernel_lacks(said.trim());
        return;
    }
    assert_eq!(said.trim(), "good");
}

#[test]
fn nobody_else_reaches_a_worker() {
    let Some((daemon, port)) = served() else { return };
    let script = r"
limits = {it[:26].strip(): it[26:].split() for it in open(f'/proc/{worker}/limits')}
for what in ('Max core file size', 'Max file size', 'Max processes'):
    assert limits[what][:2] == ['0', '0'], (what, limits[what])
import pwd
uid = os.stat(f'/proc/{worker}').st_uid
status = open(f'/proc/{worker}/status').read()
uid = int(status.split('Uid:')[1].split()[0])
try: assert pwd.getpwuid(uid).pw_name == 'oxinetd'
except KeyError: assert 61184 <= uid <= 65519, uid
assert 'Umask:\t0777' in status, status
assert open(f'/proc/{worker}/environ', 'rb').read().count(b'site') == 0
# Neither the user of a service nor somebody who is the same user as the worker.
script = '''
import ctypes, errno, os, sys
worker = int(sys.argv[1])
def refused(what):
    try: what()
    except PermissionError: return
    raise AssertionError(what)
for name in ('mem', 'maps', 'environ', 'fd', 'auxv', 'syscall'):
    path = f'/proc/{worker}/{name}'
    refused(lambda: os.listdir(path) if name == 'fd' else open(path, 'rb').read(1))
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
assert libc.syscall(438, os.pidfd_open(worker), 0, 0) == -1 and ctypes.get_errno() == errno.EPERM
assert libc.ptrace(16, worker, 0, 0) == -1 and ctypes.get_errno() == errno.EPERM
if len(sys.argv) > 2: refused(lambda: os.kill(worker, 0))
'''
for who in ([str(uid)], ['nobody', 'stranger']):
    words = ['setpriv', '--reuid', who[0], '--regid', '65534', '--clear-groups', sys.executable, '-c', script, str(worker)]
    subprocess.run(words + who[1:], check=True, cwd='/')
print('good')
";
    runs(&daemon, port, script, &[]);
}

#[test]
fn a_key_is_in_the_memory_of_workers_only() {
    let Some((daemon, port)) = served() else { return };
    // The number itself, as DER has it, and the text of the file.
    let words = ["openssl", "pkey", "-in", "site.key", "-noout", "-text"];
    let text = output_of(&daemon.folder, &words, "");
    let number = text.split("priv:").nth(1).unwrap().split("pub:").next().unwrap();
    let number: String = number.chars().filter(char::is_ascii_hexdigit).collect();
    let pem = std::fs::read_to_string(daemon.folder.at("site.key")).unwrap();
    let line = pem.lines().nth(2).unwrap().to_owned();
    let script = r"
number, line = bytes.fromhex(sys.argv[3])[-32:], sys.argv[4].encode()
backwards = number[::-1]
def has(pid): return any(it in piece for piece in memory_of(pid) for it in (number, backwards, line))
assert has(worker), 'it is looked for in the right way'
assert not has(server)
client.sendall(b'y'); assert client.recv(1) == b'y'
subprocess.run([sys.argv[5], 'reload', '--control', sys.argv[6]], check=True, stdout=subprocess.DEVNULL)
again = connect(port)
again.sendall(b'z'); assert again.recv(1) == b'z'
assert not has(server), 'after a reload'
print('good')
";
    let control = daemon.control().display().to_string();
    let more = [number.as_str(), line.as_str(), crate::common::daemon::BINARY, control.as_str()];
    runs(&daemon, port, script, &more);
}

/// Makes a worker do system calls: what its memory below the stack holds is ours.
#[cfg(target_arch = "x86_64")]
const CALLING: &str = r"
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
class Registers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulong) for name in 'r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs gs'.split()]
def ptrace(request, data=None):
    if libc.ptrace(request, worker, None, data) == -1:
        print('cannot: ptrace', errno.errorcode[ctypes.get_errno()]); sys.exit()
ptrace(16)
os.waitpid(worker, 0x40000000)
before = Registers()
ptrace(12, ctypes.byref(before))
memory = open(f'/proc/{worker}/mem', 'r+b', buffering=0)
memory.seek(before.rip - 2)
assert memory.read(2) == b'\x0f\x05', 'it waits in a system call'
def call(number, *words):
    'The result of a system call; bytes are put into memory.'
    it, place = Registers.from_buffer_copy(before), before.rsp - 65536
    values = []
    for word in words:
        if isinstance(word, bytes):
            memory.seek(place); memory.write(word + b'\0')
            values.append(place); place += len(word) + 16 & ~7
        else: values.append(word & 2**64 - 1)
    for name, value in zip(('rdi', 'rsi', 'rdx', 'r10', 'r8', 'r9'), values + [0] * 6): setattr(it, name, value)
    it.rax, it.orig_rax, it.rip = number, 2**64 - 1, before.rip - 2
    ptrace(13, ctypes.byref(it))
    while True:
        ptrace(9)
        _, status = os.waitpid(worker, 0x40000000)
        assert os.WIFSTOPPED(status), status
        # What interrupts it when it waits (URG) may have been on its way.
        if os.WSTOPSIG(status) != 23: break
    ptrace(12, ctypes.byref(it))
    return ctypes.c_long(it.rax).value
";

#[cfg(target_arch = "x86_64")]
#[test]
fn whoever_takes_a_worker_over_has_what_it_has_and_no_more() {
    let Some((daemon, port)) = served() else { return };
    let script = r"
NOW, PATH = -100, b'/etc/passwd'
assert call(39) == worker, 'getpid: this is how calls are made'
assert call(228, 1, b' ' * 16) == 0, 'clock_gettime'
clients = [int(it) for it in os.listdir(f'/proc/{worker}/fd') if int(it) > 2]
refused = {
    'open': (2, PATH, 0), 'openat': (257, NOW, PATH, 0), 'openat2': (437, NOW, PATH, b'\0' * 24, 24), 'creat': (85, b'/tmp/x', 0o600),
    'stat': (4, PATH, b' ' * 144), 'newfstatat': (262, NOW, PATH, b' ' * 144, 0), 'statx': (332, NOW, PATH, 0, 0xfff, b' ' * 256), 'access': (21, PATH, 0),
    'readlink': (89, b'/proc/self/exe', b' ' * 64, 64), 'unlink': (87, b'/tmp/none'), 'mkdir': (83, b'/tmp/none', 0), 'rename': (82, b'/tmp/a', b'/tmp/b'), 'chmod': (90, PATH, 0),
    'chdir': (80, b'/'), 'chroot': (161, b'/'), 'mount': (165, b'a', b'/tmp', b'tmpfs', 0, 0), 'getdents64': (217, 0, b' ' * 64, 64), 'open_by_handle_at': (304, 0, b' ' * 16, 0),
    'socket': (41, 2, 1, 0), 'socket unix': (41, 1, 1, 0), 'socket netlink': (41, 16, 3, 0), 'socketpair': (53, 1, 1, 0, b' ' * 8),
    'connect': (42, 0, b'\x02\0\0\x16\x7f\0\0\x01' + b'\0' * 8, 16), 'bind': (49, 0, b'\x02\0' + b'\0' * 14, 16), 'listen': (50, 0, 1), 'accept4': (288, 0, 0, 0, 0),
    'fork': (57,), 'vfork': (58,), 'clone': (56, 17, 0, 0, 0, 0), 'clone3': (435, b'\0' * 64, 64), 'execve': (59, b'/bin/true', 0, 0), 'execveat': (322, NOW, b'/bin/true', 0, 0, 0),
    'kill': (62, server, 0), 'kill all': (62, -1, 0), 'tgkill': (234, server, server, 0), 'rt_sigqueueinfo': (129, server, 15, b' ' * 128), 'pidfd_open': (434, server, 0), 'pidfd_getfd': (438, 0, 0, 0), 'pidfd_send_signal': (424, 0, 0, 0, 0),
    'ptrace': (101, 16, server, 0, 0), 'process_vm_readv': (310, server, b' ' * 16, 1, b' ' * 16, 1, 0), 'process_vm_writev': (311, server, b' ' * 16, 1, b' ' * 16, 1, 0), 'kcmp': (312, server, worker, 0, 0, 0),
    'memory that is code': (9, 0, 4096, 7, 0x22, -1, 0), 'its own as code': (10, before.rsp & ~4095, 4096, 5), 'memfd_create': (319, b'x', 0), 'pkey_mprotect': (329, before.rsp & ~4095, 4096, 5, -1),
    'setuid': (105, 0), 'setgid': (106, 0), 'setgroups': (116, 0, 0), 'setresuid': (117, 0, 0, 0), 'capset': (126, b' ' * 8, b' ' * 24), 'unshare': (272, 0x10000000), 'setns': (308, 0, 0),
    'prctl': (157, 4, 1, 0, 0, 0), 'seccomp': (317, 1, 0, 0), 'prlimit64': (302, 0, 7, 0, b' ' * 16), 'setrlimit': (160, 7, b' ' * 16), 'personality': (135, 0), 'arch_prctl': (158, 0x1003, b' ' * 8),
    'dup': (32, 0), 'fcntl': (72, 0, 0, 0), 'fcntl owner': (72, 0, 8, server), 'ioctl input': (16, 0, 0x5412, b'x'), 'ioctl terminal': (16, 0, 0x540e, 0), 'getsockopt': (55, 0, 1, 17, b' ' * 12, b' ' * 4),
    'bpf': (321, 0, 0, 0), 'perf_event_open': (298, 0, 0, -1, -1, 0), 'io_uring_setup': (425, 1, b'\0' * 120), 'userfaultfd': (323, 0), 'keyctl': (250, 0, -3, 1), 'add_key': (248, b'user', b'a', b'b', 1, -3),
    'shmget': (29, 0, 4096, 0o1600), 'msgget': (68, 0, 0o1600), 'semget': (64, 0, 1, 0o1600), 'mq_open': (240, b'x', 0o102, 0o600, 0), 'inotify_init1': (294, 0), 'timerfd_create': (283, 0, 0), 'setitimer': (38, 0, b'\0' * 32, 0),
    'sched_setaffinity': (203, server, 8, b'\1' + b'\0' * 7), 'setpriority': (141, 0, server, 19), 'reboot': (169, 0xfee1dead, 672274793, 0), 'sysinfo': (99, b' ' * 128), 'syslog': (103, 10, 0, 0), 'uname': (63, b' ' * 400),
}
# Nothing but TCP_NODELAY of what can be said of a connection.
for name, level, option, value in (('SO_MARK', 1, 36, b'\1\0\0\0'), ('SO_SNDBUF', 1, 7, b'\1\0\0\0'), ('SO_LINGER', 1, 13, b'\0' * 8), ('SO_ATTACH_FILTER', 1, 26, b'\0' * 16), ('IP_OPTIONS', 0, 4, b''), ('TCP_ULP', 6, 31, b'tls\0'), ('TCP_CONGESTION', 6, 13, b'reno'), ('TCP_REPAIR', 6, 19, b'\1\0\0\0'), ('TCP_KEEPIDLE', 6, 4, b'\1\0\0\0')):
    for it in clients: refused[f'setsockopt {name} {it}'] = (54, it, level, option, value, max(len(value), 4))
# The other numbers for the same calls that there are for programs with short pointers.
for name in ('open', 'socket', 'fork', 'kill'): refused['x32 ' + name] = (refused[name][0] | 0x40000000, *refused[name][1:])
done = []
for name, words in refused.items():
    result = call(*words)
    if result not in (-errno.EPERM, -errno.ENOSYS): done.append((name, result))
assert not done, done
print('good')
";
    runs(&daemon, port, &format!("{CALLING}\n{script}"), &[]);
}
