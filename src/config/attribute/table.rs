//! The one table of attributes. Parsers, defaults, the printer and the manual page
//! come from it or are tested against it; there is no second list of names.

use super::confinement::set_capabilities;
use super::environment::{set_env, set_passenv};
use super::print::{
    answer_rate, at_limit, capabilities, env, groups, interface, leftovers, limit, linger, number,
    on_stop, passenv, path, paths, rate, redirect, rlimit, size_of, socket_group, socket_mode,
    socket_user, stderr, umask, yes,
};
use super::quantity::show_size;
use super::redirect::Redirect;
use super::{Attribute, Scope, keepalive, limits, log_type};
use crate::config::model::{AtLimit, Leftovers, Linger, OnStop, Resource, StderrTo};

/// A field of the model that a method of `Value` reads.
macro_rules! set {
    ($field:ident, $parse:ident) => {
        |draft, value| {
            draft.attributes.$field = value.$parse()?;
            Ok(())
        }
    };
}

/// A name that is looked up later.
macro_rules! name {
    ($field:ident) => {
        |draft, value| {
            draft.$field = Some(value.word()?.clone());
            Ok(())
        }
    };
}

/// A resource limit.
macro_rules! rlimit {
    ($resource:ident) => {
        |draft, value| {
            let limit = value.resource()?;
            let limits = &mut draft.attributes.rlimits;
            limits.retain(|(resource, _)| *resource != Resource::$resource);
            limits.push((Resource::$resource, limit));
            limits.sort_unstable();
            Ok(())
        }
    };
}

/// One line of the table: name, scope, form of a value, default, help, setter, printer.
macro_rules! row {
    ($name:literal, $scope:ident, $value:literal, $default:literal, $help:literal, $set:expr, $print:expr) => {
        Attribute {
            name: $name,
            aliases: &[],
            value: $value,
            default: $default,
            help: $help,
            list: false,
            scope: Scope::$scope,
            set: $set,
            print: $print,
        }
    };
}

/// A value with a default of the model's own that is nothing: Some once it is said.
macro_rules! some {
    ($field:ident, $parse:ident $(, $argument:expr)*) => {
        |draft, value| {
            draft.attributes.$field = Some(value.$parse($($argument),*)?);
            Ok(())
        }
    };
}

/// A field of the draft itself.
macro_rules! draft {
    ($field:ident, $parse:ident) => {
        |draft, value| {
            draft.$field = value.$parse()?;
            Ok(())
        }
    };
}

/// One of some names.
macro_rules! choice {
    ($field:ident, $($name:literal => $choice:expr),+) => {
        |draft, value| {
            draft.attributes.$field = value.choice(&[$(($name, $choice)),+])?;
            Ok(())
        }
    };
}

