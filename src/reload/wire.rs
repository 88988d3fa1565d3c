//! The form in which what has been read gets to the server: records, each after its
//! length. What services share (accounts, attributes, long lists of addresses) is sent
//! once, before the first that has it, and named by its number, so that it is shared
//! again at the other end.

use std::collections::HashMap;
use std::io::{self, Write};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::plan::{Fate, SocketRef};
use super::steps::{From, LoadedFinding, Loading, Overview, Serve, ServiceChange, Step};
use crate::config::model::{
    Account, Action, Attributes, Awaited, Known as KnownName, LogFile, Names, Origin, Prefix,
    Service, SocketSpec, SocketType, TcpmuxName,
};

/// Bytes that are taken of one configuration: a hundred thousand services.
const MOST: usize = 64 << 20;
/// Addresses in one record: a long list comes in pieces, so that none takes long.
const PIECE: usize = 1024;

/// Where in its table something is.
type Number = u32;

#[derive(Serialize, Deserialize)]
enum WireRecord {
    Finding(LoadedFinding),
    LogFile(LogFile),
    /// The name of a file of configuration.
    File(String),
    Account(Account),
    /// A piece of a list of addresses; the last one ends it.
    Prefixes(Vec<Prefix>, WireEnd),
    /// Without its lists, whose numbers are beside it.
    Attributes(Box<Attributes>, Option<Number>, Option<Number>),
    Same {
        first: usize,
        count: usize,
    },
    Serve(Fate, Sent, Vec<From>, Vec<usize>),
    Hold {
        old: usize,
        sockets: Vec<SocketRef>,
    },
    Remove {
        old: usize,
        close: Vec<usize>,
    },
    /// What a name is.
    Name(String, KnownName),
    /// Nothing comes after it: errors, services, how many of them go on with
    /// something different, what it all comes to.
    End(usize, usize, usize, Overview),
}

#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq)]
struct WireEnd(bool);

#[derive(Serialize, Deserialize)]
enum Sent {
    Moved(WirePlace),
    New(Box<Definition>),
}

/// The number of the file, and the line.
#[derive(Serialize, Deserialize)]
struct WirePlace(Number, u32);

/// A service with numbers for what it shares.
#[derive(Serialize, Deserialize)]
struct Definition {
    label: String,
    id: Option<String>,
    name: Option<String>,
    origin: WirePlace,
    socket_type: SocketType,
    sockets: Vec<SocketSpec>,
    awaited: Vec<Awaited>,
    tcpmux: Option<TcpmuxName>,
    wait: bool,
    action: Action,
    account: Number,
    attributes: Number,
}

/// Writes what has been read.
pub struct Sender<W> {
    to: W,
    bytes: Vec<u8>,
    files: HashMap<Rc<str>, Number>,
    accounts: SentShared<Account>,
    attributes: SentShared<Attributes>,
    lists: SentShared<[Prefix]>,
}

/// What has been sent, by where it is. Kept, so that nothing else gets there.
struct SentShared<T: ?Sized>(HashMap<usize, (Number, Rc<T>)>);

impl<T: ?Sized> SentShared<T> {
    /// Its number, and whether it is new.
    fn number(&mut self, shared: &Rc<T>) -> (Number, bool) {
        let address = Rc::as_ptr(shared).cast::<u8>().addr();
        if let Some((known, _)) = self.0.get(&address) {
            return (*known, false);
        }
        let next = number(self.0.len());
        self.0.insert(address, (next, Rc::clone(shared)));
        (next, true)
    }
}

impl<W: Write> Sender<W> {
    /// To where it is written.
    #[must_use]
    pub fn new(to: W) -> Self {
        Self {
            to,
            bytes: Vec::new(),
            files: HashMap::new(),
            accounts: SentShared(HashMap::new()),
            attributes: SentShared(HashMap::new()),
            lists: SentShared(HashMap::new()),
        }
    }

