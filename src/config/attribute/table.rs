//! The one table of attributes. Parsers, defaults, the printer and the manual page
//! come from it or are tested against it; there is no second list of names.

use super::print::{
    at_limit, env, groups, interface, limit, number, on_stop, passenv, path, rate, redirect,
    rlimit, size_of, socket_group, socket_mode, socket_user, stderr, umask, yes,
};
use super::{Attribute, Draft, Scope};
use crate::config::model::{AtLimit, OnStop, Resource, StderrTo};
use crate::config::relay::Redirect;
use crate::config::value::{Operator, Problem, Value};

/// A field of the model that a method of [`Value`] reads.
macro_rules! set {
    ($field:ident, $parse:ident) => {
        Some(|draft, value| {
            draft.attributes.$field = value.$parse()?;
            Ok(())
        })
    };
}

/// A name that is looked up later.
macro_rules! name {
    ($field:ident) => {
        Some(|draft, value| {
            draft.$field = Some(value.word()?.clone());
            Ok(())
        })
    };
}

/// A resource limit.
macro_rules! rlimit {
    ($resource:ident) => {
        Some(|draft, value| {
            let limit = value.resource()?;
            let limits = &mut draft.attributes.rlimits;
            limits.retain(|(resource, _)| *resource != Resource::$resource);
            limits.push((Resource::$resource, limit));
            limits.sort_unstable();
            Ok(())
        })
    };
}

