//! `oxinetd run --tls self-signed`: a certificate made on the spot. Another process makes it and
//! puts the key into memory that is shared, which is then sealed: the server does not read it.

use std::fs::{File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use crate::front::self_signed::make;
use crate::log::events;
use crate::sys::sealed_memory::{memory_file, seal};

use super::failure::{CommandFailure, SYSTEM, USAGE, refused};

/// What the process that makes it is called with.
const COMMAND: &str = "make-certificate";
/// No certificate of ours is longer.
const LONGEST: u64 = 64 << 10;

/// A certificate and its key, as files for as long as this lives.
pub(super) struct SelfSigned {
    certificate: OwnedFd,
    key: OwnedFd,
}

impl SelfSigned {
    /// Has one made, and says how it is known again.
    pub(super) fn new() -> Result<Self, CommandFailure> {
        if cfg!(not(feature = "tls")) {
            return Err(CommandFailure::new(USAGE, "--tls: this program was built without TLS"));
        }
        let (made, fingerprint) = Self::made().map_err(refused("--tls self-signed"))?;
        events::self_signed(&fingerprint);
        Ok(made)
    }

    fn made() -> io::Result<(Self, String)> {
        let key = private_file()?;
        let mut child = Command::new("/proc/self/exe")
            .arg(COMMAND)
            .stdin(Stdio::from(key.try_clone()?))
            .stdout(Stdio::piped())
            .spawn()?;
        let mut said = String::new();
        if let Some(output) = child.stdout.take() {
            output.take(LONGEST).read_to_string(&mut said)?;
        }
        // How it ends cannot be told where a parent has left SIGCHLD ignored; what it has said
        // tells.
        let _ = child.wait();
        let whole = said.split_once('\n').filter(|(first, _)| !first.is_empty());
        let (fingerprint, pem) =
            whole.ok_or_else(|| io::Error::other("no certificate was made"))?;
        let mut certificate = private_file()?;
        certificate.write_all(pem.as_bytes())?;
        let made = Self { certificate: seal(certificate)?, key: seal(key)? };
        Ok((made, fingerprint.to_owned()))
    }

    /// What they are called, of the certificate and of the key: also by the copy of the server
    /// that reads a configuration again, which has neither open.
    pub(super) fn names(&self) -> (String, String) {
        let pid = std::process::id();
        let name = |file: &OwnedFd| format!("/proc/{pid}/fd/{}", file.as_raw_fd());
        (name(&self.certificate), name(&self.key))
    }
}

/// Memory that others may not open.
fn private_file() -> io::Result<File> {
    let file = memory_file()?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

/// `oxinetd make-certificate`: the key goes to standard input, which is memory, the fingerprint
/// and the certificate to standard output.
pub(super) fn make_certificate() -> Result<(), CommandFailure> {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let made = make(machine.trim()).map_err(|why| CommandFailure::new(SYSTEM, why))?;
    let key = io::stdin().as_fd().try_clone_to_owned().map(File::from);
    key.and_then(|mut key| key.write_all(made.key.as_bytes())).map_err(refused("the key"))?;
    super::output::show(&format!("{}\n{}", made.fingerprint, made.certificate))
}
