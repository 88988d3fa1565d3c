//! Attributes whose values may stand in other files, before those are read: lists of addresses
//! (`@FILE`) and banners.

use std::net::Ipv4Addr;

use super::value::{Operator, Problem, Value};
use crate::config::diagnostic::Span;
use crate::config::model::{Prefix, parse_item};
use crate::config::text::words::Word;
use crate::net::vsock;

/// What has to be read before it can be used.
#[derive(Debug, Clone, Default)]
pub(crate) struct AccessSpec {
    /// `only_from`; None where nothing is said.
    pub(in crate::config) only_from: Option<List>,
    /// `no_access`, likewise.
    pub(in crate::config) no_access: Option<List>,
    /// `proxy_from`, likewise.
    pub(in crate::config) proxy_from: Option<List>,
    /// The pairs of `tls`.
    pub(in crate::config) tls: Vec<(Word, Word)>,
    /// The file of `tls_ca`.
    pub(in crate::config) tls_ca: Option<Word>,
    /// The file of `banner`.
    pub(crate) banner: Option<Word>,
    /// The file of `banner_success`.
    pub(crate) banner_success: Option<Word>,
    /// The file of `banner_fail`.
    pub(crate) banner_fail: Option<Word>,
}

/// What is said of a list.
#[derive(Debug, Clone)]
pub(in crate::config) struct List {
    /// In the order of the file.
    pub(in crate::config) changes: Vec<ListChange>,
    /// The last setting that is about it.
    pub(in crate::config) last: LastEmptied,
}

/// What a list that ends empty can be laid at the door of.
#[derive(Debug, Clone)]
pub(in crate::config) struct LastEmptied {
    pub(in crate::config) place: Span,
    pub(in crate::config) removes: bool,
}

/// One `+=` or `-=` of a list.
#[derive(Debug, Clone)]
pub(in crate::config) struct ListChange {
    pub(in crate::config) remove: bool,
    pub(in crate::config) item: ListItem,
}

#[derive(Debug, Clone)]
pub(in crate::config) enum ListItem {
    Prefixes(Vec<Prefix>),
    /// `vsock:CID`.
    Machine(u32),
    /// `@FILE`, the sign included.
    File(Word),
}

impl AccessSpec {
    /// `only_from` with any operator.
    pub(in crate::config) fn change_only_from(&mut self, value: &Value<'_>) -> Result<(), Problem> {
        change(&mut self.only_from, value)
    }

    /// `no_access` with any operator.
    pub(in crate::config) fn change_no_access(&mut self, value: &Value<'_>) -> Result<(), Problem> {
        change(&mut self.no_access, value)
    }

    /// `proxy_from` with any operator; a machine is no proxy.
    pub(in crate::config) fn change_proxy_from(
        &mut self,
        value: &Value<'_>,
    ) -> Result<(), Problem> {
        if let Some(word) = value.words.iter().find(|word| word.text.starts_with(vsock::PREFIX)) {
            let message = "no PROXY header comes over a virtual socket";
            return Err(Problem::new(&word.span, message, "write addresses and prefixes"));
        }
        change(&mut self.proxy_from, value)
    }
}

/// Whoever takes away from a list that nobody has begun has spoken of it, too: it is empty,
/// which is nobody. Were it none, `only_from -= ADDRESS` would let everybody in.
fn change(list: &mut Option<List>, value: &Value<'_>) -> Result<(), Problem> {
    let removes = value.operator == Operator::Remove;
    let changes =
        value.words.iter().map(|word| Ok(ListChange { remove: removes, item: item(word)? }));
    let changes = changes.collect::<Result<Vec<_>, Problem>>()?;
    let last = LastEmptied { place: value.place.clone(), removes };
    let known = list.take().filter(|_| value.operator != Operator::Set);
    let mut all = known.map(|list| list.changes).unwrap_or_default();
    all.extend(changes);
    *list = Some(List { changes: all, last });
    Ok(())
}

fn item(word: &Word) -> Result<ListItem, Problem> {
    if let Some(name) = word.text.strip_prefix('@') {
        if name.is_empty() {
            let help = "write `@/etc/friends`, a file with one address or prefix a line";
            return Err(Problem::new(&word.span, "the name of the file is missing", help));
        }
        return Ok(ListItem::File(word.clone()));
    }
    if let Some(cid) = word.text.strip_prefix(vsock::PREFIX) {
        return vsock::number(cid).map(ListItem::Machine).ok_or_else(|| {
            let help = "write `vsock:CID`, a number: 1 is this machine itself, 2 its host";
            Problem::new(&word.span, format!("`{cid}` is not a CID"), help)
        });
    }
    parse_item(&word.text).map(ListItem::Prefixes).map_err(|message| match of_others(&word.text) {
        Some(help) => Problem::new(&word.span, format!("`{}` is not an address", word.text), help),
        None => wrong(&word.span, message),
    })
}

/// What others write for many addresses, and how that is written here.
fn of_others(text: &str) -> Option<String> {
    if ["*", "all", "any", "everybody"].contains(&text.to_ascii_lowercase().as_str()) {
        return Some("everybody is `0.0.0.0/0 ::/0`".to_owned());
    }
    if let Some((address, mask)) = text.split_once('/') {
        let (address, mask) = (address.parse::<Ipv4Addr>().ok()?, mask.parse::<Ipv4Addr>().ok()?);
        let ones = mask.to_bits().leading_ones();
        let is_mask = ones == mask.to_bits().count_ones();
        return is_mask.then(|| format!("write `{address}/{ones}`"));
    }
    // `10.1.*`, and `10.1.` in rules of TCP wrappers.
    let mut numbers: Vec<&str> = text.trim_end_matches(['*', '.']).split('.').collect();
    let given = numbers.len();
    let is_short = text.ends_with(['*', '.']) && given < 4;
    numbers.resize(4, "0");
    let address = numbers.join(".").parse::<Ipv4Addr>().ok().filter(|_| is_short)?;
    Some(format!("write `{address}/{}`", given * 8))
}

pub(in crate::config) fn wrong(span: &Span, message: String) -> Problem {
    let help = if message.contains("host names") {
        "a name means what a name server says; write addresses, or put `tcpd` before the program"
    } else {
        "write addresses and prefixes: `192.0.2.7 10.0.0.0/8 2001:db8::/32 10.1.{2,3}`"
    };
    Problem::new(span, message, help)
}
