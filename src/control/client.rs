//! The other end of the control socket: `oxinetd status` and the like.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::request::Request;

/// A server that takes no question, and says nothing to one that it answers at once, for so
/// long is stopped or hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest answer: the status of a hundred thousand services has room in it.
const LARGEST_ANSWER: u64 = 64 << 20;
/// The longest line that comes before the end of an answer.
const LONGEST_LINE: u64 = 64 << 10;

/// A request that has been sent.
#[derive(Debug)]
pub(crate) struct PendingRequest(BufReader<UnixStream>);

/// Sends a request to the server at this path.
///
/// # Errors
/// What the system answered.
pub(crate) fn ask(path: &Path, request: &Request) -> io::Result<PendingRequest> {
    let descriptor = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // For connecting, too, while others wait to be taken.
    let patience = i64::try_from(PATIENCE.as_secs()).map_err(io::Error::other)?;
    setsockopt(&descriptor, sockopt::SendTimeout, &TimeVal::seconds(patience))?;
    connect(descriptor.as_raw_fd(), &UnixAddr::new(path)?).map_err(|error| late(error.into()))?;
    let mut stream = UnixStream::from(descriptor);
    stream.set_read_timeout(request.is_answered_at_once().then_some(PATIENCE))?;
    let mut line = serde_json::to_vec(request).map_err(io::Error::other)?;
    line.push(b'\n');
    stream.write_all(&line).map_err(late)?;
    Ok(PendingRequest(BufReader::new(stream)))
}

/// What the system says of a time that has passed is no word for people.
fn late(error: io::Error) -> io::Error {
    if error.kind() != ErrorKind::WouldBlock {
        return error;
    }
    let words = format!("no answer for {} s: is it stopped?", PATIENCE.as_secs());
    io::Error::new(ErrorKind::TimedOut, words)
}

/// More than a server says: who answers is something else, or means no good.
fn bounded(text: Vec<u8>, most: u64) -> io::Result<Vec<u8>> {
    if u64::try_from(text.len()).is_ok_and(|length| length <= most) {
        return Ok(text);
    }
    let words = format!("the answer is longer than {most} bytes: is it oxinetd?");
    Err(io::Error::new(ErrorKind::FileTooLarge, words))
}

impl PendingRequest {
    /// The whole answer, when the server has closed the connection.
    ///
    /// # Errors
    /// What the system answered, or that there is no end of it.
    pub(crate) fn answer(mut self) -> io::Result<Vec<u8>> {
        let mut answer = Vec::new();
        (&mut self.0).take(LARGEST_ANSWER + 1).read_to_end(&mut answer).map_err(late)?;
        bounded(answer, LARGEST_ANSWER)
    }

    /// The first line of it, which a server that stops sends at once.
    ///
    /// # Errors
    /// What the system answered, or that there is no end of it.
    pub(crate) fn first_line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        (&mut self.0).take(LONGEST_LINE + 1).read_until(b'\n', &mut line).map_err(late)?;
        bounded(line, LONGEST_LINE)
    }
}
