//! What an attribute is, and what it is read into and printed from.

use std::fmt;

use super::lists::AccessSpec;
use super::redirect::Redirect;
use super::value::{Problem, Value};
use crate::config::facts::Lookup;
use crate::config::model::{Attributes, Service};
use crate::config::text::words::Word;

/// What an attribute has an effect on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Every service.
    Every,
    /// Those that run a program.
    Program,
    /// Those that take connections one by one (`nowait`).
    Nowait,
    /// Those whose clients have IP addresses.
    Source,
    /// Those that take connections of streams one by one.
    Connection,
    /// Those that have clients queue for them (streams and sequenced packets).
    Listening,
    /// Those that have a socket of their own.
    Socket,
    /// Those on IPv4 or IPv6.
    Inet,
    /// Streams on IPv4 or IPv6.
    Tcp,
    /// Those on a unix socket in the file system.
    UnixPath,
    /// Programs that have a connection.
    Connected,
    /// Those whose connections are seen to move: over TCP, and what the server serves itself.
    Moving,
    /// Programs that have a connection of a stream of their own, at whose end is a terminal.
    Terminal,
    /// Built-in services that answer datagrams of IPv4 or IPv6.
    Answers,
    /// Those before whose data something may stand: streams of TCP and of unix sockets.
    Fronted,
    /// Relays.
    Relayed,
}

/// Everything that settings say, before names are looked up.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    /// What is in the model as it is.
    pub(crate) attributes: Attributes,
    /// `interface`.
    pub(crate) interface: Option<Word>,
    /// `group`.
    pub(crate) group: Option<Word>,
    /// `groups`.
    pub(crate) groups: bool,
    /// `socket_user`.
    pub(crate) socket_user: Option<Word>,
    /// `socket_group`.
    pub(crate) socket_group: Option<Word>,
    /// `v6only`.
    pub(crate) v6only: bool,
    /// `redirect`.
    pub(crate) redirect: Option<Redirect>,
    /// Whether something was said of `stderr`.
    pub(crate) is_stderr_said: bool,
    /// `disable`.
    pub(crate) disable: bool,
    /// What has to be read from files.
    pub(crate) said: AccessSpec,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            attributes: Attributes::default(),
            interface: None,
            group: None,
            groups: true,
            socket_user: None,
            socket_group: None,
            v6only: false,
            redirect: None,
            is_stderr_said: false,
            disable: false,
            said: AccessSpec::default(),
        }
    }
}

/// What a printer may look at.
pub(crate) struct Shown<'a> {
    /// The service to print.
    pub(crate) service: &'a Service,
    /// Whether it is one of the disabled.
    pub(crate) disabled: bool,
    /// For the names of numbers.
    pub(crate) lookup: &'a dyn Lookup,
    /// What holds where nothing is said.
    pub(super) defaults: Attributes,
}

impl<'a> Shown<'a> {
    /// A service and whether it is disabled.
    pub(crate) fn new(service: &'a Service, disabled: bool, lookup: &'a dyn Lookup) -> Self {
        Self { service, disabled, lookup, defaults: Attributes::default() }
    }
}

/// How a value is written into a draft.
pub(super) type Setter = fn(&mut Draft, &Value<'_>) -> Result<(), Problem>;
/// How a value is printed; None where it is the default.
pub(super) type Printer = fn(&Shown<'_>) -> Option<String>;

/// How a value is read and printed.
pub(super) struct How {
    pub(super) set: Setter,
    pub(super) print: Printer,
}

/// One line of the table.
pub struct Attribute {
    /// Its name.
    pub name: &'static str,
    /// Other names for it.
    pub aliases: &'static [&'static str],
    /// What a value looks like.
    pub value: &'static str,
    /// What holds where nothing is said.
    pub default: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
    /// Whether `+=` and `-=` mean something besides `=`.
    pub list: bool,
    /// What it has an effect on.
    pub scope: Scope,
    /// Whether something that it narrows would be wide open without it: where its line is wrong
    /// and holds for others, those are not served, whatever else a mistake may cost.
    pub(super) narrows: bool,
    /// Whether xinetd does not know it, and nobody is safer for it.
    pub(super) harmless: bool,
    pub(super) how: How,
}

impl fmt::Debug for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Attribute {
    /// Writes a value into a draft.
    pub(crate) fn set(&self, draft: &mut Draft, value: &Value<'_>) -> Result<(), Problem> {
        (self.how.set)(draft, value)
    }

    /// Whether a wrong value may be passed over in a file of xinetd, which does so.
    pub(crate) fn is_ours_and_harmless(&self) -> bool {
        self.harmless
    }

    /// The value to print; None where it is the default.
    pub(crate) fn print(&self, shown: &Shown<'_>) -> Option<String> {
        (self.how.print)(shown)
    }
}
