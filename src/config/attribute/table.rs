//! The one table of attributes. Parsers, defaults, the printer and the manual page
//! come from it or are tested against it; there is no second list of names.

use super::capability::CAPABILITIES;
use super::definition::{Attribute, How, Scope};
use super::form::{
    BACKLOG, BUFFER, DURATION, ENV, Form, LIMIT, LOAD, MODE, NICENESS, PASSENV, PATH, PATHS,
    PATIENCE, PERCENT, RATE, RUNTIME, SILENCE, SIZE, UMASK, YES_NO,
};
use super::keepalive::KEEPALIVE;
use super::limits::{CPS, TIMES};
use super::log_type::LOG_TYPE;
use super::logged::{ON_FAILURE, ON_SUCCESS};
use super::print::{
    self, banner, groups, id, interface, no_access, only_from, proxy_from, redirect, socket_group,
    socket_user, stderr,
};
use super::redirect::Redirect;
use super::row::{PLAIN, choice, field, limit_row, rlimit, row, word, yes_no};
use super::terminal::{self, TERM, TERMINAL_SIZE};
use super::tls::{self, ALPN, VERSIONS};
use crate::config::model::{
    AtLimit, FrontWorkers, Leftovers, Linger, OnStop, ProxyProtocol, ProxySend, Resource, TlsClient,
};