    /// Sends all of it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn send(mut self, loading: Loading) -> io::Result<()> {
        let Loading { findings, errors, services, log_files, steps, updated, overview, names } =
            loading;
        for (name, known) in names {
            self.put(&WireRecord::Name(name, known))?;
        }
        for finding in findings {
            self.put(&WireRecord::Finding(finding))?;
        }
        for file in log_files {
            self.put(&WireRecord::LogFile(file))?;
        }
        for step in steps {
            let record = self.step(step)?;
            self.put(&record)?;
        }
        self.put(&WireRecord::End(errors, services, updated, overview))?;
        self.to.flush()
    }

    /// Sends at once what a name is.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn name(&mut self, name: String, known: KnownName) -> io::Result<()> {
        self.put(&WireRecord::Name(name, known))?;
        self.to.flush()
    }

    fn put(&mut self, record: &WireRecord) -> io::Result<()> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        self.bytes = postcard::to_extend(record, bytes).map_err(io::Error::other)?;
        let length = u32::try_from(self.bytes.len()).map_err(io::Error::other)?;
        self.to.write_all(&length.to_le_bytes())?;
        self.to.write_all(&self.bytes)
    }

    fn step(&mut self, step: Step) -> io::Result<WireRecord> {
        Ok(match step {
            Step::Same { first, count } => WireRecord::Same { first, count },
            Step::Hold { old, sockets } => WireRecord::Hold { old, sockets },
            Step::Remove { old, close } => WireRecord::Remove { old, close },
            Step::Serve(Serve { fate, what, sockets, close }) => {
                let sent = match what {
                    ServiceChange::Moved(origin) => Sent::Moved(self.place(&origin)?),
                    ServiceChange::New(service) => Sent::New(Box::new(self.definition(service)?)),
                };
                WireRecord::Serve(fate, sent, sockets, close)
            }
        })
    }

    /// The pattern makes the compiler ask about every new field.
    fn definition(&mut self, service: Rc<Service>) -> io::Result<Definition> {
        let Service {
            label,
            id,
            name,
            origin,
            socket_type,
            sockets,
            awaited,
            tcpmux,
            wait,
            action,
            account,
            attributes,
        } = Rc::unwrap_or_clone(service);
        Ok(Definition {
            label,
            id: id.map(|id| id.as_ref().to_owned()),
            name: name.map(|name| name.as_ref().to_owned()),
            origin: self.place(&origin)?,
            socket_type,
            sockets,
            awaited,
            tcpmux,
            wait,
            action,
            account: self.account(&account)?,
            attributes: self.attributes(&attributes)?,
        })
    }

    fn place(&mut self, origin: &Origin) -> io::Result<WirePlace> {
        if let Some(known) = self.files.get(&origin.file) {
            return Ok(WirePlace(*known, origin.line));
        }
        let next = number(self.files.len());
        self.files.insert(Rc::clone(&origin.file), next);
        self.put(&WireRecord::File(origin.file.to_string()))?;
        Ok(WirePlace(next, origin.line))
    }

    fn account(&mut self, account: &Rc<Account>) -> io::Result<Number> {
        let (number, is_new) = self.accounts.number(account);
        if is_new {
            self.put(&WireRecord::Account((**account).clone()))?;
        }
        Ok(number)
    }

    fn attributes(&mut self, attributes: &Rc<Attributes>) -> io::Result<Number> {
        let (number, is_new) = self.attributes.number(attributes);
        if is_new {
            let only_from = attributes.access.only_from.as_ref();
            let only_from = only_from.map(|list| self.list(list)).transpose()?;
            let no_access = &attributes.access.no_access;
            let no_access = (!no_access.is_empty()).then(|| self.list(no_access)).transpose()?;
            let without = without_lists(attributes);
            self.put(&WireRecord::Attributes(Box::new(without), only_from, no_access))?;
        }
        Ok(number)
    }

    fn list(&mut self, list: &Rc<[Prefix]>) -> io::Result<Number> {
        let (number, is_new) = self.lists.number(list);
        if is_new {
            let pieces = list.chunks(PIECE);
            let last = pieces.len().saturating_sub(1);
            for (n, piece) in pieces.enumerate() {
                self.put(&WireRecord::Prefixes(piece.to_vec(), WireEnd(n == last)))?;
            }
            if list.is_empty() {
                self.put(&WireRecord::Prefixes(Vec::new(), WireEnd(true)))?;
            }
        }
        Ok(number)
    }
}

fn without_lists(attributes: &Attributes) -> Attributes {
    // Cloning shares the lists; only then are they let go.
    let mut without = attributes.clone();
    (without.access.only_from, without.access.no_access) = (None, Rc::from([]));
    without
}

/// 2^32 of anything do not fit into the bytes that are taken.
fn number(index: usize) -> Number {
    Number::try_from(index).unwrap_or(Number::MAX)
}

