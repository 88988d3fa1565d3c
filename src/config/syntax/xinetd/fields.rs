//! The attributes of a block that are fields of a line: what it listens on and
//! what it runs, and the flags and types that choose between them.

use super::block::{Block, BlockLine};
use super::converter::{Converter, setting};
use crate::config::attribute::quantity::digits;
use crate::config::diagnostic::suggest::{did_you_mean, one_of};
use crate::config::syntax::entry::{Setting, Withhold};
use crate::config::text::words::Word;

/// The words of `type`.
const TYPES: [&str; 6] = ["RPC", "INTERNAL", "TCPMUX", "TCPMUXPLUS", "UNLISTED", "SPECIAL"];
/// The words of `flags`.
const FLAGS: [&str; 13] = [
    "REUSE",
    "INTERCEPT",
    "NORETRY",
    "IDONLY",
    "NAMEINARGS",
    "NODELAY",
    "KEEPALIVE",
    "NOLIBWRAP",
    "SENSOR",
    "IPv4",
    "IPv6",
    "LABELED",
    "DISABLE",
];

/// The fields of one entry.
pub(super) struct BlockFields {
    pub(super) endpoint: Word,
    pub(super) socket_type: Word,
    pub(super) protocol: Word,
    pub(super) wait: Word,
    pub(super) user: Word,
    pub(super) program: Word,
    pub(super) arguments: Vec<Word>,
    /// What flags say that attributes can say too.
    pub(super) implied: Vec<Setting>,
    /// Whether `bind` names all addresses of both families.
    pub(super) any_address: bool,
    /// Whether the service is not served, by what was warned of.
    pub(super) withheld: Withhold,
}

/// A block on its way to fields.
pub(super) struct BlockReader<'c, 'a, 'b> {
    pub(super) converter: &'c mut Converter<'a>,
    pub(super) block: &'b Block,
    pub(super) disabled: bool,
    /// Whether something that every service needs is not there.
    incomplete: bool,
}

impl BlockFields {
    /// Reads the fields of a block; what is wrong or missing is reported.
    pub(super) fn read(converter: &mut Converter<'_>, block: &Block, disabled: bool) -> Self {
        let mut reading = BlockReader { converter, block, disabled, incomplete: false };
        reading.words_are_known("type", &TYPES);
        reading.words_are_known("flags", &FLAGS);
        let withheld = reading.withheld();
        let refused = reading.is_list_of_services();
        let fields = reading.fields();
        let unknown = refused || reading.incomplete;
        let withheld = if unknown { Withhold::Unresolved } else { withheld };
        Self { withheld, ..fields }
    }
}

