//! `redirect` as it is said, before names are looked up.

use std::os::unix::ffi::OsStrExt as _;

use super::value::{Problem, Value};
use crate::config::text::words::Word;
use crate::net::vsock::{self, VsockAddress, is_vsock};

/// The longest path and abstract name: sun_path has 108 bytes, one of them NUL.
const LONGEST_NAME: usize = 107;

/// The value of `redirect`, before names are looked up.
#[derive(Debug, Clone)]
pub(crate) enum Redirect {
    /// `HOST PORT`.
    Inet { host: Word, port: Word },
    /// `/path` or `@name`.
    Unix(Word),
    /// `vsock:CID:PORT`.
    Vsock(VsockAddress, Word),
}

impl Redirect {
    /// Two words, or one that names a unix socket.
    pub(crate) fn read(value: &Value<'_>) -> Result<Self, Problem> {
        let help = format!("a value is {}", value.form);
        match value.words {
            [] => Err(Problem::new(value.place, "the value is missing", help)),
            [one] if one.text.starts_with(['/', '@']) => unix(one),
            [one] if is_vsock(&one.text) => virtual_socket(one),
            [one] => {
                // `http://host:80/` says, too, where that is.
                let text = one.text.split_once("://").map_or(one.text.as_str(), |(_, rest)| rest);
                let text = text.split('/').next().unwrap_or_default();
                let help = match text.rsplit_once(':') {
                    Some((host, port)) if !host.is_empty() && !port.is_empty() => {
                        format!("write `{host} {port}`")
                    }
                    _ => help,
                };
                Err(Problem::new(&one.span, "the port is missing", help))
            }
            [path, second] if path.text.starts_with(['/', '@']) => {
                Err(Problem::new(&second.span, "a unix socket has no port", help))
            }
            [host, port] => Ok(Self::Inet { host: host.clone(), port: port.clone() }),
            [_, _, third, ..] => {
                Err(Problem::new(&third.span, "one host and one port are enough", help))
            }
        }
    }
}

fn unix(word: &Word) -> Result<Redirect, Problem> {
    let length = word.os.as_bytes().len();
    // The `@` stands for the NUL with which an abstract name starts.
    let longest = LONGEST_NAME + usize::from(word.text.starts_with('@'));
    if (2..=longest).contains(&length) {
        return Ok(Redirect::Unix(word.clone()));
    }
    let help = "write `/path` or `@name`";
    Err(Problem::new(&word.span, "the name of a unix socket has 1 to 107 bytes", help))
}

/// `vsock:CID:PORT`, to connect to.
fn virtual_socket(word: &Word) -> Result<Redirect, Problem> {
    let rest = word.text.get(vsock::PREFIX.len()..).unwrap_or_default();
    let help = "write `vsock:CID:PORT`: 1 is this machine itself, 2 its host, and a port is a \
                number from 1 to 4294967294";
    let wrong = |message: &str| Problem::new(&word.span, message, help);
    let (cid, port) = rest.rsplit_once(':').ok_or_else(|| wrong("the CID is missing"))?;
    let numbers = vsock::number(cid).zip(vsock::number(port).filter(|port| *port != 0));
    let (cid, port) =
        numbers.ok_or_else(|| wrong("this is not the address of a virtual socket"))?;
    Ok(Redirect::Vsock(VsockAddress { cid, port }, word.clone()))
}
