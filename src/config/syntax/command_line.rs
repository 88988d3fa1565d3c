//! `oxinetd run`: one service said on the command line, without a file.

use std::ffi::OsString;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use super::address::has_address;
use super::entry::{Entry, Indented, Setting, Withhold, indented};
use crate::config::diagnostic::COMMAND_LINE;
use crate::config::diagnostic::report::Report;
use crate::config::facts::Lookup;
use crate::config::model::Origin;
use crate::config::text::source::File;
use crate::config::text::words::{Word, quote};
use crate::net::vsock::is_vsock;

/// What stands behind `oxinetd run`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunSpec {
    /// `8080`, `http`, `*:8080`, `ADDR:PORT`, `LO-HI`, a path, `@name` or `vsock:PORT`. Without an
    /// address, only this machine itself can connect.
    pub endpoint: String,
    /// Datagrams instead of streams.
    pub udp: bool,
    /// `NAME=VALUE`: every attribute, and `wait` and `user`.
    pub options: Vec<String>,
    /// The files of a certificate and of its key: the attribute `tls`.
    pub tls: Option<(String, String)>,
    /// The program and its arguments; `argv[0]` is as it is written.
    pub command: Vec<OsString>,
}

/// What is said with `-o` and is a field of a line.
#[derive(Default)]
struct Pseudo {
    wait: Option<Word>,
    user: Option<Word>,
}

/// The entry that a command line stands for; none where nothing is named that could serve.
pub(in crate::config) fn entry_of(
    spec: &RunSpec,
    lookup: &dyn Lookup,
    report: &mut Report,
) -> Option<Entry> {
    report.opened(COMMAND_LINE);
    let has_tls = spec.tls.is_some();
    let spec = &with_tls(spec);
    let (file, places) = written(spec);
    let word = |index: usize, text: &str| {
        let range = places.get(index).cloned().unwrap_or(0..0);
        Word::new(text, file.span(range))
    };
    let mut pseudo = Pseudo::default();
    let mut settings = Vec::new();
    for (index, option) in spec.options.iter().enumerate() {
        let range = places.get(index + 1).cloned().unwrap_or(0..0);
        if has_tls && index > 0 && sets_tls(option) {
            report
                .error(&file.span(range.clone()), "`--tls` has said which certificate it is")
                .help("say one of the two; `-o tls+='CERT KEY'` adds one for another name");
        }
        settings.extend(self::option(option, &file, range, &mut pseudo, report));
    }
    let first = 1 + spec.options.len();
    // A relay is no program, and there is no other word for it.
    let relays = settings.iter().any(|setting: &Setting| setting.name.text == "redirect");
    let words: Vec<Word> = spec
        .command
        .iter()
        .enumerate()
        .map(|(index, os)| Word {
            os: os.clone(),
            quoted: index > 0 || !relays,
            ..word(first + index, &os.to_string_lossy())
        })
        .collect();
    let Some(program) = words.first() else {
        report
            .error(&word(0, "").span, "no program is named")
            .help("write `oxinetd run 8080 -- date`");
        return None;
    };
    if let Some((what, help)) = mistaken(&spec.endpoint) {
        report.error(&word(0, &spec.endpoint).span, what).help(help);
        return None;
    }
    let broken = report.errors() > 0;
    let fixed = |text: &str| word(0, text);
    Some(Entry { settings, broken, ..entry(spec, program, &words, &fixed, pseudo, lookup) })
}

/// The same with `tls` among the options.
fn with_tls(spec: &RunSpec) -> RunSpec {
    let pair = spec.tls.iter();
    let said =
        pair.map(|(own, key)| format!("tls={} {}", quote(own.as_ref()), quote(key.as_ref())));
    RunSpec { options: said.chain(spec.options.iter().cloned()).collect(), ..spec.clone() }
}

/// Whether an option says anew which certificates there are.
fn sets_tls(option: &str) -> bool {
    option.split_once('=').is_some_and(|(name, _)| name.trim() == "tls")
}

