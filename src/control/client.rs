//! The other end of the control socket: `oxinetd status` and the like.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::request::Request;

/// A request that has been sent.
#[derive(Debug)]
pub struct Asked(BufReader<UnixStream>);

/// Sends a request to the server at this path.
///
/// # Errors
/// What the system answered.
pub fn ask(path: &Path, request: &Request) -> io::Result<Asked> {
    let mut stream = UnixStream::connect(path)?;
    let mut line = serde_json::to_vec(request).map_err(io::Error::other)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    Ok(Asked(BufReader::new(stream)))
}

impl Asked {
    /// The whole answer, when the server has closed the connection.
    ///
    /// # Errors
    /// What the system answered.
    pub fn answer(mut self) -> io::Result<Vec<u8>> {
        let mut answer = Vec::new();
        self.0.read_to_end(&mut answer)?;
        Ok(answer)
    }

    /// The first line of it, which a server that stops sends at once.
    ///
    /// # Errors
    /// What the system answered.
    pub fn first_line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line)?;
        Ok(line)
    }
}