/// Every attribute, in the order of the manual page.
pub(crate) static TABLE: &[Attribute] = &[
    // Who may connect.
    Attribute {
        name: "only_from",
        aliases: &[],
        value: "addresses and prefixes: `10.0.0.0/8 ::1`",
        default: "everybody",
        help: "who may connect",
        list: true,
        scope: Scope::Every,
        set: None,
        print: |_| None,
    },
    Attribute {
        name: "no_access",
        aliases: &[],
        value: "addresses and prefixes: `10.0.0.0/8 ::1`",
        default: "nobody",
        help: "who may not connect",
        list: true,
        scope: Scope::Every,
        set: None,
        print: |_| None,
    },
    Attribute {
        name: "access_times",
        aliases: &[],
        value: "times of day: `8:00-18:00`",
        default: "always",
        help: "when clients are served, local time",
        list: false,
        scope: Scope::Every,
        set: None,
        print: |_| None,
    },
    // How many.
    Attribute {
        name: "instances",
        aliases: &[],
        value: "a number from 1, or `unlimited`",
        default: "256",
        help: "programs running at once",
        list: false,
        scope: Scope::Nowait,
        set: set!(instances, limit),
        print: |shown| limit(shown, |a| a.instances),
    },
    Attribute {
        name: "at_limit",
        aliases: &[],
        value: "`wait` or `refuse`",
        default: "wait",
        help: "what happens to clients when `instances` programs run",
        list: false,
        scope: Scope::Nowait,
        set: Some(|draft, value| {
            let choices = [("wait", AtLimit::Wait), ("refuse", AtLimit::Refuse)];
            draft.attributes.at_limit = value.choice(&choices)?;
            Ok(())
        }),
        print: at_limit,
    },
    Attribute {
        name: "rate",
        aliases: &[],
        value: "`N/second`, `N/minute` or `unlimited`",
        default: "unlimited",
        help: "starts of the service in a span of time",
        list: false,
        scope: Scope::Every,
        set: set!(rate, rate),
        print: |shown| rate(shown, |a| a.rate),
    },
    Attribute {
        name: "per_source",
        aliases: &[],
        value: "a number from 1, or `unlimited`",
        default: "unlimited",
        help: "programs running at once for one source: an IPv4 address, an IPv6 /64",
        list: false,
        scope: Scope::Nowait,
        set: set!(per_source, limit),
        print: |shown| limit(shown, |a| a.per_source),
    },
    Attribute {
        name: "cps",
        aliases: &[],
        value: "`N SECONDS`",
        default: "unlimited",
        help: "new connections a second; over it the listener rests SECONDS",
        list: false,
        scope: Scope::Every,
        set: None,
        print: |_| None,
    },
    Attribute {
        name: "source_rate",
        aliases: &[],
        value: "`N/second`, `N/minute` or `unlimited`",
        default: "unlimited",
        help: "starts for one source in a span of time",
        list: false,
        scope: Scope::Nowait,
        set: set!(source_rate, rate),
        print: |shown| rate(shown, |a| a.source_rate),
    },
    Attribute {
        name: "max_load",
        aliases: &[],
        value: "a load average",
        default: "unlimited",
        help: "the load average above which clients are refused",
        list: false,
        scope: Scope::Every,
        set: None,
        print: |_| None,
    },
    Attribute {
        name: "backlog",
        aliases: &[],
        value: "a number from 1",
        default: "the system's maximum",
        help: "clients that may queue for the service, as in listen(2)",
        list: false,
        scope: Scope::Listening,
        set: Some(|draft, value| {
            draft.attributes.backlog = Some(value.number(1, 0x7fff_ffff)?);
            Ok(())
        }),
        print: |shown| number(shown, |a| a.backlog),
    },
    // How long.
    Attribute {
        name: "timeout",
        aliases: &[],
        value: "a duration: `30s`, `5m`",
        default: "none",
        help: "the longest a program may run",
        list: false,
        scope: Scope::Program,
        set: None,
        print: |_| None,
    },
    Attribute {
        name: "kill_after",
        aliases: &[],
        value: "a duration: `5s`",
        default: "5s",
        help: "time between TERM and KILL at the `timeout`",
        list: false,
        scope: Scope::Program,
        set: None,
        print: |_| None,
    },
    Attribute {
        name: "on_stop",
        aliases: &[],
        value: "`terminate` or `leave`",
        default: "leave",
        help: "what becomes of running programs when the server stops or the service goes",
        list: false,
        scope: Scope::Program,
        set: Some(|draft, value| {
            let choices = [("terminate", OnStop::Terminate), ("leave", OnStop::Leave)];
            draft.attributes.on_stop = value.choice(&choices)?;
            Ok(())
        }),
        print: on_stop,
    },
    // As what.
    Attribute {
        name: "group",
        aliases: &[],
        value: "the name or number of a group",
        default: "the user's",
        help: "main group of the program",
        list: false,
        scope: Scope::Program,
        set: name!(group),
        print: |_| None,
    },
    Attribute {
        name: "groups",
        aliases: &[],
        value: "`yes` or `no`",
        default: "yes",
        help: "whether the program has the user's supplementary groups",
        list: false,
        scope: Scope::Program,
        set: Some(|draft, value| {
            draft.groups = value.yes_no()?;
            Ok(())
        }),
        print: groups,
    },
    Attribute {
        name: "umask",
        aliases: &[],
        value: "an octal mode",
        default: "022",
        help: "file mode creation mask",
        list: false,
        scope: Scope::Program,
        set: Some(|draft, value| {
            draft.attributes.umask = Some(value.octal()?);
            Ok(())
        }),
        print: umask,
    },
    Attribute {
        name: "nice",
        aliases: &[],
        value: "a number from -20 to 19",
        default: "0",
        help: "what is added to the niceness",
        list: false,
        scope: Scope::Program,
        set: set!(nice, niceness),
        print: |shown| number(shown, |a| Some(a.nice)),
    },
    Attribute {
        name: "chdir",
        aliases: &[],
        value: "an absolute path",
        default: "/",
        help: "working directory, inside `chroot`",
        list: false,
        scope: Scope::Program,
        set: Some(|draft, value| {
            draft.attributes.chdir = Some(value.path()?);
            Ok(())
        }),
        print: |shown| path(shown, |a| a.chdir.as_deref()),
    },
    Attribute {
        name: "chroot",
        aliases: &[],
        value: "an absolute path",
        default: "none",
        help: "root directory",
        list: false,
        scope: Scope::Program,
        set: Some(|draft, value| {
            draft.attributes.chroot = Some(value.path()?);
            Ok(())
        }),
        print: |shown| path(shown, |a| a.chroot.as_deref()),
    },
    Attribute {
        name: "env",
        aliases: &[],
        value: "`NAME=VALUE`, any number of them",
        default: "none",
        help: "added to the environment",
        list: true,
        scope: Scope::Program,
        set: Some(set_env),
        print: env,
    },
    Attribute {
        name: "passenv",
        aliases: &[],
        value: "names of variables",
        default: "none",
        help: "variables passed on from the server's environment",
        list: true,
        scope: Scope::Program,
        set: Some(set_passenv),
        print: passenv,
    },
    Attribute {
        name: "rlimit_as",
        aliases: &[],
        value: "a size: `64k`, `10M`, `1G`, or `unlimited`",
        default: "the server's",
        help: "limit: address space",
        list: false,
        scope: Scope::Program,
        set: rlimit!(As),
        print: |shown| rlimit(shown, Resource::As),
    },
    Attribute {
        name: "rlimit_core",
        aliases: &[],
        value: "a size: `64k`, `10M`, `1G`, or `unlimited`",
        default: "the server's",
        help: "limit: core file",
        list: false,
        scope: Scope::Program,
        set: rlimit!(Core),
        print: |shown| rlimit(shown, Resource::Core),
    },
    Attribute {
        name: "rlimit_cpu",
        aliases: &[],
        value: "a number of seconds, or `unlimited`",
        default: "the server's",
        help: "limit: processor time, in seconds",
        list: false,
        scope: Scope::Program,
        set: rlimit!(Cpu),
        print: |shown| rlimit(shown, Resource::Cpu),
    },
    Attribute {
        name: "rlimit_data",
        aliases: &[],
        value: "a size: `64k`, `10M`, `1G`, or `unlimited`",
        default: "the server's",
        help: "limit: data segment",
        list: false,
        scope: Scope::Program,
        set: rlimit!(Data),
        print: |shown| rlimit(shown, Resource::Data),
    },
    Attribute {
        name: "rlimit_files",
        aliases: &[],
        value: "a number, or `unlimited`",
        default: "the server's",
        help: "limit: open files",
        list: false,
        scope: Scope::Program,
        set: rlimit!(Files),
        print: |shown| rlimit(shown, Resource::Files),
    },
    Attribute {
        name: "rlimit_fsize",
        aliases: &[],
        value: "a size: `64k`, `10M`, `1G`, or `unlimited`",
        default: "the server's",
        help: "limit: size of a written file",
        list: false,
        scope: Scope::Program,
        set: rlimit!(Fsize),
        print: |shown| rlimit(shown, Resource::Fsize),
    },
    Attribute {
        name: "rlimit_nproc",
        aliases: &[],
        value: "a number, or `unlimited`",
        default: "the server's",
        help: "limit: processes of the user",
        list: false,
        scope: Scope::Program,
        set: rlimit!(Nproc),
        print: |shown| rlimit(shown, Resource::Nproc),
    },
    Attribute {
        name: "rlimit_stack",
        aliases: &[],
        value: "a size: `64k`, `10M`, `1G`, or `unlimited`",
        default: "the server's",
        help: "limit: stack",
        list: false,
        scope: Scope::Program,
        set: rlimit!(Stack),
        print: |shown| rlimit(shown, Resource::Stack),
    },
    Attribute {
        name: "no_new_privs",
        aliases: &[],
        value: "`yes` or `no`",
        default: "no",
        help: "set-user-id programs give no privileges, as prctl(2) says",
        list: false,
        scope: Scope::Program,
        set: set!(no_new_privs, yes_no),
        print: |shown| yes(shown, |a| a.no_new_privs),
    },
    // What the program sees.
    Attribute {
        name: "stderr",
        aliases: &[],
        value: "`log`, `socket` or `null`",
        default: "log",
        help: "where standard error goes",
        list: false,
        scope: Scope::Program,
        set: Some(|draft, value| {
            let choices =
                [("log", StderrTo::Log), ("socket", StderrTo::Socket), ("null", StderrTo::Null)];
            draft.attributes.stderr = value.choice(&choices)?;
            Ok(())
        }),
        print: stderr,
    },
    // The socket.
    Attribute {
        name: "interface",
        aliases: &["bind"],
        value: "an address or a network device",
        default: "all",
        help: "where to listen",
        list: false,
        scope: Scope::Inet,
        set: name!(interface),
        print: interface,
    },
    Attribute {
        name: "nodelay",
        aliases: &[],
        value: "`yes` or `no`",
        default: "no",
        help: "TCP_NODELAY on connections",
        list: false,
        scope: Scope::Tcp,
        set: set!(nodelay, yes_no),
        print: |shown| yes(shown, |a| a.nodelay),
    },
    Attribute {
        name: "keepalive",
        aliases: &[],
        value: "`yes` or `no`",
        default: "no",
        help: "SO_KEEPALIVE on connections",
        list: false,
        scope: Scope::Tcp,
        set: set!(keepalive, yes_no),
        print: |shown| yes(shown, |a| a.keepalive),
    },
    Attribute {
        name: "v6only",
        aliases: &[],
        value: "`yes` or `no`",
        default: "no",
        help: "IPv6 alone, without a socket for IPv4",
        list: false,
        scope: Scope::Inet,
        set: Some(|draft, value| {
            draft.v6only = value.yes_no()?;
            Ok(())
        }),
        print: |_| None,
    },
    Attribute {
        name: "sndbuf",
        aliases: &[],
        value: "bytes: `65536`, `64k`, `1m`",
        default: "the system's",
        help: "size of the send buffer",
        list: false,
        scope: Scope::Socket,
        set: Some(|draft, value| {
            draft.attributes.sndbuf = Some(value.bytes()?);
            Ok(())
        }),
        print: |shown| size_of(shown, |a| a.sndbuf),
    },
    Attribute {
        name: "rcvbuf",
        aliases: &[],
        value: "bytes: `65536`, `64k`, `1m`",
        default: "the system's",
        help: "size of the receive buffer",
        list: false,
        scope: Scope::Socket,
        set: Some(|draft, value| {
            draft.attributes.rcvbuf = Some(value.bytes()?);
            Ok(())
        }),
        print: |shown| size_of(shown, |a| a.rcvbuf),
    },
    Attribute {
        name: "socket_user",
        aliases: &[],
        value: "the name or number of a user",
        default: "the server's",
        help: "owner of a unix socket",
        list: false,
        scope: Scope::UnixPath,
        set: name!(socket_user),
        print: socket_user,
    },
    Attribute {
        name: "socket_group",
        aliases: &[],
        value: "the name or number of a group",
        default: "the server's",
        help: "group of a unix socket",
        list: false,
        scope: Scope::UnixPath,
        set: name!(socket_group),
        print: socket_group,
    },
    Attribute {
        name: "socket_mode",
        aliases: &[],
        value: "an octal mode",
        default: "0600",
        help: "mode of a unix socket",
        list: false,
        scope: Scope::UnixPath,
        set: set!(socket_mode, octal),
        print: socket_mode,
    },
    // What is said.
    Attribute {
        name: "banner",
        aliases: &[],
        value: "a file",
        default: "none",
        help: "sent to every client",
        list: false,
        scope: Scope::Every,
        set: None,
        print: |_| None,
    },
    Attribute {
        name: "banner_success",
        aliases: &[],
        value: "a file",
        default: "none",
        help: "sent to every admitted client",
        list: false,
        scope: Scope::Every,
        set: None,
        print: |_| None,
    },
    Attribute {
        name: "banner_fail",
        aliases: &[],
        value: "a file",
        default: "none",
        help: "sent to every refused client",
        list: false,
        scope: Scope::Every,
        set: None,
        print: |_| None,
    },
    Attribute {
        name: "log_on_success",
        aliases: &[],
        value: "of `PID HOST EXIT DURATION`",
        default: "all four",
        help: "what is logged of served clients",
        list: true,
        scope: Scope::Every,
        set: None,
        print: |_| None,
    },
    Attribute {
        name: "log_on_failure",
        aliases: &[],
        value: "of `HOST ATTEMPT`",
        default: "both",
        help: "what is logged of refused clients",
        list: true,
        scope: Scope::Every,
        set: None,
        print: |_| None,
    },
    // Instead of a program.
    Attribute {
        name: "redirect",
        aliases: &[],
        value: "`HOST PORT`, or the path or `@name` of a unix socket",
        default: "none",
        help: "a relay to there instead of a program",
        list: false,
        scope: Scope::Every,
        set: Some(|draft, value| {
            draft.redirect = Some(Redirect::read(value)?);
            Ok(())
        }),
        print: redirect,
    },
    Attribute {
        name: "disable",
        aliases: &[],
        value: "`yes` or `no`",
        default: "no",
        help: "read and checked, not served",
        list: false,
        scope: Scope::Every,
        set: Some(|draft, value| {
            draft.disable = value.yes_no()?;
            Ok(())
        }),
        print: |shown| shown.disabled.then(|| "yes".to_owned()),
    },
];