/// What other programs call an endpoint, and what it is here.
fn mistaken(endpoint: &str) -> Option<(String, String)> {
    if let Some((scheme, rest)) = endpoint.split_once(':') {
        let rest = rest.trim_start_matches("//");
        let help = match scheme.to_ascii_lowercase().trim_end_matches(['4', '6']) {
            "tcp" | "tcp-listen" => format!("TCP is what is meant without a word: write `{rest}`"),
            "udp" | "udp-listen" => format!("write `--udp {rest}`"),
            "unix" | "unix-listen" | "local" => format!("a path is enough: write `{rest}`"),
            _ => return None,
        };
        return Some((format!("`{scheme}` is no address"), help));
    }
    // No service is called so, and no number is written so but an address without its port.
    let is_name = endpoint.contains('.') && !endpoint.contains(['/', '@', '*']);
    let is_number = endpoint.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    (is_name && !is_number).then(|| {
        let help =
            format!("write `./{endpoint}` for a unix socket, or `{endpoint}:PORT` for a host");
        (format!("`{endpoint}` is neither a port nor a path"), help)
    })
}

/// The same but for its settings; `fixed` makes words it leaves unsaid.
fn entry(
    spec: &RunSpec,
    program: &Word,
    words: &[Word],
    fixed: &dyn Fn(&str) -> Word,
    pseudo: Pseudo,
    lookup: &dyn Lookup,
) -> Entry {
    let text = spec.endpoint.as_str();
    let unix = text.starts_with(['/', '@']) || text.starts_with(':') && text.contains(":/");
    let vsock = is_vsock(text);
    let (socket_type, protocol, wait) = match (unix, spec.udp) {
        _ if vsock => (if spec.udp { "dgram" } else { "stream" }, "vsock", "nowait"),
        (true, false) => ("stream", "unix", "nowait"),
        (true, true) => ("dgram", "unix", "wait"),
        (false, false) => ("stream", "tcp", "nowait"),
        (false, true) => ("dgram", "udp", "nowait"),
    };
    let loopback = if lookup.has_ipv6() { "127.0.0.1,[::1]" } else { "127.0.0.1" };
    Entry {
        origin: Origin { file: Rc::from(COMMAND_LINE), line: 0 },
        id: None,
        name: None,
        endpoint: fixed(text),
        default_address: (!unix && !vsock && !has_address(text)).then(|| fixed(loopback)),
        socket_type: fixed(socket_type),
        protocol: fixed(protocol),
        wait: pseudo.wait.unwrap_or_else(|| fixed(wait)),
        user: pseudo.user.unwrap_or_else(|| fixed("-")),
        program: program.clone(),
        arguments: words.iter().skip(usize::from(!program.quoted)).cloned().collect(),
        settings: Vec::new(),
        defaults: Rc::from([]),
        broken: false,
        why: None,
        because: Rc::from([]),
        off: false,
        families: None,
        withheld: Withhold::No,
    }
}

/// The command line as a text that findings can point into, with the place of
/// the endpoint, of each option and of each word of the command.
fn written(spec: &RunSpec) -> (File, Vec<Range<usize>>) {
    let mut text = String::from("oxinetd run");
    let mut places = Vec::new();
    let add = |text: &mut String, word: &str| {
        text.push(' ');
        let start = text.len();
        text.push_str(word);
        start..text.len()
    };
    for option in &spec.options {
        add(&mut text, "-o");
        places.push(add(&mut text, option));
    }
    if spec.udp {
        add(&mut text, "--udp");
    }
    places.insert(0, add(&mut text, &spec.endpoint));
    add(&mut text, "--");
    for word in &spec.command {
        let plain = word.as_bytes().iter().all(u8::is_ascii_graphic);
        let word = if plain { word.to_string_lossy().into_owned() } else { quote(word) };
        places.push(add(&mut text, &word));
    }
    (File::new(COMMAND_LINE, text), places)
}

/// One `-o`.
fn option(
    text: &str,
    file: &File,
    range: Range<usize>,
    pseudo: &mut Pseudo,
    report: &mut Report,
) -> Option<Setting> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    let (name, value) = (name.trim(), value.trim());
    let place = file.span(range.start + text.len() - value.len()..range.end);
    match name {
        "user" => pseudo.user = Some(Word::new(value, place)),
        "wait" => match value {
            "yes" => pseudo.wait = Some(Word { quoted: true, ..Word::new("wait", place) }),
            "no" => pseudo.wait = Some(Word { quoted: true, ..Word::new("nowait", place) }),
            _ => {
                report
                    .error(&place, format!("`{value}` is neither `yes` nor `no`"))
                    .help("write `-o wait=yes` or `-o wait=no`");
            }
        },
        _ => match indented(file, range.clone(), report) {
            Indented::Setting(setting) => return Some(setting),
            Indented::Wrong => {}
            Indented::Words(_) => {
                report
                    .error(&file.span(range), format!("`{text}` is not NAME=VALUE"))
                    .help("write something like `-o instances=20`");
            }
        },
    }
    None
}

#[cfg(test)]
mod tests;
