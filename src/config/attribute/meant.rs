//! Names that no attribute has, and the one that somebody meant by them: other spellings, words of
//! other servers, options; and arguments of a program that would be an attribute elsewhere.

use super::definition::Attribute;
use super::finding::{find, is_narrowing, names};
use crate::config::diagnostic::suggest::nearest;

/// What others call an attribute.
const ELSEWHERE: [(&str, &[&str]); 16] = [
    ("only_from", &["allow", "allowed", "allow_from", "hosts_allow", "permit", "from", "source"]),
    ("no_access", &["deny", "denied", "deny_from", "hosts_deny", "reject", "refuse", "block"]),
    ("instances", &["max_connections", "maxconn", "max_conns", "max_children", "max_instances"]),
    ("per_source", &["max_connections_per_source", "per_ip", "max_per_ip", "limit_per_ip"]),
    ("timeout", &["runtime_max", "max_runtime", "max_time"]),
    ("idle_timeout", &["timeout_idle", "max_idle"]),
    ("interface", &["bind_address", "bind_addr", "listen", "listen_address", "address"]),
    ("redirect", &["connect", "forward", "proxy_pass", "upstream"]),
    ("chdir", &["cwd", "workdir", "directory", "working_directory"]),
    ("env", &["environment", "setenv"]),
    ("tls_ca", &["ca", "ca_file", "ssl_ca", "ssl_client_certificate", "client_ca"]),
    ("tls_client", &["verify", "verify_chain", "verify_client", "ssl_verify_client"]),
    ("no_new_privs", &["no_new_privileges"]),
    ("memory_max", &["memory", "mem_limit", "memory_limit", "max_memory"]),
    ("tasks_max", &["pids_limit", "max_tasks"]),
    ("cpu_max", &["cpu_quota", "cpus"]),
];

/// Attributes that, as options, are nobody's but ours.
const OURS_ALONE: [&str; 4] = ["only_from", "no_access", "access_times", "tls_client"];

/// The attribute that a name means which it does not have: without the signs between its words, in
/// other letters, or as another server calls it.
pub(crate) fn meant_by(name: &str) -> Option<&'static str> {
    let plain = plain(name);
    let others = ELSEWHERE.iter().flat_map(|(ours, theirs)| theirs.iter().map(|it| (*ours, *it)));
    let known =
        names().map(|name| (name, name)).chain(others).find(|(_, it)| self::plain(it) == plain);
    known.map(|(ours, _)| ours)
}

/// The attribute, if that is another spelling of its own name.
pub(crate) fn spelt_otherwise(name: &str) -> Option<&'static str> {
    meant_by(name).filter(|ours| plain(ours) == plain(name))
}

fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|it| it.to_ascii_lowercase()).collect()
}

/// The attribute that an option is called like, and what is said behind its `=`.
pub(crate) fn by_option(word: &str) -> Option<(&'static Attribute, Option<&str>)> {
    let option = word.strip_prefix("--")?;
    let (name, value) = match option.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (option, None),
    };
    Some((find(&name.replace('-', "_"))?, value))
}

/// The setting, for `-o` or `--default`, that was meant by an option and the word behind it.
pub(crate) fn setting_of_option(word: &str, next: Option<&str>) -> Option<String> {
    let option = word.strip_prefix("--")?;
    let (name, value) = option.split_once('=').unwrap_or((option, ""));
    let name = name.replace('-', "_");
    let known = find(&name).map(|it| it.name).or_else(|| meant_by(&name));
    let name = known.or(["wait", "user"].into_iter().find(|field| *field == name))?;
    let is_switch = name == "wait" || find(name).is_some_and(|it| it.value == "`yes` or `no`");
    let next = next.filter(|next| !next.starts_with('-'));
    let value = match (value, next) {
        ("", Some(next)) if !is_switch || ["yes", "no"].contains(&next) => next,
        ("", _) if is_switch => "yes",
        ("", _) => "VALUE",
        (value, _) => value,
    };
    let quote = if value.contains(' ') { "'" } else { "" };
    Some(format!("{name}={quote}{value}{quote}"))
}

/// Whether an option that is called like an attribute was hardly meant for a program.
pub(crate) fn is_ours_alone(attribute: &Attribute, value: Option<&str>) -> bool {
    let is_of_tls = |value: &str| value == "self-signed" || value.contains(',');
    OURS_ALONE.contains(&attribute.name) || attribute.name == "tls" && value.is_some_and(is_of_tls)
}

/// The attribute, one without which something would be wide open, that two arguments, or the first
/// of them, would set below an entry; and whether the second is its sign.
pub(crate) fn set_by_arguments(word: &str, next: Option<&str>) -> Option<(&'static str, bool)> {
    const SIGNS: [&str; 3] = ["=", "+=", "-="];
    if let Some((attribute, value)) = by_option(word) {
        return is_ours_alone(attribute, value.or(next)).then_some((attribute.name, false));
    }
    let is_signed = next.is_some_and(|next| SIGNS.contains(&next));
    let (name, value) = word.split_once('=').unwrap_or((word, ""));
    let is_set = is_narrowing(name) && (is_signed || !value.is_empty());
    find(name).filter(|_| is_set).map(|attribute| (attribute.name, is_signed))
}