impl BlockReader<'_, '_, '_> {
    fn fields(&mut self) -> BlockFields {
        let block = self.block;
        let internal = self.is("type", "INTERNAL");
        let relay = block.get("redirect").is_some();
        let socket_type = self.socket_type();
        let stream = socket_type.text != "dgram";
        let (protocol, any_address) = self.protocol(&socket_type);
        let wait = self.wait(internal, stream);
        let (user, program, arguments) = match (internal, relay) {
            (true, _) => {
                (self.word("-"), self.word("internal"), block.name.iter().cloned().collect())
            }
            (false, true) => {
                let user = self.only("user").unwrap_or_else(|| self.word("-"));
                (user, self.word("internal"), Vec::new())
            }
            (false, false) => {
                let user = self.required("user", "nobody");
                let program = self.program();
                let arguments = self.arguments(&program);
                (user, program, arguments)
            }
        };
        let flag = |flag: &str, name: &str| {
            let word = block.all("flags").find(|word| word.text.eq_ignore_ascii_case(flag))?;
            setting(name, &["yes"], &word.span)
        };
        let tcp = protocol.text.starts_with("tcp");
        let options = [flag("NODELAY", "nodelay"), flag("KEEPALIVE", "keepalive")];
        BlockFields {
            endpoint: self.endpoint(&protocol),
            socket_type,
            protocol,
            wait,
            user,
            program,
            arguments,
            implied: options.into_iter().flatten().filter(|_| tcp).collect(),
            any_address,
            withheld: Withhold::No,
        }
    }

    /// A word that nobody wrote, with the block as its place.
    fn word(&self, text: &str) -> Word {
        Word::new(text, self.block.head.clone())
    }

    /// Whether a word is among those of an attribute, in any case.
    pub(super) fn is(&self, attribute: &str, word: &str) -> bool {
        self.block.all(attribute).any(|line| line.text.eq_ignore_ascii_case(word))
    }

    fn words_are_known(&mut self, attribute: &str, known: &[&'static str]) {
        for word in self.block.all(attribute) {
            if known.iter().any(|name| word.text.eq_ignore_ascii_case(name)) {
                continue;
            }
            let help = one_of(&word.text, known.iter().copied());
            let what = if attribute == "flags" { "flag" } else { "type" };
            self.converter
                .report
                .error(&word.span, format!("unknown {what} `{}`", word.text))
                .help(help);
        }
    }

    /// The only word of an attribute; None where it is not there.
    fn only(&self, name: &str) -> Option<Word> {
        self.block.get(name)?.values.first().cloned()
    }

    /// The same, of an attribute that every service needs.
    fn required(&mut self, name: &str, usual: &str) -> Word {
        if let Some(word) = self.only(name) {
            return word;
        }
        if self.block.get(name).is_none() {
            self.incomplete = true;
            if !self.disabled && !self.is_unread() && !self.block.names(name) {
                let service = self.block.name.as_ref().map_or("", |name| name.text.as_str());
                self.converter
                    .report
                    .error(
                        &self.block.head,
                        format!("the attribute `{name}` is missing in the block of `{service}`"),
                    )
                    .help(format!("add something like `{name} = {usual}`"));
            }
        }
        self.word(usual)
    }

    /// What is said, or what goes with the protocol.
    fn socket_type(&mut self) -> Word {
        if self.block.get("socket_type").is_none()
            && let Some(protocol) = self.block.get("protocol").and_then(|line| line.values.first())
        {
            let goes = if protocol.text.eq_ignore_ascii_case("udp") { "dgram" } else { "stream" };
            return Word::new(goes, protocol.span.clone());
        }
        let mut word = self.required("socket_type", "stream");
        word.text.make_ascii_lowercase();
        word
    }

    /// The protocol with its families, and whether `bind` means every address.
    fn protocol(&mut self, socket_type: &Word) -> (Word, bool) {
        let line = self.only("protocol");
        let default = if socket_type.text == "dgram" { "udp" } else { "tcp" };
        let (name, span) = match &line {
            // The names of protocols(5), whose other names are in capitals.
            Some(word) if word.text == "TCP" => ("tcp", word.span.clone()),
            Some(word) if word.text == "UDP" => ("udp", word.span.clone()),
            // Number 0: whatever goes with the type.
            Some(word) if matches!(word.text.as_str(), "ip" | "IP") => (default, word.span.clone()),
            Some(word) => (word.text.as_str(), word.span.clone()),
            None => (default, self.block.head.clone()),
        };
        if !matches!(name, "tcp" | "udp") {
            let help = match name {
                "tcp6" | "udp6" => "write `tcp` or `udp`, and `flags = IPv6`".to_owned(),
                _ => "there are `tcp` and `udp`".to_owned(),
            };
            self.converter
                .report
                .error(&span, format!("protocol `{name}` is not supported"))
                .help(help);
            return (Word::new(default, span), false);
        }
        let v6only = self.v6only();
        let four = self.is("flags", "IPv4") && !self.is("flags", "IPv6");
        let family = match (v6only, four) {
            (true, _) => "6",
            (false, true) => "4",
            (false, false) => "",
        };
        let other = |word: &&Word| four && !v6only && word.text != "::" && word.text.contains(':');
        if let Some(bound) = self.bind().filter(other).cloned() {
            self.converter
                .report
                .error(&bound.span, format!("`{}` is not IPv4, which `flags` say", bound.text))
                .help("take `IPv4` out of `flags`, or write an IPv4 address");
            return (Word::new(name, span), false);
        }
        let any_address = !v6only && self.bind().is_some_and(|word| word.text == "::");
        (Word::new(&format!("{name}{family}"), span), any_address)
    }

    /// What to listen on: the first that the block says, or what holds by default.
    fn bind(&self) -> Option<&Word> {
        let is_bind = |line: &&BlockLine| matches!(line.name.text.as_str(), "bind" | "interface");
        match self.block.lines.iter().find(is_bind) {
            Some(line) => line.values.first(),
            None => self.converter.default("interface")?.values.first(),
        }
    }

    fn v6only(&mut self) -> bool {
        let word = match self.block.get("v6only") {
            Some(_) => self.only("v6only"),
            None => self.converter.v6only.as_ref().and_then(|line| line.values.first().cloned()),
        };
        word.and_then(|word| self.yes_no(&word)).unwrap_or(false)
    }

    fn yes_no(&mut self, word: &Word) -> Option<bool> {
        match word.text.to_ascii_lowercase().as_str() {
            "yes" => Some(true),
            "no" => Some(false),
            _ => {
                self.converter
                    .report
                    .error(&word.span, format!("`{}` is neither `yes` nor `no`", word.text))
                    .help("write `yes` or `no`");
                None
            }
        }
    }

    /// `wait` or `nowait`; built-in services have no choice.
    fn wait(&mut self, internal: bool, stream: bool) -> Word {
        let word = self.required("wait", if stream { "no" } else { "yes" });
        let line = self.yes_no(&word);
        let wait = if internal { !stream } else { line.unwrap_or(!stream) };
        Word::new(if wait { "wait" } else { "nowait" }, word.span)
    }

    fn program(&mut self) -> Word {
        let word = self.required("server", "/usr/sbin/PROGRAM");
        if !word.text.starts_with('/') {
            self.converter
                .report
                .error(&word.span, format!("`{}` is not an absolute path", word.text))
                .help("write the path of the program from `/` on");
            return Word::missing(word.span);
        }
        word
    }

    /// argv: its first word is the program's name, or stands in `server_args`.
    fn arguments(&mut self, program: &Word) -> Vec<Word> {
        let line = self.block.get("server_args");
        let words = line.map(|line| line.values.clone()).unwrap_or_default();
        if !self.is("flags", "NAMEINARGS") {
            let base = program.text.rsplit('/').next().unwrap_or(&program.text);
            let first = Word::new(base, program.span.clone());
            return std::iter::once(first).chain(words).collect();
        }
        if words.is_empty() {
            let flag =
                self.block.all("flags").find(|word| word.text.eq_ignore_ascii_case("NAMEINARGS"));
            let span = flag.map_or(&self.block.head, |word| &word.span);
            self.converter
                .report
                .error(span, "`NAMEINARGS` takes argv[0] from `server_args`, which is missing")
                .help("write `server_args = NAME ARGUMENTS`, or take the flag out");
        }
        words
    }

    /// What `port` says: a number and nothing else, whatever an endpoint can be elsewhere.
    fn port(&mut self) -> Option<Word> {
        let word = self.only("port")?;
        if digits(word.text.strip_prefix('+').unwrap_or(&word.text)).is_some() {
            return Some(word);
        }
        self.converter
            .report
            .error(&word.span, format!("`{}` is not the number of a port", word.text))
            .help("write a number from 1 to 65535; `bind` says at which address");
        Some(Word::missing(word.span))
    }

    /// The service field: a name of tcpmux, a port, or a name of the services database.
    fn endpoint(&mut self, protocol: &Word) -> Word {
        let Some(name) = self.block.name.clone() else { return self.word("") };
        let plus = self.is("type", "TCPMUXPLUS");
        if plus || self.is("type", "TCPMUX") {
            let sign = if plus { "+" } else { "" };
            return Word::new(&format!("tcpmux/{sign}{}", name.text), name.span);
        }
        if self.is("type", "RPC") {
            return name;
        }
        let port = self.port();
        let protocol = if protocol.text.starts_with("udp") { "udp" } else { "tcp" };
        let listed = self.converter.lookup.service(&name.text, protocol).map(|facts| facts.port);
        let line = port.as_ref().and_then(|port| digits(&port.text));
        if self.is("type", "UNLISTED") {
            // The database is not asked, whatever it says of that name or that port.
            return port.unwrap_or_else(|| self.required("port", "9999"));
        }
        match (listed, port) {
            (None, port) => {
                self.unlisted(&name, protocol);
                port.unwrap_or(name)
            }
            // A text for another machine, and this one does not know the name.
            (Some(0), _) => name,
            (Some(listed), Some(port)) if line != Some(u64::from(listed)) => {
                self.converter
                    .report
                    .error(
                        &port.span,
                        format!("the services database says {listed} for `{}`", name.text),
                    )
                    .help(format!(
                        "write `port = {listed}`, or `type = UNLISTED` to have another one"
                    ));
                name
            }
            (Some(_), _) => name,
        }
    }

    /// Whether nothing of the block could be read, and why that is so has been said.
    fn is_unread(&self) -> bool {
        self.block.broken && self.block.lines.is_empty()
    }

    fn unlisted(&mut self, name: &Word, protocol: &str) {
        self.incomplete = true;
        if self.is_unread() {
            return;
        }
        let known = self.converter.lookup.service_names(protocol);
        let help = did_you_mean(&name.text, known.iter().map(String::as_str), || {
            "write `type = UNLISTED` and `port = NUMBER`, or add it to /etc/services".to_owned()
        });
        self.converter
            .report
            .warning(
                &name.span,
                format!("the services database has no `{}` for {protocol}: not served", name.text),
            )
            .help(help);
    }
}