/// `env`: names are unique, the last value counts; `-=` takes names.
fn set_env(draft: &mut Draft, value: &Value<'_>) -> Result<(), Problem> {
    let mut env = match value.operator {
        Operator::Set => Vec::new(),
        Operator::Add | Operator::Remove => draft.attributes.env.clone(),
    };
    for word in value.words {
        let name = word.text.split_once('=').map(|(name, _)| name);
        if value.operator == Operator::Remove {
            let name = name.unwrap_or(&word.text);
            env.retain(|(known, _)| known != name);
            continue;
        }
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            let message = format!("`{}` is not `NAME=VALUE`", word.text);
            let help = "a value with blanks is quoted: NAME='a b'; `passenv` passes a variable on";
            return Err(Problem::new(&word.span, message, help));
        };
        let text = word.tail(name.len() + 1);
        env.retain(|(known, _)| known != name);
        env.push((name.to_owned(), text));
    }
    draft.attributes.env = env;
    Ok(())
}

/// `passenv`: a set of names.
fn set_passenv(draft: &mut Draft, value: &Value<'_>) -> Result<(), Problem> {
    let mut names = match value.operator {
        Operator::Set => Vec::new(),
        Operator::Add | Operator::Remove => draft.attributes.passenv.clone(),
    };
    for word in value.words {
        if word.text.is_empty() || word.text.contains('=') {
            let message = format!("`{}` is not the name of a variable", word.text);
            let help = "`passenv` takes names; `env` takes `NAME=VALUE`";
            return Err(Problem::new(&word.span, message, help));
        }
        names.retain(|known| *known != word.text);
        if value.operator != Operator::Remove {
            names.push(word.text.clone());
        }
    }
    draft.attributes.passenv = names;
    Ok(())
}