/// Whether a line that is wrong seems to narrow something.
pub(crate) fn narrows(line: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let mut words = line.split(|c| !is_letter(c)).filter(|word| !word.is_empty()).peekable();
    // What others call it is a word like any other where it is not the first.
    words.peek().copied().and_then(meant_by).is_some_and(is_narrowing)
        || words.any(|word| is_narrowing(word) || nearest(word, names()).is_some_and(is_narrowing))
}

/// What to say to somebody who wrote a name that no attribute has.
pub(crate) fn help_for_unknown(name: &str) -> String {
    let field = match name {
        "server" | "server_args" => "the program and its arguments are",
        "socket_type" | "protocol" | "wait" | "user" => "that is",
        "port" | "type" => "the service is",
        "ssl"
        | "cert"
        | "key"
        | "certificate"
        | "tls_cert"
        | "tls_key"
        | "tls_certificate"
        | "ssl_cert"
        | "ssl_key"
        | "ssl_certificate"
        | "ssl_certificate_key" => {
            return "TLS is one attribute: `tls = /etc/ssl/site.pem /etc/ssl/site.key`".to_owned();
        }
        _ => {
            // What is so short is like everything: an argument, rather.
            let near = || nearest(name, names()).filter(|_| name.len() > 2);
            return match (spelt_otherwise(name).or_else(near), meant_by(name)) {
                (Some(near), _) => format!("did you mean `{near}`?"),
                (None, Some(ours)) => format!("here that is `{ours}`"),
                (None, None) => format!(
                    "oxinetd.conf(5) lists all attributes; an argument with `=` is written in quotes: '{name}=…'"
                ),
            };
        }
    };
    format!(
        "{field} said in the line itself: SERVICE TYPE PROTOCOL wait|nowait USER PROGRAM ARGUMENTS"
    )
}

#[cfg(test)]
mod tests {
    use super::{
        ELSEWHERE, find, help_for_unknown, meant_by, plain, set_by_arguments, setting_of_option,
        spelt_otherwise,
    };

    #[test]
    fn words_of_others_mean_what_there_is_and_are_no_names() {
        for (ours, theirs) in ELSEWHERE {
            assert!(find(ours).is_some(), "{ours}");
            for word in theirs {
                assert!(find(word).is_none(), "{word}");
                assert_eq!(meant_by(word), Some(ours), "{word}");
                assert_eq!(theirs.iter().filter(|it| plain(it) == plain(word)).count(), 1);
            }
        }
    }

    #[test]
    fn other_spellings_mean_the_same() {
        for (word, ours) in [
            ("onlyfrom", "only_from"),
            ("only-from", "only_from"),
            ("OnlyFrom", "only_from"),
            ("MemoryMax", "memory_max"),
            ("NoNewPrivileges", "no_new_privs"),
        ] {
            assert_eq!(meant_by(word), Some(ours), "{word}");
        }
        assert_eq!(spelt_otherwise("allow"), None);
        assert_eq!(meant_by("of"), None);
    }

    #[test]
    fn an_option_is_a_setting() {
        for (word, next, wanted) in [
            ("--timeout", Some("5s"), Some("timeout=5s")),
            ("--timeout=5s", Some("8080"), Some("timeout=5s")),
            ("--no-new-privs", Some("8080"), Some("no_new_privs=yes")),
            ("--no-new-privs", Some("no"), Some("no_new_privs=no")),
            ("--instances", Some("--"), Some("instances=VALUE")),
            ("--allow", Some("10.0.0.1 ::1"), Some("only_from='10.0.0.1 ::1'")),
            ("--user", Some("nobody"), Some("user=nobody")),
            ("--wait", Some("8080"), Some("wait=yes")),
            ("--frob", None, None),
            ("-t", None, None),
        ] {
            assert_eq!(setting_of_option(word, next).as_deref(), wanted, "{word}");
        }
    }

    #[test]
    fn options_are_ours_where_nobody_else_has_them() {
        for (word, next, wanted) in [
            ("--only-from", Some("10.0.0.1"), Some(("only_from", false))),
            ("--only_from=10.0.0.1", None, Some(("only_from", false))),
            ("--tls", Some("site.pem,site.key"), Some(("tls", false))),
            ("--tls=self-signed", None, Some(("tls", false))),
            ("--tls", Some("site.pem"), None),
            ("--no-new-privs", None, None),
            ("--chroot=/srv", None, None),
            ("only_from", Some("="), Some(("only_from", true))),
            ("tls_client=ask", None, Some(("tls_client", false))),
            ("instances=5", None, None),
        ] {
            assert_eq!(set_by_arguments(word, next), wanted, "{word}");
        }
    }

    #[test]
    fn unknown_names_are_helped() {
        assert!(help_for_unknown("instnaces").contains("`instances`"));
        assert!(help_for_unknown("server").contains("the line itself"));
        assert!(help_for_unknown("if").contains("quotes"));
        assert!(help_for_unknown("allow").contains("here that is `only_from`"));
        assert!(help_for_unknown("tls_cert").contains("`tls = "));
    }
}
