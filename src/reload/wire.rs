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
    Account, Attributes, Known as KnownName, LogFile, Names, Origin, Prefix, Service,
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
    Account(Rc<Account>),
    /// A piece of a list of addresses; the last one ends it.
    Prefixes(Vec<Prefix>, WireEnd),
    /// Without their lists of addresses, whose numbers are beside them.
    Attributes(Rc<Attributes>, [Option<Number>; 3]),
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
    /// Without what it shares: the numbers of its account and its attributes.
    New(Rc<Service>, WirePlace, Number, Number),
}

/// The number of the file, and the line.
#[derive(Serialize, Deserialize)]
struct WirePlace(Number, u32);

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
                    ServiceChange::New(service) => {
                        let place = self.place(&service.origin)?;
                        let account = self.account(&service.account)?;
                        let attributes = self.attributes(&service.attributes)?;
                        Sent::New(service, place, account, attributes)
                    }
                };
                WireRecord::Serve(fate, sent, sockets, close)
            }
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
            self.put(&WireRecord::Account(Rc::clone(account)))?;
        }
        Ok(number)
    }

    fn attributes(&mut self, attributes: &Rc<Attributes>) -> io::Result<Number> {
        let (number, is_new) = self.attributes.number(attributes);
        if is_new {
            let Attributes { access, front, .. } = &**attributes;
            let said = |list: &Rc<[Prefix]>| (!list.is_empty()).then(|| Rc::clone(list));
            let lists =
                [access.only_from.clone(), said(&access.no_access), said(&front.proxy_from)];
            let mut numbers = [None; 3];
            for (list, number) in lists.iter().zip(&mut numbers) {
                *number = list.as_ref().map(|list| self.list(list)).transpose()?;
            }
            self.put(&WireRecord::Attributes(Rc::clone(attributes), numbers))?;
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
            WireRecord::Account(account) => self.accounts.push(account),
            WireRecord::Prefixes(piece, WireEnd(last)) => {
                self.list.extend(piece);
                if last {
                    self.lists.push(std::mem::take(&mut self.list).into());
                }
            }
            WireRecord::Attributes(mut attributes, [only_from, no_access, proxy_from]) => {
                let list = |number: Option<Number>| match number {
                    Some(number) => self.lists.get(index(number)).map(|list| Some(Rc::clone(list))),
                    None => Some(None),
                };
                let Attributes { access, front, .. } = Rc::make_mut(&mut attributes);
                access.only_from = list(only_from)?;
                access.no_access = list(no_access)?.unwrap_or_default();
                front.proxy_from = list(proxy_from)?.unwrap_or_default();
                self.attributes.push(attributes);
            }
            WireRecord::Same { first, count } => loading.steps.push(Step::Same { first, count }),
            WireRecord::Hold { old, sockets } => loading.steps.push(Step::Hold { old, sockets }),
            WireRecord::Remove { old, close } => loading.steps.push(Step::Remove { old, close }),
            WireRecord::Serve(fate, sent, sockets, close) => {
                let what = match sent {
                    Sent::Moved(place) => ServiceChange::Moved(self.origin(&place)?),
                    Sent::New(mut service, place, account, attributes) => {
                        let new = Rc::make_mut(&mut service);
                        new.origin = self.origin(&place)?;
                        new.account = Rc::clone(self.accounts.get(index(account))?);
                        new.attributes = Rc::clone(self.attributes.get(index(attributes))?);
                        ServiceChange::New(service)
                    }
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
}

/// A record and what comes after it; none if it is not all there.
fn first_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
