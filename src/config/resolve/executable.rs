//! Where a program is: a path, or a name in PATH; and what it takes to start it.

use std::path::{Path, PathBuf};

use super::resolver::Resolver;
use crate::config::facts::Executable;
use crate::config::text::words::Word;

impl Resolver<'_> {
    /// The program's absolute path, as it is called inside `chroot`.
    pub(super) fn program_path(&mut self, word: &Word, chroot: Option<&Path>) -> Option<PathBuf> {
        if word.is_missing() {
            return None;
        }
        if word.text.is_empty() {
            let other = if self.keeps_account {
                "or a name in PATH"
            } else {
                "a name in PATH, or `internal`"
            };
            self.report
                .error(&word.span, "the name of the program is empty")
                .help(format!("write the path of a program, {other}"));
            return None;
        }
        let path = self.path(word, chroot)?;
        self.check_interpreter(word, &path, chroot)?;
        Some(path)
    }

    fn path(&mut self, word: &Word, chroot: Option<&Path>) -> Option<PathBuf> {
        let named = Path::new(&word.os);
        if named.is_absolute() {
            return match self.lookup.executable(&self.outside(named, chroot)) {
                Executable::Yes => Some(named.to_owned()),
                why => self.no_program(word, &why, chroot),
            };
        }
        if word.text.contains('/') {
            return self.relative_program(word, chroot);
        }
        let mut found = Executable::Missing;
        for directory in self.lookup.search_path().iter().filter(|path| path.is_absolute()) {
            let path = directory.join(named);
            match self.lookup.executable(&self.outside(&path, chroot)) {
                Executable::Yes => return Some(path),
                // Of a directory that we cannot look into, nobody has said that it is there.
                Executable::Missing | Executable::Hidden => {}
                why @ Executable::No(_) => found = why,
            }
        }
        self.no_program(word, &found, chroot)
    }

    /// `./program`: for the command line, where there is a directory to begin with.
    fn relative_program(&mut self, word: &Word, chroot: Option<&Path>) -> Option<PathBuf> {
        let directory =
            self.lookup.current_directory().filter(|_| self.keeps_account && chroot.is_none());
        let Some(directory) = directory else {
            self.report.error(&word.span, format!("`{}` is not an absolute path", word.text)).help(
                "write a path that starts with `/`, or a bare name, which is looked up in PATH",
            );
            return None;
        };
        let path = directory.join(&word.os);
        match self.lookup.executable(&path) {
            Executable::Yes => Some(path),
            why => self.no_program(word, &why, chroot),
        }
    }

    /// A script runs only where the program of its first line does. One that was saved
    /// with Windows line ends names a program that nobody has.
    fn check_interpreter(&mut self, word: &Word, path: &Path, chroot: Option<&Path>) -> Option<()> {
        let Some(interpreter) = self.lookup.interpreter(&self.outside(path, chroot)) else {
            return Some(());
        };
        let there = self.lookup.executable(&self.outside(&interpreter, chroot)) == Executable::Yes;
        // A relative one is looked for where the program is started.
        if there || interpreter.is_relative() {
            return Some(());
        }
        let shown = interpreter.to_string_lossy().escape_debug().to_string();
        let help = match shown.strip_suffix("\\r") {
            Some(_) => {
                format!("take its Windows line ends away: `sed -i 's/\\r$//' {}`", path.display())
            }
            None => "install that, or correct the line".to_owned(),
        };
        let message =
            format!("the first line of `{}` names `{shown}`, which is no program", word.text);
        self.lacks(&word.span, message, help);
        None
    }

    fn no_program(
        &mut self,
        word: &Word,
        why: &Executable,
        chroot: Option<&Path>,
    ) -> Option<PathBuf> {
        let place = chroot.map_or(String::new(), |root| format!(" in `{}`", root.display()));
        let bare = !word.text.contains('/');
        let (message, help) = match why {
            Executable::No(why) => (
                format!("`{}`{place} {why}", word.text),
                "a program is a file with execute permission (`chmod +x FILE`)".to_owned(),
            ),
            Executable::Hidden => (
                format!("`{}`{place} is in a directory that cannot be searched", word.text),
                "let the server's user search it, or correct the path".to_owned(),
            ),
            _ if bare => {
                (format!("no program `{}` is in PATH{place}", word.text), self.help_with_name(word))
            }
            _ => (
                format!("there is no program `{}`{place}", word.text),
                self.help_with_path(word, chroot),
            ),
        };
        self.lacks(&word.span, message, help);
        None
    }

    /// What somebody may have meant whose name is not in PATH.
    fn help_with_name(&self, word: &Word) -> String {
        let here = self.lookup.current_directory().filter(|_| self.keeps_account);
        let here = here.map(|directory| self.lookup.executable(&directory.join(&word.os)));
        match here {
            Some(Executable::Yes | Executable::No(_)) => {
                format!("the one in this directory is `./{}`", word.text)
            }
            _ if self.keeps_account && word.text == "internal" => {
                "built-in services need a line in a file; a relay is `-o redirect='HOST PORT'`".to_owned()
            }
            _ if !self.keeps_account && word.text == "redirect" => {
                "a relay is `internal` in the place of the program, and `redirect = HOST PORT` on an indented line below".to_owned()
            }
            _ if word.text.contains([' ', '|', '>', '<', ';', '&']) => {
                "the program and each argument are words of their own; a shell runs a whole line: `sh -c '…'`".to_owned()
            }
            _ => "install it, or write its absolute path".to_owned(),
        }
    }

    fn help_with_path(&self, word: &Word, chroot: Option<&Path>) -> String {
        let base = Path::new(&word.os).file_name().map(|name| name.to_string_lossy().into_owned());
        match base.and_then(|base| self.elsewhere(&base)).filter(|_| chroot.is_none()) {
            Some(path) => format!("there is one in PATH: `{}`", path.display()),
            None => "install it, or correct the path".to_owned(),
        }
    }

    /// Where a path of the program is outside its root directory, whose links lead nowhere
    /// else: `/bin/sh` may be a link to `/bin/busybox` there.
    fn outside(&self, path: &Path, chroot: Option<&Path>) -> PathBuf {
        let Some(root) = chroot else { return path.to_owned() };
        let real = self.lookup.real_path(Some(root), path);
        real.unwrap_or_else(|| root.join(path.strip_prefix("/").unwrap_or(path)))
    }

    /// The program of this name in PATH.
    pub(super) fn elsewhere(&self, base: &str) -> Option<PathBuf> {
        let directories = self.lookup.search_path();
        let paths = directories.iter().map(|directory| directory.join(base));
        paths.into_iter().find(|path| self.lookup.executable(path) == Executable::Yes)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::fake::FakeLookup;
    use crate::config::{RunSpec, from_command_line, load};

    /// What is said of a program that `oxinetd run` is to attach.
    fn messages(program: &str, lookup: &FakeLookup) -> String {
        let spec = RunSpec {
            endpoint: "8080".to_owned(),
            command: vec![program.into()],
            ..RunSpec::default()
        };
        let loaded = from_command_line(&spec, lookup);
        loaded.diagnostics.iter().map(|it| it.one_line() + "\n").collect()
    }

    #[test]
    fn what_was_probably_meant_is_said() {
        for (program, wanted) in [
            ("serve", "the one in this directory is `./serve`"),
            ("ls -l | wc", "`sh -c '…'`"),
            ("internal", "need a line in a file"),
            ("/opt/cat", "there is one in PATH: `/bin/cat`"),
            ("nothing", "install it"),
            ("", "or a name in PATH)"),
        ] {
            let messages = messages(program, &FakeLookup::default());
            assert!(messages.contains(wanted), "{program}: {messages}");
        }
    }

    #[test]
    fn a_script_needs_the_program_of_its_first_line() {
        for (start, wanted) in [
            ("#!/bin/cat\n", ""),
            ("#!cat\n", ""),
            ("no script", ""),
            ("#!/bin/cat\r\n", "names `/bin/cat\\r`, which is no program: not served (take its"),
            ("#!/bin/perl -w\n", "names `/bin/perl`, which is no program: not served (install"),
        ] {
            let messages = messages("./serve", &FakeLookup::with_file("/home/me/serve", start));
            assert_eq!(messages.is_empty(), wanted.is_empty(), "{start:?}: {messages}");
            assert!(messages.contains(wanted), "{start:?}: {messages}");
        }
    }

    #[test]
    fn a_script_in_another_root_directory_has_its_program_there() {
        for (root, complaints) in [("/jail", 0), ("/other", 1)] {
            let text = format!("80 stream tcp nowait - /run.sh\n chroot = {root}\n");
            let mut lookup = FakeLookup::with_file("/x", text);
            let script = format!("{root}/run.sh");
            lookup.files.insert(script.clone().into(), b"#!/bin/cat\n".to_vec());
            lookup.programs.insert(script.into());
            let loaded = load("/x".as_ref(), &[], &lookup);
            assert_eq!(loaded.diagnostics.len(), complaints, "{:?}", loaded.diagnostics);
        }
    }
}
