//! What a service's settings come to: something that makes a front for each of its clients.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use super::front::ServiceFront;
#[cfg(feature = "tls")]
use super::inside::ServiceInside;
use super::terminal::TerminalService;
use crate::front::settings::{Kind, LONGEST, LONGEST_KEY};

/// Before everything is given up: what has to be asked of the system once.
pub(super) fn begin() {
    #[cfg(feature = "tls")]
    super::tls::begin();
}

/// The service of these files: its settings, and what they name.
///
/// # Errors
/// What is wrong with them.
pub(super) fn make(files: Vec<OwnedFd>) -> Result<Box<dyn ServiceFront>, String> {
    let mut files = files.into_iter().map(File::from);
    let settings = files.next().ok_or("no settings")?;
    let settings = read(&settings, LONGEST).map_err(|error| format!("settings: {error}"))?;
    let kind = postcard::from_bytes(&settings).map_err(|error| format!("settings: {error}"))?;
    let files = files.map(|file| read(&file, LONGEST_KEY)).collect::<io::Result<Vec<_>>>();
    let files = files.map_err(|error| format!("key: {error}"))?;
    match kind {
        #[cfg(feature = "tls")]
        Kind::Tls(settings) => Ok(Box::new(super::tls::TlsService::new(&settings, files)?)),
        #[cfg(feature = "tls")]
        Kind::TlsTerminal(settings, telnet) => {
            let outer = Box::new(super::tls::TlsService::new(&settings, files)?);
            Ok(Box::new(ServiceInside { outer, inner: Box::new(TerminalService { telnet }) }))
        }
        #[cfg(not(feature = "tls"))]
        Kind::Tls(_) | Kind::TlsTerminal(..) => {
            drop(files);
            Err("this program has no TLS".to_owned())
        }
        Kind::Terminal(telnet) => Ok(Box::new(TerminalService { telnet })),
    }
}

/// All of a file of memory.
fn read(file: &File, most: u64) -> io::Result<Vec<u8>> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let at = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let count = file.read_at(&mut piece, at)?;
        if count == 0 {
            return Ok(bytes);
        }
        if at > most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        bytes.extend_from_slice(piece.get(..count).unwrap_or_default());
    }
}
