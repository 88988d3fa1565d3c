//! The words of a value, as the one table writes them: xinetd knows its own in any case.

use std::net::IpAddr;

use super::addresses;
use super::block::BlockLine;
use super::converter::Converter;
use crate::config::attribute::quantity::digits;
use crate::config::model::parse_item;
use crate::config::text::words::Word;

/// Words of the log that only xinetd has.
const NOT_LOGGED: [(&str, &str); 2] = [
    ("USERID", "nobody is asked who the client is (ident, RFC 1413)"),
    ("TRAFFIC", "bytes are not counted"),
];

impl Converter<'_> {
    /// The words of a value, as the table writes them.
    pub(super) fn values(&mut self, line: &BlockLine, name: &str) -> Vec<Word> {
        let mut values = line.values.clone();
        match name {
            "instances" | "per_source" | "cps" | "max_load" | "umask" => {
                self.numbers(name, &mut values);
            }
            _ if name.starts_with("rlimit_") => self.numbers(name, &mut values),
            "bind" | "interface" => values = values.into_iter().map(addresses::bound).collect(),
            "log_on_success" | "log_on_failure" => {
                values.retain(|word| !self.is_not_logged(word));
                values.iter_mut().filter(|word| is_logged(word)).for_each(upper);
            }
            "disable" | "groups" => {
                values.iter_mut().for_each(|word| word.text.make_ascii_lowercase());
            }
            "nice" => values.iter_mut().for_each(|word| self.clamp(word)),
            "log_type" => {
                log_type(&mut values);
                self.log_file(&mut values);
            }
            "only_from" | "no_access" => {
                values = values.into_iter().flat_map(addresses::item).collect();
                add_everybody(&mut values);
                self.check_addresses(&values);
                values.retain(|word| !addresses::is_name(&word.text));
            }
            _ => {}
        }
        values
    }

    fn is_not_logged(&mut self, word: &Word) -> bool {
        let known = NOT_LOGGED.iter().find(|(name, _)| word.text.eq_ignore_ascii_case(name));
        if let Some((name, why)) = known
            && self.is_news(name)
        {
            self.report.warning(&word.span, format!("`{name}` is not logged")).help(*why);
        }
        known.is_some()
    }

    /// Whether what is not done has still to be said: once for all services that are on.
    pub(super) fn is_news(&mut self, name: &'static str) -> bool {
        let is_news = !self.off && !self.told.contains(&name);
        if is_news {
            self.told.push(name);
        }
        is_news
    }

    /// The name of a file is relative to where the server is started.
    fn log_file(&mut self, values: &mut [Word]) {
        let [kind, name, ..] = values else { return };
        let place = self.lookup.current_directory().filter(|_| kind.text == "FILE");
        let Some(place) = place.filter(|_| !name.text.starts_with('/')) else { return };
        let path = place.join(&name.os).to_string_lossy().into_owned();
        self.report
            .warning(&name.span, format!("`{}` is `{path}` here", name.text))
            .help("a name is relative to where the server is started: write one from `/` on");
        *name = Word::new(&path, name.span.clone());
    }

    /// As setpriority(2) does, of which xinetd asks it.
    fn clamp(&mut self, word: &mut Word) {
        let Ok(niceness) = word.text.parse::<i32>() else { return };
        let most = niceness.clamp(-20, 19);
        if most != niceness {
            self.report
                .warning(&word.span, format!("`{niceness}` is out of range: it is {most}"))
                .help("a niceness is a number from -20 to 19");
            word.text = most.to_string();
        }
    }

    /// What can be written for a name.
    fn addresses_of(&self, name: &str) -> String {
        match self.lookup.addresses(name) {
            Ok(found) if !found.is_empty() => {
                let found: Vec<String> = found.iter().map(ToString::to_string).collect();
                format!("its addresses are now: `{}`", found.join(" "))
            }
            _ => "write addresses or prefixes: `192.0.2.7 10.0.0.0/8 2001:db8::/32`".to_owned(),
        }
    }

    /// Names are not looked up: neither hosts, nor domains, nor networks.
    fn check_addresses(&mut self, values: &[Word]) {
        for word in values.iter().filter(|word| addresses::is_name(&word.text)) {
            let what = if word.text.starts_with('.') { "domain" } else { "host or network" };
            let help = meant(&word.text).unwrap_or_else(|| self.addresses_of(&word.text));
            self.report
                .error(
                    &word.span,
                    format!(
                        "`{}` is the name of a {what}: clients are known by address alone, \
                         and no machine that reads this looks names up",
                        word.text
                    ),
                )
                .help(help);
        }
    }
}

/// What is no name to whoever writes it: everybody, or an address and a sign.
fn meant(text: &str) -> Option<String> {
    if ["*", "all", "any"].iter().any(|all| text.eq_ignore_ascii_case(all)) {
        return Some("`0.0.0.0/0 ::/0` is everybody".to_owned());
    }
    let bare = text.trim_matches([';', '"', '\'', '(', ')']);
    (bare != text && parse_item(bare).is_ok()).then(|| format!("write `{bare}`"))
}

/// Where xinetd has one socket for both families, all of IPv6 has IPv4 in it.
fn add_everybody(values: &mut Vec<Word>) {
    let all = |word: &&Word| {
        let address = word.text.strip_suffix("/0").map(str::parse);
        matches!(address, Some(Ok(IpAddr::V6(_))))
    };
    let whole = values.iter().find(all).map(|word| Word::new("0.0.0.0/0", word.span.clone()));
    let is_said = values.iter().any(|word| word.text == "0.0.0.0/0");
    values.extend(whole.filter(|_| !is_said));
}

/// A word of the table, in any case.
fn is_logged(word: &Word) -> bool {
    ["PID", "HOST", "EXIT", "DURATION", "ATTEMPT"]
        .iter()
        .any(|name| word.text.eq_ignore_ascii_case(name))
}

fn upper(word: &mut Word) {
    word.text.make_ascii_uppercase();
}

/// In xinetd, its words are known in any case, and a first limit of 0 is none.
fn log_type(values: &mut Vec<Word>) {
    let Some((kind, rest)) = values.split_first_mut() else { return };
    kind.text.make_ascii_uppercase();
    match (kind.text.as_str(), rest) {
        ("SYSLOG", rest) => rest.iter_mut().for_each(|word| word.text.make_ascii_lowercase()),
        ("FILE", [_, soft, ..]) if digits(&soft.text) == Some(0) => values.truncate(2),
        _ => {}
    }
}
