//! What a relay wants of a stream.

use std::io::{self, Read, Write};

/// A stream whose writing side can be closed by itself.
pub trait Duplex: Read + Write {
    /// Says that nothing more will be written, shutdown(2)'s `SHUT_WR`.
    ///
    /// # Errors
    /// The system's; the stream is gone then.
    fn end_writing(&mut self) -> io::Result<()>;
}
