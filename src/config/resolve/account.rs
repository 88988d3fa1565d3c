//! As whom a program runs: the user field, the attributes `group` and `groups`,
//! and what a server that is not root can do.

use super::resolver::Resolver;
use crate::config::attribute::Draft;
use crate::config::attribute::quantity::digits;
use crate::config::diagnostic::suggest::did_you_mean;
use crate::config::facts::UserFacts;
use crate::config::model::Account;
use crate::config::syntax::entry::Entry;
use crate::config::syntax::line::corrected;
use crate::config::text::words::Word;

impl Resolver<'_> {
    /// The account of a program; None where this machine lacks it.
    pub(super) fn account(&mut self, entry: &Entry, draft: &Draft) -> Option<Account> {
        if self.lacks_user(entry) {
            return None;
        }
        let (user, group) = self.user_field(&entry.user)?;
        let group = match (&group, &draft.group) {
            (Some(field), Some(attribute)) if is_own(entry, attribute) => {
                self.report
                    .warning(&attribute.span, "the group is said twice: this one counts")
                    .related(field.span.clone(), "said here too")
                    .help("take one of them away");
                Some(attribute)
            }
            (Some(field), _) => Some(field),
            (None, attribute) => attribute.as_ref(),
        };
        let facts = self.user_facts(&user, group.is_some());
        let gid = match group {
            Some(word) => self.group(word),
            None => facts.as_ref().map(|facts| facts.gid),
        };
        let (facts, gid) = (facts?, gid?);
        self.switched(&user, group, facts, gid, draft)
    }

    /// Whether the word in the place of the user is a program, and nobody, and the one in the place
    /// of the program is none: the user has been left out.
    pub(super) fn lacks_user(&self, entry: &Entry) -> bool {
        let Entry { user, program, arguments, .. } = entry;
        let is_program =
            |word: &Word| word.text.contains('/') || self.elsewhere(&word.text).is_some();
        let is_name =
            |word: &Word| word.text.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_');
        if self.keeps_account || user.is_missing() || !is_name(user) || program.text == "internal" {
            return false;
        }
        // `git git git daemon` has all of its words.
        let is_twice = user.text == program.text
            && arguments.first().is_none_or(|first| first.text != program.text);
        let is_nobody = self.lookup.user(&user.text).is_none();
        is_nobody
            && !self.lookup.is_unanswered(&user.text)
            && (is_twice || !is_program(program))
            && is_program(user)
    }

    /// That it has been left out, or is missing on this machine.
    pub(super) fn tell_of_no_user(&mut self, entry: &Entry) {
        let Entry { endpoint, socket_type, protocol, wait, user, program, arguments, .. } = entry;
        let mut words =
            [endpoint, socket_type, protocol, wait, user, program].map(Clone::clone).to_vec();
        words.extend(arguments.iter().cloned());
        let message = format!(
            "the field `user` is missing before `{0}`, or there is no user `{0}`",
            user.text
        );
        let help = format!("write `{}`, or add the user", corrected(&words, 4, "-"));
        self.lacks(&user.span, message, help);
    }

    /// The account of services that run no program: the server's own.
    pub(super) fn own_account(&self) -> Account {
        let facts = self.lookup.own_account();
        account(facts, self.lookup.own_groups(), false)
    }

    /// `USER[:GROUP]`, `USER.GROUP`, `/CLASS` behind it.
    pub(super) fn user_field(&mut self, word: &Word) -> Option<(Word, Option<Word>)> {
        if word.is_missing() {
            return None;
        }
        let mut end = word.text.len();
        if let Some(at) = word.text.find('/') {
            self.report
                .warning(&word.part(at..end), "login classes are FreeBSD's: ignored")
                .help("the attributes `umask`, `nice` and `rlimit_…` say the same");
            end = at;
        }
        let name = word.text.get(..end).unwrap_or("");
        let at = match name.find(':') {
            Some(at) => Some(at),
            None if self.lookup.user(name).is_none() => name.rfind('.'),
            None => None,
        };
        let (user, group) = match at {
            Some(at) => (word.slice(0..at), Some(word.slice(at + 1..end))),
            None => (word.slice(0..end), None),
        };
        for (part, what) in [(Some(&user), "user"), (group.as_ref(), "group")] {
            if part.is_some_and(|part| part.text.is_empty()) {
                self.report
                    .error(&word.span, format!("the {what} is missing in `{}`", word.text))
                    .help("write `USER`, `USER:GROUP`, or `-` for no user in particular");
                return None;
            }
        }
        Some((user, group))
    }

    /// The user of a name, a number, or `-`.
    fn user_facts(&mut self, word: &Word, has_group: bool) -> Option<UserFacts> {
        let name = word.text.as_str();
        if name == "-" && !self.lookup.is_privileged() {
            return Some(self.lookup.own_account());
        }
        let name = if name == "-" { "nobody" } else { name };
        if let Some(facts) = self.lookup.user(name) {
            return Some(facts);
        }
        if let Some(uid) =
            digits(name).and_then(|uid| u32::try_from(uid).ok()).filter(|uid| *uid != u32::MAX)
        {
            if let Some(facts) = self.lookup.user_by_id(uid) {
                return Some(facts);
            }
            if has_group {
                let name = uid.to_string();
                let home = "/".to_owned();
                return Some(UserFacts { name, uid, gid: uid, home, shell: "/bin/sh".to_owned() });
            }
            let message = format!("no user has the number {uid}, so its group is not known");
            self.lacks(&word.span, message, format!("write `{uid}:GROUP`"));
            return None;
        }
        if self.lookup.is_unanswered(name) {
            self.unanswered(word, "user");
            return None;
        }
        let common = ["root", "nobody", "daemon"];
        let known = common.into_iter().filter(|name| self.lookup.user(name).is_some());
        let help = did_you_mean(name, known, || {
            "add the user (`useradd --system`), or write `-` for no user in particular".to_owned()
        });
        self.lacks(&word.span, format!("there is no user `{name}`"), help);
        None
    }

    /// The user database does not answer.
    fn unanswered(&mut self, word: &Word, what: &str) {
        let message = format!("nobody says in time who the {what} `{}` is", word.text);
        self.lacks(&word.span, message, "reload when the user database answers again");
    }

    /// The number of a group.
    pub(super) fn group(&mut self, word: &Word) -> Option<u32> {
        let number = || {
            digits(&word.text)
                .and_then(|gid| u32::try_from(gid).ok())
                .filter(|gid| *gid != u32::MAX)
        };
        let group = self.lookup.group(&word.text).or_else(number);
        if group.is_none() && self.lookup.is_unanswered(&word.text) {
            self.unanswered(word, "group");
        } else if group.is_none() {
            let help = "add the group (`groupadd --system`), or name another one";
            self.lacks(&word.span, format!("there is no group `{}`", word.text), help);
        }
        group
    }

    /// The number of a user.
    pub(super) fn user_number(&mut self, word: &Word) -> Option<u32> {
        let number = || {
            digits(&word.text)
                .and_then(|uid| u32::try_from(uid).ok())
                .filter(|uid| *uid != u32::MAX)
        };
        let user = self.lookup.user(&word.text).map(|user| user.uid).or_else(number);
        if user.is_none() && self.lookup.is_unanswered(&word.text) {
            self.unanswered(word, "user");
        } else if user.is_none() {
            let help = "add the user (`useradd --system`), or name another one";
            self.lacks(&word.span, format!("there is no user `{}`", word.text), help);
        }
        user
    }

    /// The account, if this server can take it on.
    fn switched(
        &mut self,
        word: &Word,
        group: Option<&Word>,
        facts: UserFacts,
        gid: u32,
        draft: &Draft,
    ) -> Option<Account> {
        let own = self.lookup.own_account();
        if self.lookup.is_privileged() {
            if self.keeps_account && word.text == "-" && group.is_none() {
                return Some(account(own, self.lookup.own_groups(), false));
            }
            let groups =
                if draft.groups { self.lookup.groups_of(&facts.name, gid) } else { Vec::new() };
            if draft.groups && self.lookup.is_unanswered(&facts.name) {
                // With fewer groups than it has, a program would be another one.
                self.unanswered(word, "user");
                return None;
            }
            return Some(account(UserFacts { gid, ..facts }, groups, true));
        }
        if facts.uid != own.uid {
            let message = format!("only root can run programs as `{}`", facts.name);
            let help =
                format!("start the server as root, or write `-` to run it as `{}`", own.name);
            self.lacks(&word.span, message, help);
            return None;
        }
        if let Some(group) = group.filter(|_| gid != own.gid) {
            let message = format!("only root can run programs with the group `{}`", group.text);
            self.lacks(
                &group.span,
                message,
                "start the server as root, or leave the group out".to_owned(),
            );
            return None;
        }
        Some(account(own, self.lookup.own_groups(), false))
    }
}

/// Whether a word stands in the entry's own settings.
fn is_own(entry: &Entry, word: &Word) -> bool {
    entry.settings.iter().any(|setting| setting.values.iter().any(|value| value.span == word.span))
}

fn account(facts: UserFacts, groups: Vec<u32>, switch: bool) -> Account {
    let UserFacts { name, uid, gid, home, shell } = facts;
    Account { name, uid, gid, groups, home, shell, switch }
}
