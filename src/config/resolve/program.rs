//! What serves: a program found on this machine, or a service of our own.

use std::ffi::OsString;
use std::path::Path;

use super::endpoint::ServiceField;
use super::resolver::Resolver;
use crate::config::attribute::Draft;
use crate::config::diagnostic::suggest::{listed, nearest};
use crate::config::model::protocol::Protocol;
use crate::config::model::{Action, Builtin, Program, SocketType};
use crate::config::syntax::entry::Entry;
use crate::config::syntax::line::corrected;
use crate::config::text::words::{Word, quote};

/// Programs that are one binary for many names, or start what `argv[0]` says.
const MANY_NAMED: [&str; 4] = ["tcpd", "busybox", "toybox", "coreutils"];

fn names() -> impl Iterator<Item = &'static str> {
    Builtin::ALL.into_iter().map(Builtin::name)
}

impl Resolver<'_> {
    /// What serves an entry; None where nothing can.
    pub(super) fn action(
        &mut self,
        entry: &Entry,
        target: &ServiceField,
        draft: &Draft,
        (socket_type, protocol): (SocketType, Protocol),
    ) -> Option<Action> {
        if let (None, true) = (&draft.redirect, entry.says("redirect")) {
            // Its value is wrong, which has been said.
            return None;
        }
        if let Some(redirect) = &draft.redirect {
            return self.relay(entry, redirect, target, socket_type);
        }
        if entry.program.text == "internal" && !entry.program.quoted {
            let builtin = self.builtin(entry, target, protocol)?;
            self.check_builtin(entry, builtin, socket_type)?;
            return Some(Action::Builtin(builtin));
        }
        self.program(entry, draft)
    }

    /// The program of an entry, found on this machine.
    pub(super) fn program(&mut self, entry: &Entry, draft: &Draft) -> Option<Action> {
        if self.lacks_user(entry) {
            self.tell_of_no_user(entry);
            return None;
        }
        self.check_root(entry, &draft.attributes)?;
        let path = self.program_path(&entry.program, draft.attributes.process.chroot.as_deref())?;
        self.check_argv0(entry, &path);
        self.check_shell_words(entry);
        let base = || path.file_name().map(ToOwned::to_owned).unwrap_or_default();
        let argv: Vec<OsString> = if entry.arguments.is_empty() {
            vec![base()]
        } else {
            entry.arguments.iter().map(|word| word.os.clone()).collect()
        };
        Some(Action::Program(Program { path, argv }))
    }

    /// The built-in service of an entry: its first argument, or what the service is called.
    fn builtin(
        &mut self,
        entry: &Entry,
        target: &ServiceField,
        protocol: Protocol,
    ) -> Option<Builtin> {
        let written = entry.arguments.first().filter(|word| word.text != "internal");
        let (name, place) = match (written, target) {
            (_, ServiceField::Tcpmux(_)) => {
                self.report
                    .error(&entry.program.span, "an entry of tcpmux runs a program")
                    .help("write the program; a built-in service has a port of its own");
                return None;
            }
            (Some(word), _) => (word.text.clone(), word),
            (None, ServiceField::Inet { ports, service, .. }) => {
                let port = Some(*ports.start()).filter(|port| ports.end() == port);
                if let Some(builtin) = port.and_then(Builtin::of_port) {
                    return Some(builtin);
                }
                let facts = self.lookup.service(service, protocol.name());
                (facts.map_or(service.clone(), |facts| facts.name), &entry.endpoint)
            }
            (None, ServiceField::Unix { path, .. }) => {
                let last = path.file_name().map(|name| name.to_string_lossy().into_owned());
                (last.unwrap_or_default(), &entry.endpoint)
            }
            (None, ServiceField::Vsock(address, _)) => {
                let port = u16::try_from(address.port).ok();
                if let Some(builtin) = port.and_then(Builtin::of_port) {
                    return Some(builtin);
                }
                (entry.endpoint.text.clone(), &entry.endpoint)
            }
            (None, ServiceField::Abstract(name)) => {
                (String::from_utf8_lossy(name).into_owned(), &entry.endpoint)
            }
        };
        if let Some(extra) = entry.arguments.get(1).filter(|_| Builtin::named(&name).is_some()) {
            self.report
                .warning(&extra.span, "built-in services take no arguments: ignored")
                .help("write `internal`, and the name of the service if need be");
        }
        Builtin::named(&name).or_else(|| {
            // A line below it that is wrong may be what would have said otherwise.
            if written.is_some() || !entry.broken {
                self.unknown_builtin(&name, place);
            }
            None
        })
    }

    fn unknown_builtin(&mut self, name: &str, place: &Word) {
        if matches!(name, "auth" | "ident" | "113") {
            self.report
                .error(&place.span, "the built-in service `auth` (ident) is not supported")
                .help("it tells strangers the names of users; a program like `oidentd` can be put here");
            return;
        }
        let help = match nearest(name, names()) {
            Some(near) => format!("did you mean `{near}`? There are {}", listed(names())),
            None => format!(
                "there are {}; the first argument chooses one: `internal echo`",
                listed(names())
            ),
        };
        self.report.error(&place.span, format!("there is no built-in service `{name}`")).help(help);
    }

    /// The built-in service that the first argument names, if there is one.
    pub(super) fn check_builtin_name(&mut self, entry: &Entry) {
        let unknown =
            |word: &&Word| word.text != "internal" && Builtin::named(&word.text).is_none();
        if let Some(word) = entry.arguments.first().filter(unknown) {
            self.unknown_builtin(&word.text, word);
        }
    }

    /// Built-in services speak streams (`nowait`) and datagrams (`wait`).
    fn check_builtin(
        &mut self,
        entry: &Entry,
        builtin: Builtin,
        socket_type: SocketType,
    ) -> Option<()> {
        let name = builtin.name();
        if socket_type == SocketType::SeqPacket {
            self.report
                .error(
                    &entry.socket_type.span,
                    format!("the built-in service `{name}` has no sequenced packets"),
                )
                .help("write `stream`, or `dgram`");
            return None;
        }
        if builtin == Builtin::Tcpmux && socket_type == SocketType::Dgram {
            self.report
                .error(&entry.socket_type.span, "tcpmux speaks streams only")
                .help("write `tcpmux stream tcp nowait - internal`");
            return None;
        }
        Some(())
    }

    /// The first word after the program is `argv[0]`: most people forget it once.
    fn check_argv0(&mut self, entry: &Entry, path: &Path) {
        let Some(argv0) = entry.arguments.first() else { return };
        let program = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        if self.keeps_account || resembles(&argv0.text, &program) {
            return;
        }
        let help = format!(
            "the first word is argv[0], the name the program sees for itself; {}",
            with_argv0(entry, &program)
        );
        self.report
            .warning(
                &argv0.span,
                format!("`{}` does not resemble the program `{program}`", argv0.text),
            )
            .help(help);
    }
}