fn index(number: Number) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Puts together what has been read from bytes as they come.
#[derive(Default)]
pub struct Receiver {
    /// The beginning of a record.
    rest: Vec<u8>,
    taken: usize,
    files: Vec<Rc<str>>,
    accounts: Vec<Rc<Account>>,
    attributes: Vec<Rc<Attributes>>,
    lists: Vec<Rc<[Prefix]>>,
    /// The pieces so far of a list.
    list: Vec<Prefix>,
    loading: Loading,
    ended: bool,
}

impl Receiver {
    /// Takes some more bytes.
    ///
    /// # Errors
    /// When there are too many, or they are not what [`Sender`] writes.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.taken = self.taken.saturating_add(bytes.len());
        if self.taken > MOST {
            return Err(format!("it is larger than {} MiB", MOST >> 20));
        }
        let mut whole = std::mem::take(&mut self.rest);
        whole.extend_from_slice(bytes);
        let mut left = whole.as_slice();
        while let Some((record, after)) = first_record(left) {
            let record = postcard::from_bytes(record).map_err(|error| error.to_string())?;
            self.add(record).ok_or("it names what it has not sent")?;
            left = after;
        }
        let used = whole.len().saturating_sub(left.len());
        whole.drain(..used);
        self.rest = whole;
        Ok(())
    }

    /// What names are, as far as that has come since it was last asked for.
    pub fn take_names(&mut self) -> Names {
        std::mem::take(&mut self.loading.names)
    }

    /// Everything, if nothing is missing.
    pub fn finish(&mut self) -> Option<Loading> {
        let complete = self.ended && self.rest.is_empty();
        complete.then(|| std::mem::take(self).loading)
    }

    fn add(&mut self, record: WireRecord) -> Option<()> {
        let loading = &mut self.loading;
        match record {
            WireRecord::Finding(finding) => loading.findings.push(finding),
            WireRecord::LogFile(file) => loading.log_files.push(file),
            WireRecord::Name(name, known) => _ = loading.names.insert(name, known),
            WireRecord::File(name) => self.files.push(name.into()),
            WireRecord::Account(account) => self.accounts.push(account.into()),
            WireRecord::Prefixes(piece, WireEnd(last)) => {
                self.list.extend(piece);
                if last {
                    self.lists.push(std::mem::take(&mut self.list).into());
                }
            }
            WireRecord::Attributes(mut attributes, only_from, no_access) => {
                let lists = &self.lists;
                let list = |number: Number| lists.get(index(number)).map(Rc::clone);
                if let Some(only_from) = only_from {
                    attributes.access.only_from = Some(list(only_from)?);
                }
                if let Some(no_access) = no_access {
                    attributes.access.no_access = list(no_access)?;
                }
                self.attributes.push(Rc::from(attributes));
            }
            WireRecord::Same { first, count } => loading.steps.push(Step::Same { first, count }),
            WireRecord::Hold { old, sockets } => loading.steps.push(Step::Hold { old, sockets }),
            WireRecord::Remove { old, close } => loading.steps.push(Step::Remove { old, close }),
            WireRecord::Serve(fate, sent, sockets, close) => {
                let what = match sent {
                    Sent::Moved(place) => ServiceChange::Moved(self.origin(&place)?),
                    Sent::New(definition) => ServiceChange::New(self.service(*definition)?),
                };
                self.loading.steps.push(Step::Serve(Serve { fate, what, sockets, close }));
            }
            WireRecord::End(errors, services, updated, overview) => {
                (loading.errors, loading.services) = (errors, services);
                (loading.updated, loading.overview) = (updated, overview);
                self.ended = true;
            }
        }
        Some(())
    }

    fn origin(&self, WirePlace(file, line): &WirePlace) -> Option<Origin> {
        Some(Origin { file: Rc::clone(self.files.get(index(*file))?), line: *line })
    }

    fn service(&self, definition: Definition) -> Option<Rc<Service>> {
        Some(Rc::new(Service {
            label: definition.label,
            id: definition.id.map(Rc::from),
            name: definition.name.map(Rc::from),
            origin: self.origin(&definition.origin)?,
            socket_type: definition.socket_type,
            sockets: definition.sockets,
            awaited: definition.awaited,
            tcpmux: definition.tcpmux,
            wait: definition.wait,
            action: definition.action,
            account: Rc::clone(self.accounts.get(index(definition.account))?),
            attributes: Rc::clone(self.attributes.get(index(definition.attributes))?),
        }))
    }
}

/// A record and what comes after it; none if it is not all there.
fn first_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