/// Every attribute, in the order of the manual page.
pub(crate) static TABLE: &[Attribute] = &[
    // Who may connect.
    Attribute {
        list: true,
        ..row! {
            "only_from", Source, "addresses and prefixes, or `@FILE`: `10.0.0.0/8 ::1`", "everybody",
            "who may connect",
            limits::set_only_from, limits::only_from
        }
    },
    Attribute {
        list: true,
        ..row! {
            "no_access", Source, "addresses and prefixes, or `@FILE`: `10.0.0.0/8 ::1`", "nobody",
            "who may not connect",
            limits::set_no_access, limits::no_access
        }
    },
    row! {
        "access_times", Every, "times of day: `8:00-18:00`", "always",
        "when clients are served, local time",
        limits::set_access_times, limits::access_times
    },
    // How many.
    row! {
        "instances", Nowait, "a number from 1, or `unlimited`", "256",
        "programs running at once",
        set!(instances, limit), |shown| limit(shown, |a| a.instances)
    },
    row! {
        "at_limit", Nowait, "`wait` or `refuse`", "wait",
        "what happens to clients when `instances` programs run",
        choice!(at_limit, "wait" => AtLimit::Wait, "refuse" => AtLimit::Refuse), at_limit
    },
    row! {
        "rate", Every, "`N/second`, `N/minute` or `unlimited`", "unlimited",
        "starts of the service in a span of time",
        set!(rate, rate), |shown| rate(shown, |a| a.rate)
    },
    row! {
        "per_source", Nowait, "a number from 1, or `unlimited`", "unlimited",
        "programs running at once for one source: an IPv4 address, an IPv6 /64",
        set!(per_source, limit), |shown| limit(shown, |a| a.per_source)
    },
    row! {
        "cps", Every, "`N`, `N SECONDS` or `unlimited`", "unlimited",
        "new connections a second; over it the listener rests SECONDS (10)",
        limits::set_cps, limits::cps
    },
    row! {
        "source_rate", Nowait, "`N/second`, `N/minute` or `unlimited`", "unlimited",
        "starts for one source in a span of time",
        set!(source_rate, rate), |shown| rate(shown, |a| a.source_rate)
    },
    row! {
        "max_load", Every, "a load average: `2.5`, or `unlimited`", "unlimited",
        "the load average above which clients are refused",
        set!(max_load, load), limits::max_load
    },
    row! {
        "backlog", Listening, "a number from 1", "the system's maximum",
        "clients that may queue for the service, as in listen(2)",
        some!(backlog, number, 1, 0x7fff_ffff), |shown| number(shown, |a| a.backlog)
    },
    // How long.
    row! {
        "timeout", Program, "a duration: `30s`, `5m`, or `unlimited`", "unlimited",
        "the longest a program may run",
        limits::set_timeout, limits::timeout
    },
    row! {
        "idle_timeout", Moving, "a duration: `30s`, `5m`, or `unlimited`", "unlimited",
        "the longest that nothing may move on a connection, either way",
        limits::set_idle_timeout, limits::idle_timeout
    },
    row! {
        "kill_after", Program, "a duration: `5s`", "5s",
        "time between TERM and KILL at the `timeout`",
        set!(kill_after, duration), limits::kill_after
    },
    row! {
        "leftovers", Program, "`end` or `leave`", "leave",
        "what becomes of what a program leaves behind when it ends",
        choice!(leftovers, "end" => Leftovers::End, "leave" => Leftovers::Leave), leftovers
    },
    row! {
        "max_clients", Every, "a number from 1, or `unlimited`", "unlimited",
        "clients after which the service stops by itself",
        set!(max_clients, limit), |shown| limit(shown, |a| a.max_clients)
    },
    row! {
        "on_stop", Program, "`terminate` or `leave`", "leave",
        "what becomes of running programs when the server stops or the service goes",
        choice!(on_stop, "terminate" => OnStop::Terminate, "leave" => OnStop::Leave), on_stop
    },
    // As what.
    row! {
        "group", Program, "the name or number of a group", "the user's",
        "main group of the program",
        name!(group), |_| None
    },
    row! {
        "groups", Program, "`yes` or `no`", "yes",
        "whether the program has the user's supplementary groups",
        draft!(groups, yes_no), groups
    },
    row! {
        "umask", Program, "an octal mode: `022`", "022",
        "file mode creation mask",
        some!(umask, octal), umask
    },
    row! {
        "nice", Program, "a number from -20 to 19", "0",
        "what is added to the niceness",
        set!(nice, niceness), |shown| number(shown, |a| Some(a.nice))
    },
    row! {
        "chdir", Program, "an absolute path", "/",
        "working directory, inside `chroot`",
        some!(chdir, path), |shown| path(shown, |a| a.chdir.as_deref())
    },
    row! {
        "chroot", Program, "an absolute path", "none",
        "root directory",
        some!(chroot, path), |shown| path(shown, |a| a.chroot.as_deref())
    },
    Attribute {
        list: true,
        ..row! {
            "env", Program, "`NAME=VALUE`, any number of them", "none",
            "added to the environment",
            set_env, env
        }
    },
    Attribute {
        list: true,
        ..row! {
            "passenv", Program, "names of variables, or `*` for all of them", "none",
            "variables passed on from the server's environment",
            set_passenv, passenv
        }
    },
    row! {
        "rlimit_as", Program, "a size: `64k`, `10M`, `1G`, or `unlimited`", "the server's",
        "limit: address space",
        rlimit!(As), |shown| rlimit(shown, Resource::As)
    },
    row! {
        "rlimit_core", Program, "a size: `64k`, `10M`, `1G`, or `unlimited`", "the server's",
        "limit: core file",
        rlimit!(Core), |shown| rlimit(shown, Resource::Core)
    },
    row! {
        "rlimit_cpu", Program, "a number of seconds, or `unlimited`", "the server's",
        "limit: processor time, in seconds",
        rlimit!(Cpu), |shown| rlimit(shown, Resource::Cpu)
    },
    row! {
        "rlimit_data", Program, "a size: `64k`, `10M`, `1G`, or `unlimited`", "the server's",
        "limit: data segment",
        rlimit!(Data), |shown| rlimit(shown, Resource::Data)
    },
    row! {
        "rlimit_files", Program, "a number, or `unlimited`", "the server's",
        "limit: open files",
        rlimit!(Files), |shown| rlimit(shown, Resource::Files)
    },
    row! {
        "rlimit_fsize", Program, "a size: `64k`, `10M`, `1G`, or `unlimited`", "the server's",
        "limit: size of a written file",
        rlimit!(Fsize), |shown| rlimit(shown, Resource::Fsize)
    },
    row! {
        "rlimit_nproc", Program, "a number, or `unlimited`", "the server's",
        "limit: processes of the user",
        rlimit!(Nproc), |shown| rlimit(shown, Resource::Nproc)
    },
    row! {
        "rlimit_stack", Program, "a size: `64k`, `10M`, `1G`, or `unlimited`", "the server's",
        "limit: stack",
        rlimit!(Stack), |shown| rlimit(shown, Resource::Stack)
    },
    row! {
        "no_new_privs", Program, "`yes` or `no`", "no",
        "set-user-id programs give no privileges, as prctl(2) says",
        set!(no_new_privs, yes_no), |shown| yes(shown, |a| a.no_new_privs)
    },
    // Confined to what.
    Attribute {
        name: "capabilities",
        aliases: &[],
        value: "names of capabilities(7), `all` or `none`",
        default: "all",
        help: "the capabilities that the program and its children can have at most",
        list: true,
        scope: Scope::Program,
        set: set_capabilities,
        print: capabilities,
    },
    Attribute {
        name: "read_only",
        aliases: &[],
        value: "absolute paths, after a `?` if the kernel may lack Landlock",
        default: "everything",
        help: "what the program may read and run; nothing else but `read_write`",
        list: true,
        scope: Scope::Program,
        set: |draft, value| value.paths(&mut draft.attributes.read_only),
        print: |shown| paths(&shown.service.attributes.read_only),
    },
    Attribute {
        name: "read_write",
        aliases: &[],
        value: "absolute paths, after a `?` if the kernel may lack Landlock",
        default: "everything",
        help: "what the program may also write; nothing else but `read_only`",
        list: true,
        scope: Scope::Program,
        set: |draft, value| value.paths(&mut draft.attributes.read_write),
        print: |shown| paths(&shown.service.attributes.read_write),
    },
    Attribute {
        name: "memory_max",
        aliases: &[],
        value: "a size: `64k`, `10M`, `1G`, or `unlimited`",
        default: "unlimited",
        help: "memory of all the service's programs together",
        list: false,
        scope: Scope::Program,
        set: |draft, value| {
            draft.attributes.group_limits.memory_max = value.resource()?;
            Ok(())
        },
        print: |shown| shown.service.attributes.group_limits.memory_max.map(show_size),
    },
    Attribute {
        name: "tasks_max",
        aliases: &[],
        value: "a number from 1, or `unlimited`",
        default: "unlimited",
        help: "processes and threads of all the service's programs together",
        list: false,
        scope: Scope::Program,
        set: |draft, value| {
            draft.attributes.group_limits.tasks_max = value.limit()?;
            Ok(())
        },
        print: |shown| limit(shown, |a| a.group_limits.tasks_max),
    },
    Attribute {
        name: "cpu_max",
        aliases: &[],
        value: "percent of one processor: `50%`, `200%`, or `unlimited`",
        default: "unlimited",
        help: "processor time of all the service's programs together",
        list: false,
        scope: Scope::Program,
        set: |draft, value| {
            draft.attributes.group_limits.cpu_max = value.percent()?;
            Ok(())
        },
        print: |shown| shown.service.attributes.group_limits.cpu_max.map(|n| format!("{n}%")),
    },
    // What the program sees.
    row! {
        "stderr", Program, "`log`, `socket` or `null`", "log",
        "where standard error goes",
        choice!(stderr, "log" => StderrTo::Log, "socket" => StderrTo::Socket, "null" => StderrTo::Null), stderr
    },
    row! {
        "linger", Connected, "`auto`, `yes` or `no`", "auto",
        "the client gets all of the answer after the program's end",
        choice!(linger, "auto" => Linger::Auto, "yes" => Linger::Yes, "no" => Linger::No), linger
    },
    // The socket.
    Attribute {
        aliases: &["bind"],
        ..row! {
            "interface", Inet, "an address or a network device", "everywhere",
            "where to listen",
            name!(interface), interface
        }
    },
    row! {
        "nodelay", Tcp, "`yes` or `no`", "no",
        "TCP_NODELAY on connections",
        set!(nodelay, yes_no), |shown| yes(shown, |a| a.nodelay)
    },
    row! {
        "keepalive", Tcp, "`yes`, `no`, or `IDLE INTERVAL COUNT`: `60s 10s 6`", "no",
        "whether a silent peer is asked if it is still there, and when",
        keepalive::set, keepalive::print
    },
    row! {
        "answer_rate", Answers, "`N/second`, `N/minute` or `unlimited`", "1000/second",
        "answers of a built-in datagram service to one source",
        set!(answer_rate, rate), answer_rate
    },
    row! {
        "v6only", Inet, "`yes` or `no`", "no",
        "IPv6 alone, without a socket for IPv4",
        draft!(v6only, yes_no), |_| None
    },
    row! {
        "sndbuf", Socket, "bytes: `65536`, `64k`, `1m`", "the system's",
        "size of the send buffer",
        some!(sndbuf, bytes), |shown| size_of(shown, |a| a.sndbuf)
    },
    row! {
        "rcvbuf", Socket, "bytes: `65536`, `64k`, `1m`", "the system's",
        "size of the receive buffer",
        some!(rcvbuf, bytes), |shown| size_of(shown, |a| a.rcvbuf)
    },
    row! {
        "socket_user", UnixPath, "the name or number of a user", "the server's",
        "owner of a unix socket",
        name!(socket_user), socket_user
    },
    row! {
        "socket_group", UnixPath, "the name or number of a group", "the server's",
        "group of a unix socket",
        name!(socket_group), socket_group
    },
    row! {
        "socket_mode", UnixPath, "an octal mode: `0660`", "0600",
        "mode of a unix socket",
        set!(socket_mode, octal), socket_mode
    },
    // What is said.
    row! {
        "banner", Connection, "a file", "none",
        "sent to every client",
        |draft, value| {
            draft.said.banner = Some(value.word()?.clone());
            Ok(())
        }, |shown| limits::banner(shown, |a| a.banner.as_deref())
    },
    row! {
        "banner_success", Connection, "a file", "none",
        "sent to every admitted client",
        |draft, value| {
            draft.said.banner_success = Some(value.word()?.clone());
            Ok(())
        }, |shown| limits::banner(shown, |a| a.banner_success.as_deref())
    },
    row! {
        "banner_fail", Connection, "a file", "none",
        "sent to every refused client",
        |draft, value| {
            draft.said.banner_fail = Some(value.word()?.clone());
            Ok(())
        }, |shown| limits::banner(shown, |a| a.banner_fail.as_deref())
    },
    Attribute {
        list: true,
        ..row! {
            "log_on_success", Every, "any of `PID`, `HOST`, `EXIT` and `DURATION`, or nothing", "all four",
            "what is logged of served clients",
            limits::set_log_on_success, limits::log_on_success
        }
    },
    Attribute {
        list: true,
        ..row! {
            "log_on_failure", Every, "any of `HOST` and `ATTEMPT`, or nothing", "both",
            "what is logged of refused clients",
            limits::set_log_on_failure, limits::log_on_failure
        }
    },
    row! {
        "log_type", Every, "`SYSLOG FACILITY [LEVEL]` or `FILE PATH [SOFT [HARD]]`", "the server's log",
        "where the lines about the service go",
        log_type::set, log_type::print
    },
    // Instead of a program.
    row! {
        "redirect", Every, "`HOST PORT`, `vsock:CID:PORT`, or the path or `@name` of a unix socket", "none",
        "a relay to there instead of a program",
        |draft, value| {
            draft.redirect = Some(Redirect::read(value)?);
            Ok(())
        },
        redirect
    },
    row! {
        "disable", Every, "`yes` or `no`", "no",
        "read and checked, not served",
        draft!(disable, yes_no), |shown| shown.disabled.then(|| "yes".to_owned())
    },
];
