//! NetBSD's other spelling: `SERVICE on|off key = value, …;`, over as many lines
//! as it takes, with comments anywhere. The keys become fields and settings.

use std::rc::Rc;

use super::entry::{Entry, Setting, Withhold};
use super::reader::Context;
use crate::config::attribute::quantity::digits;
use crate::config::diagnostic::report::Report;
use crate::config::diagnostic::suggest::one_of;
use crate::config::model::Origin;
use crate::config::text::source::{File, is_blank, is_comment};
use crate::config::text::words::Word;

mod tokens;

use tokens::{Pair, Tokens};

/// All keys there are.
const KEYS: [&str; 15] = [
    "bind",
    "socktype",
    "acceptfilter",
    "protocol",
    "sndbuf",
    "recvbuf",
    "wait",
    "service_max",
    "ip_max",
    "accept_max",
    "user",
    "group",
    "exec",
    "args",
    "ipsec",
];

/// Whether such an entry starts at this line; the index of the line behind it.
pub(super) fn recognise(file: &File, index: usize) -> Option<usize> {
    let second = second_word(file, index)?;
    if !matches!(second.trim_end_matches(';'), "on" | "off") {
        return None;
    }
    let mut next = index;
    while let Some(line) = file.lines.get(next) {
        let text = file.text(line.range.clone());
        if next > index && starts_another(file, next) {
            return Some(next);
        }
        next += 1;
        if semicolon(text).is_some() {
            return Some(next);
        }
    }
    Some(next)
}

fn second_word(file: &File, index: usize) -> Option<&str> {
    let line = file.lines.get(index)?;
    file.text(line.range.clone()).split_whitespace().nth(1)
}

/// A line that can only be the start of something else: the `;` is missing before it.
fn starts_another(file: &File, index: usize) -> bool {
    let Some(line) = file.lines.get(index) else { return false };
    let text = file.text(line.range.clone());
    let second = second_word(file, index).unwrap_or("");
    let second = second.split([',', ':', ';']).next().unwrap_or("");
    let begins = !text.starts_with(is_blank) && !is_comment(text);
    begins
        && (text.starts_with('.')
            || matches!(second, "on" | "off" | "stream" | "dgram" | "seqpacket" | "raw"))
}

/// The `;` of a line, outside quotes and comments.
fn semicolon(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    let mut before = ' ';
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (Some('"'), '\\') => escaped = !escaped,
            (Some(open), close) if open == close && !escaped => quote = None,
            (Some(_), _) => escaped = false,
            (None, '\'' | '"') => quote = Some(character),
            (None, ';') => return Some(at),
            (None, '#') if is_blank(before) || matches!(before, ',' | '=') => return None,
            (None, _) => {}
        }
        before = character;
    }
    None
}

/// Reads the entry of the lines from `first` to before `next`.
pub(in crate::config) fn read(
    file: &File,
    first: usize,
    next: usize,
    context: &Context,
    report: &mut Report,
) -> Option<Entry> {
    let line = file.lines.get(first)?;
    let last = file.lines.get(next.checked_sub(1)?)?;
    let before = report.errors();
    let mut tokens = Tokens { file, at: line.range.start, end: last.range.end };
    let endpoint = tokens.word(&[], report)?;
    let switch = tokens.word(&[';'], report)?;
    let pairs = tokens.pairs(&switch, report);
    let origin = Origin { file: Rc::clone(&file.name), line: line.number };
    let mut building = Building { pairs, endpoint: &endpoint, report, settings: Vec::new() };
    building.check_keys();
    let mut entry = building.entry(origin, context);
    if switch.text == "off" {
        entry.settings.extend(Setting::implied("disable", "yes", &switch.span));
    }
    entry.broken = report.errors() > before;
    Some(entry)
}

/// An entry being put together from its pairs.
struct Building<'a> {
    pairs: Vec<Pair>,
    endpoint: &'a Word,
    report: &'a mut Report,
    settings: Vec<Setting>,
}