/// Every attribute, in the order of the manual page.
pub(crate) static TABLE: &[Attribute] = &[
    // Who may connect.
    row! {
        "only_from", Source, "addresses and prefixes, or `@FILE`: `10.0.0.0/8 ::1`", "everybody",
        "who may connect",
        How { set: |draft, value| draft.said.change_only_from(value), print: only_from }, list, narrows
    },
    row! {
        "no_access", Source, "addresses and prefixes, or `@FILE`: `10.0.0.0/8 ::1`", "nobody",
        "who may not connect",
        How { set: |draft, value| draft.said.change_no_access(value), print: no_access }, list, narrows
    },
    row! {
        "access_times", Every, "times of day: `8:00-18:00`", "always",
        "when clients are served, local time",
        field!(access.access_times, TIMES), narrows
    },
    // How many.
    row! {
        "instances", Nowait, "a number from 1, or `unlimited`", "256",
        "programs running at once",
        field!(limits.instances, LIMIT)
    },
    row! {
        "at_limit", Nowait, "`wait` or `refuse`", "wait",
        "what happens to clients when `instances` programs run",
        choice!(limits.at_limit, AtLimit, "wait" => Wait, "refuse" => Refuse), harmless
    },
    row! {
        "rate", Every, "`N/second`, `N/minute` or `unlimited`", "unlimited",
        "starts of the service in a span of time",
        field!(limits.rate, RATE), harmless
    },
    row! {
        "per_source", Nowait, "a number from 1, or `unlimited`", "unlimited",
        "programs running at once for one source: an IPv4 address, an IPv6 /64",
        field!(limits.per_source, LIMIT)
    },
    row! {
        "cps", Every, "`N`, `N SECONDS` or `unlimited`", "unlimited",
        "new connections a second; over it the listener rests SECONDS (10)",
        field!(limits.cps, CPS)
    },
    row! {
        "source_rate", Nowait, "`N/second`, `N/minute` or `unlimited`", "unlimited",
        "starts for one source in a span of time",
        field!(limits.source_rate, RATE)
    },
    row! {
        "max_load", Every, "a load average: `2.5`, or `unlimited`", "unlimited",
        "the load average above which clients are refused",
        field!(limits.max_load, LOAD)
    },
    row! {
        "backlog", Listening, "a number from 1", "the system's maximum",
        "clients that may queue for the service, as in listen(2)",
        field!(socket.backlog, BACKLOG), harmless
    },
    // How long.
    row! {
        "timeout", Program, "a duration: `30s`, `5m`, or `unlimited`", "unlimited",
        "the longest a program may run",
        field!(limits.timeout, RUNTIME), harmless
    },
    row! {
        "idle_timeout", Moving, "a duration: `30s`, `5m`, or `unlimited`", "unlimited",
        "the longest that nothing may move on a connection, either way",
        field!(limits.idle_timeout, SILENCE)
    },
    row! {
        "kill_after", Program, "a duration: `5s`", "5s",
        "time between TERM and KILL at the `timeout`",
        field!(ending.kill_after, DURATION), harmless
    },
    row! {
        "leftovers", Program, "`end` or `leave`", "leave",
        "what becomes of what a program leaves behind when it ends",
        choice!(ending.leftovers, Leftovers, "end" => End, "leave" => Leave)
    },
    row! {
        "max_clients", Every, "a number from 1, or `unlimited`", "unlimited",
        "clients after which the service stops by itself",
        field!(limits.max_clients, LIMIT)
    },
    row! {
        "on_stop", Program, "`terminate` or `leave`", "leave",
        "what becomes of running programs when the server stops or the service goes",
        choice!(ending.on_stop, OnStop, "terminate" => Terminate, "leave" => Leave), harmless
    },
    // As what.
    row! {
        "group", Program, "the name or number of a group", "the user's",
        "main group of the program",
        word!(group, |_| None)
    },
    row! {
        "groups", Program, "`yes` or `no`", "yes",
        "whether the program has the user's supplementary groups",
        yes_no!(groups, groups)
    },
    row! {
        "umask", Program, "an octal mode: `022`", "022",
        "file mode creation mask",
        field!(process.umask, UMASK)
    },
    row! {
        "nice", Program, "a number from -20 to 19", "0",
        "what is added to the niceness",
        field!(process.nice, NICENESS)
    },
    row! {
        "chdir", Program, "an absolute path", "/",
        "working directory, inside `chroot`",
        field!(process.chdir, PATH)
    },
    row! {
        "chroot", Program, "an absolute path", "none",
        "root directory",
        field!(process.chroot, PATH), narrows
    },
    row! {
        "env", Program, "`NAME=VALUE`, any number of them", "none",
        "added to the environment",
        field!(process.env, ENV), list
    },
    row! {
        "passenv", Program, "names of variables, or `*` for all of them", "none",
        "variables passed on from the server's environment",
        field!(process.passenv, PASSENV), list
    },
    limit_row! { "rlimit_as", As, "a size: `64k`, `10M`, `1G`, or `unlimited`", "limit: address space" },
    limit_row! { "rlimit_core", Core, "a size: `64k`, `10M`, `1G`, or `unlimited`", "limit: core file", harmless },
    limit_row! { "rlimit_cpu", Cpu, "a number of seconds, or `unlimited`", "limit: processor time, in seconds" },
    limit_row! { "rlimit_data", Data, "a size: `64k`, `10M`, `1G`, or `unlimited`", "limit: data segment" },
    limit_row! { "rlimit_files", Files, "a number, or `unlimited`", "limit: open files" },
    limit_row! { "rlimit_fsize", Fsize, "a size: `64k`, `10M`, `1G`, or `unlimited`", "limit: size of a written file", harmless },
    limit_row! { "rlimit_nproc", Nproc, "a number, or `unlimited`", "limit: processes of the user", harmless },
    limit_row! { "rlimit_stack", Stack, "a size: `64k`, `10M`, `1G`, or `unlimited`", "limit: stack" },
    row! {
        "no_new_privs", Program, "`yes` or `no`", "no",
        "set-user-id programs give no privileges, as prctl(2) says",
        field!(sandbox.no_new_privs, YES_NO), narrows
    },
    // Confined to what.
    row! {
        "capabilities", Program, "names of capabilities(7), `all` or `none`", "all",
        "the capabilities that the program and its children can have at most",
        field!(sandbox.capabilities, CAPABILITIES), list, narrows
    },
    row! {
        "read_only", Program, "absolute paths, after a `?` if the kernel may lack Landlock", "everything",
        "what the program may read and run; nothing else but `read_write`",
        field!(sandbox.read_only, PATHS), list, narrows
    },
    row! {
        "read_write", Program, "absolute paths, after a `?` if the kernel may lack Landlock", "everything",
        "what the program may also write; nothing else but `read_only`",
        field!(sandbox.read_write, PATHS), list, narrows
    },
    row! {
        "memory_max", Program, "a size: `64k`, `10M`, `1G`, or `unlimited`", "unlimited",
        "memory of all the service's programs together",
        field!(sandbox.group.memory_max, SIZE)
    },
    row! {
        "tasks_max", Program, "a number from 1, or `unlimited`", "unlimited",
        "processes and threads of all the service's programs together",
        field!(sandbox.group.tasks_max, LIMIT)
    },
    row! {
        "cpu_max", Program, "percent of one processor: `50%`, `200%`, or `unlimited`", "unlimited",
        "processor time of all the service's programs together",
        field!(sandbox.group.cpu_max, PERCENT)
    },
    // What the program sees.
    row! {
        "stderr", Program, "`log`, `socket` or `null`", "log",
        "where standard error goes",
        How { set: terminal::set_stderr, print: stderr }, harmless
    },
    row! {
        "linger", Connected, "`auto`, `yes` or `no`", "auto",
        "the client gets all of the answer after the program's end",
        choice!(process.linger, Linger, "auto" => Auto, "yes" => Yes, "no" => No)
    },
    // The socket.
    Attribute {
        aliases: &["bind"],
        ..row! {
            "interface", Inet, "an address or a network device", "everywhere",
            "where to listen",
            word!(interface, interface), narrows
        }
    },
    row! {
        "nodelay", Tcp, "`yes` or `no`", "no",
        "TCP_NODELAY on connections",
        field!(socket.nodelay, YES_NO), harmless
    },
    row! {
        "keepalive", Tcp, "`yes`, `no`, or `IDLE INTERVAL COUNT`: `60s 10s 6`", "no",
        "whether a silent peer is asked if it is still there, and when",
        field!(socket.keepalive, KEEPALIVE), harmless
    },
    row! {
        "answer_rate", Answers, "`N/second`, `N/minute` or `unlimited`", "1000/second",
        "answers of a built-in datagram service to one source",
        field!(limits.answer_rate, RATE)
    },
    row! {
        "v6only", Inet, "`yes` or `no`", "no",
        "IPv6 alone, without a socket for IPv4",
        yes_no!(v6only, |_| None)
    },
    row! {
        "sndbuf", Socket, "bytes: `65536`, `64k`, `1m`", "the system's",
        "size of the send buffer",
        field!(socket.sndbuf, BUFFER), harmless
    },
    row! {
        "rcvbuf", Socket, "bytes: `65536`, `64k`, `1m`", "the system's",
        "size of the receive buffer",
        field!(socket.rcvbuf, BUFFER), harmless
    },
    row! {
        "socket_user", UnixPath, "the name or number of a user", "the server's",
        "owner of a unix socket",
        word!(socket_user, socket_user)
    },
    row! {
        "socket_group", UnixPath, "the name or number of a group", "the server's",
        "group of a unix socket",
        word!(socket_group, socket_group)
    },
    row! {
        "socket_mode", UnixPath, "an octal mode: `0660`", "0600",
        "mode of a unix socket",
        field!(socket.mode, MODE)
    },
    // What stands in front.
    row! {
        "proxy_protocol", Fronted, "`no`, `require` or `accept`", "no",
        "whether a PROXY header before the data says who the client is",
        choice!(front.proxy_protocol, ProxyProtocol, "no" => No, "require" => Require, "accept" => Accept), narrows
    },
    row! {
        "proxy_from", Fronted, "addresses and prefixes, or `@FILE`: `10.0.0.0/8 ::1`", "nobody",
        "who may send a PROXY header",
        How { set: |draft, value| draft.said.change_proxy_from(value), print: proxy_from }, list, narrows
    },
    row! {
        "proxy_timeout", Fronted, "a duration: `3s`", "3s",
        "the longest that a PROXY header may take to come",
        field!(front.proxy_timeout, PATIENCE)
    },
    row! {
        "proxy_send", Relayed, "`no`, `v1` or `v2`", "no",
        "the PROXY header with which the target of a relay is told who the client is",
        choice!(front.proxy_send, ProxySend, "no" => No, "v1" => V1, "v2" => V2)
    },
    row! {
        "tls", Fronted, "the files of a certificate and its key, any number of such pairs", "none",
        "TLS; the certificate is chosen by the name that the client asks for",
        How { set: tls::set_certificates, print: tls::certificates }, list, narrows
    },
    row! {
        "tls_client", Fronted, "`no`, `ask` or `require`", "no",
        "whether clients show certificates",
        choice!(front.tls_client, TlsClient, "no" => No, "ask" => Ask, "require" => Require), narrows
    },
    row! {
        "tls_ca", Fronted, "a file", "none",
        "who makes the certificates of clients",
        word!(said.tls_ca, tls::authorities), narrows
    },
    row! {
        "tls_versions", Fronted, "`1.2`, `1.3` or both", "both",
        "versions of TLS that are spoken",
        field!(front.tls_versions, VERSIONS), narrows
    },
    row! {
        "tls_alpn", Fronted, "names of protocols: `http/1.1`", "none",
        "protocols inside of TLS, the preferred first",
        field!(front.tls_alpn, ALPN)
    },
    row! {
        "tls_timeout", Fronted, "a duration: `10s`", "10s",
        "the longest that a handshake may take",
        field!(front.tls_timeout, PATIENCE)
    },
    row! {
        "front_workers", Fronted, "`shared` or `own`", "shared",
        "whether the service has a process for its TLS to itself",
        choice!(front.front_workers, FrontWorkers, "shared" => Shared, "own" => Own), narrows
    },
    row! {
        "pty", Terminal, "`yes` or `no`", "no",
        "the program has a terminal as 0, 1 and 2, the client is at its other end",
        field!(front.pty, YES_NO)
    },
    row! {
        "pty_size", Terminal, "`COLUMNSxROWS`", "80x24",
        "size of the terminal, as long as telnet says no other",
        field!(front.pty_size, TERMINAL_SIZE)
    },
    row! {
        "term", Terminal, "the name of a terminal: `xterm`", "dumb",
        "the variable TERM, if telnet does not say another within a second",
        field!(front.term, TERM)
    },
    row! {
        "telnet", Terminal, "`yes` or `no`", "no",
        "clients of telnet: echo, window size, terminal type, ends of lines; implies `pty`",
        field!(front.telnet, YES_NO)
    },
    // What is said.
    row! {
        "banner", Connection, "a file", "none",
        "sent to every client",
        word!(said.banner, |shown| banner(shown.service.attributes.banners.all.as_deref()))
    },
    row! {
        "banner_success", Connection, "a file", "none",
        "sent to every admitted client",
        word!(said.banner_success, |shown| banner(shown.service.attributes.banners.success.as_deref()))
    },
    row! {
        "banner_fail", Connection, "a file", "none",
        "sent to every refused client",
        word!(said.banner_fail, |shown| banner(shown.service.attributes.banners.fail.as_deref()))
    },
    row! {
        "log_on_success", Every, "any of `PID`, `HOST`, `EXIT` and `DURATION`, or nothing", "all four",
        "what is logged of served clients",
        field!(log.on_success, ON_SUCCESS), list
    },
    row! {
        "log_on_failure", Every, "any of `HOST` and `ATTEMPT`, or nothing", "both",
        "what is logged of refused clients",
        field!(log.on_failure, ON_FAILURE), list
    },
    row! {
        "log_type", Every, "`SYSLOG FACILITY [LEVEL]` or `FILE PATH [SOFT [HARD]]`", "the server's log",
        "where the lines about the service go",
        field!(log.file, LOG_TYPE)
    },
    // Instead of a program.
    row! {
        "redirect", Every, "`HOST PORT`, `vsock:CID:PORT`, or the path or `@name` of a unix socket", "none",
        "a relay to there instead of a program",
        How { set: |draft, value| Redirect::read(value).map(|it| draft.redirect = Some(it)), print: redirect }
    },
    row! {
        "id", Every, "a name", "none",
        "what the service is called besides by `oxinetd status` and the like",
        // The entry is asked for it, which may be all that is known of a service.
        How { set: |_, value| value.word().map(drop), print: id }, harmless
    },
    row! {
        "disable", Every, "`yes` or `no`", "no",
        "read and checked, not served",
        yes_no!(disable, |shown| shown.disabled.then(|| "yes".to_owned()))
    },
];