/// What to write so that `argv[0]` is the name of the program, in the file's language.
fn with_argv0(entry: &Entry, program: &str) -> String {
    if entry.id.is_some() {
        let words = entry.arguments.iter().map(|word| word.text.as_str());
        let words: Vec<&str> = std::iter::once(program).chain(words).collect();
        return format!("write `server_args = {}`, or take `NAMEINARGS` out", words.join(" "));
    }
    let words: Vec<Word> =
        std::iter::once(&entry.program).chain(&entry.arguments).cloned().collect();
    format!("write `{}`", corrected(&words, 1, &quote(program.as_ref())))
}

/// Whether one name has the other in it, directories, case and a login dash apart.
fn resembles(argv0: &str, program: &str) -> bool {
    let name = argv0.rsplit('/').next().unwrap_or(argv0).to_lowercase();
    let name = name.strip_prefix('-').unwrap_or(&name);
    let program = program.to_lowercase();
    if MANY_NAMED.contains(&program.as_str()) {
        return true;
    }
    // One letter is in too many names.
    name == program || name.len() > 1 && (program.contains(name) || name.contains(&program))
}

#[cfg(test)]
mod tests {
    use super::resembles;

    #[test]
    fn names_resemble_with_prefixes_paths_and_dashes() {
        for (argv0, program) in [
            ("date", "date"),
            ("in.ftpd", "ftpd"),
            ("ftpd", "in.ftpd"),
            ("/usr/sbin/ftpd", "ftpd"),
            ("-sh", "sh"),
            ("in.pop3d", "tcpd"),
            ("httpd", "busybox"),
        ] {
            assert!(resembles(argv0, program), "{argv0} {program}");
        }
        for (argv0, program) in
            [("ax", "ps"), ("-l", "ftpd"), ("", "date"), ("-", "cat"), ("2026", "cal")]
        {
            assert!(!resembles(argv0, program), "{argv0} {program}");
        }
    }
}