impl Building<'_> {
    /// Keys that are unknown, twice there, or have the wrong number of values.
    fn check_keys(&mut self) {
        for (index, Pair { key, values }) in self.pairs.iter().enumerate() {
            let name = key.text.as_str();
            if !KEYS.contains(&name) {
                self.report
                    .error(&key.span, format!("unknown key `{name}`"))
                    .help(one_of(name, KEYS));
            } else if let Some(first) =
                self.pairs.iter().take(index).find(|pair| pair.key.text == name)
            {
                self.report
                    .error(&key.span, format!("`{name}` is said twice"))
                    .related(first.key.span.clone(), "said here before")
                    .help("take one of them away");
            } else if let (Some(second), false) = (values.get(1), matches!(name, "args" | "ipsec"))
            {
                self.report
                    .error(&second.span, format!("`{name}` has one value"))
                    .help("write `,` before the next key, and quotes around blanks");
            } else if values.is_empty() && !matches!(name, "args" | "ipsec") {
                self.report.error(&key.span, format!("`{name}` has no value")).help(format!(
                    "write `{name} = value`, with `,` between two of them and `;` at the end"
                ));
            }
        }
    }

    fn value(&self, key: &str) -> Option<Word> {
        let pair = self.pairs.iter().find(|pair| pair.key.text == key)?;
        pair.values.first().cloned()
    }

    fn implied(&mut self, key: &str, attribute: &str, unit: &str) {
        let Some(word) = self.value(key) else { return };
        let unlimited = digits(&word.text) == Some(0) && !matches!(key, "sndbuf" | "recvbuf");
        let text = if unlimited { "unlimited".to_owned() } else { format!("{}{unit}", word.text) };
        if digits(&word.text).is_none() && !unit.is_empty() {
            self.report
                .error(&word.span, format!("`{}` is not a number", word.text))
                .help(format!("write `{key} = 40`, 0 for no limit"));
            return;
        }
        self.settings.extend(Setting::implied(attribute, &text, &word.span));
    }

    /// The keys as fields; what is missing or wrong is reported, and the others are
    /// looked at all the same.
    fn entry(mut self, origin: Origin, context: &Context) -> Entry {
        for (key, attribute, unit) in [
            ("service_max", "rate", "/minute"),
            ("ip_max", "source_rate", "/minute"),
            ("accept_max", "instances", ""),
            ("sndbuf", "sndbuf", ""),
            ("recvbuf", "rcvbuf", ""),
            ("group", "group", ""),
        ] {
            self.implied(key, attribute, unit);
        }
        self.ignored();
        let (socket_type, protocol) = self.type_and_protocol();
        let program = match (self.value("exec"), self.has("exec")) {
            (Some(program), _) => Some(program),
            (None, written) => (!written).then(|| self.says("internal")),
        };
        let program = self.or_missing(program);
        let internal = program.text == "internal";
        let wait = self.wait(internal, &socket_type);
        let user = self.value("user").or_else(|| internal.then(|| self.says("-")));
        if user.is_none() {
            self.missing("user");
        }
        let arguments = self.pairs.iter().position(|pair| pair.key.text == "args");
        let arguments = arguments
            .and_then(|at| self.pairs.get_mut(at))
            .map(|pair| std::mem::take(&mut pair.values));
        let (socket_type, protocol) = (self.or_missing(socket_type), self.or_missing(protocol));
        Entry {
            origin,
            id: None,
            name: None,
            endpoint: self.endpoint.clone(),
            socket_type,
            protocol,
            wait: self.or_missing(wait),
            user: self.or_missing(user),
            program,
            arguments: arguments.unwrap_or_default(),
            default_address: self.value("bind").or_else(|| context.address.clone()),
            settings: self.settings,
            defaults: context.defaults.clone(),
            broken: !context.causes.is_empty(),
            why: None,
            because: context.causes.clone(),
            off: false,
            families: None,
            withheld: Withhold::No,
        }
    }

    /// A field that may be missing, which has been reported then.
    fn or_missing(&self, word: Option<Word>) -> Word {
        word.unwrap_or_else(|| Word::missing(self.endpoint.span.clone()))
    }

    fn has(&self, key: &str) -> bool {
        self.pairs.iter().any(|pair| pair.key.text == key)
    }

    /// A word that the entry leaves unsaid.
    fn says(&self, text: &str) -> Word {
        Word::new(text, self.endpoint.span.clone())
    }

    fn missing(&mut self, key: &str) {
        // A key without a value was reported already.
        if self.has(key) {
            return;
        }
        self.report
            .error(&self.endpoint.span, format!("the key `{key}` is missing"))
            .help(format!("add `{key} = …` before the `;`"));
    }

    /// Keys that are read and have no effect here.
    fn ignored(&mut self) {
        for (key, why) in [
            ("acceptfilter", "accept filters are FreeBSD's and NetBSD's: ignored"),
            ("ipsec", "IPsec policies are not set: ignored"),
        ] {
            let place = self
                .pairs
                .iter()
                .find(|pair| pair.key.text == key)
                .map(|pair| pair.key.span.clone());
            if let Some(place) = place {
                self.report.warning(&place, why).help("take it out");
            }
        }
    }

    /// One tells the other, as far as it is plain.
    fn type_and_protocol(&mut self) -> (Option<Word>, Option<Word>) {
        let (socket_type, protocol) = (self.value("socktype"), self.value("protocol"));
        let path = self.endpoint.text.starts_with(['/', ':']);
        let guess = |word: &Word, pairs: &[(&str, &str)]| {
            let found = pairs.iter().find(|(start, _)| word.text.starts_with(start));
            found.map(|(_, other)| Word::new(other, word.span.clone()))
        };
        let (socket_type, protocol) = match (socket_type, protocol) {
            (None, Some(protocol)) => {
                (guess(&protocol, &[("tcp", "stream"), ("udp", "dgram")]), Some(protocol))
            }
            (Some(socket_type), None) if path => (Some(socket_type), Some(self.says("unix"))),
            (Some(socket_type), None) => {
                let protocol = guess(&socket_type, &[("stream", "tcp"), ("dgram", "udp")]);
                (Some(socket_type), protocol)
            }
            both => both,
        };
        // A misspelt one tells nothing of the other, and is reported for itself.
        let starts = |word: &Option<Word>, text| word.as_ref().map(|it| it.text.starts_with(text));
        if protocol.is_none() && starts(&socket_type, "seqpacket").unwrap_or(!self.has("socktype"))
        {
            self.missing("protocol");
        } else if socket_type.is_none() && starts(&protocol, "unix") == Some(true) {
            self.missing("socktype");
        }
        (socket_type, protocol)
    }

    fn wait(&mut self, internal: bool, socket_type: &Option<Word>) -> Option<Word> {
        let Some(word) = self.value("wait") else {
            if internal {
                let datagrams = socket_type.as_ref().is_some_and(|word| word.text == "dgram");
                return Some(self.says(if datagrams { "wait" } else { "nowait" }));
            }
            self.missing("wait");
            return None;
        };
        let text = match word.text.as_str() {
            "yes" => "wait",
            "no" => "nowait",
            other => {
                self.report
                    .error(&word.span, format!("`{other}` is neither `yes` nor `no`"))
                    .help("write `wait = yes` or `wait = no`");
                return None;
            }
        };
        Some(Word::new(text, word.span))
    }
}

#[cfg(test)]
mod tests {
    use super::{File, recognise, semicolon};

    #[test]
    fn an_entry_ends_at_its_semicolon() {
        for (text, lines) in [
            ("a on;\nb\n", Some(1)),
            ("a on user = root,\n wait = no;\nb\n", Some(2)),
            ("a off # c ;\n user = ';' ;\nb\n", Some(2)),
            ("a on user = root\nb stream tcp\n", Some(1)),
            ("a on user = root\n", Some(1)),
            ("a stream tcp", None),
        ] {
            let file = File::new("test", text.to_owned());
            assert_eq!(recognise(&file, 0), lines, "{text}");
        }
        assert_eq!(semicolon(r#""\";" ;"#), Some(6));
    }
}
