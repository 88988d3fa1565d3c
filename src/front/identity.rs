//! Certificates and keys as files have them (PEM), looked at when a configuration is read.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use crate::config::model::FileIdentity;

/// Which file this is.
#[must_use]
pub(crate) fn identity_of(file: &Metadata) -> FileIdentity {
    FileIdentity {
        place: (file.dev(), file.ino()),
        size: file.size(),
        written: (file.mtime(), file.mtime_nsec()),
    }
}

/// The longest file of certificates.
pub(crate) const LONGEST: u64 = 256 << 10;

/// The certificates in a file, the own one first: DER.
///
/// # Errors
/// What is wrong with it.
#[cfg(feature = "tls")]
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|error| error.to_string())?;
    if all.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    Ok(all.iter().map(|certificate| certificate.to_vec()).collect())
}

/// Whether this is the key of the certificates.
///
/// # Errors
/// Why not.
#[cfg(feature = "tls")]
pub(crate) fn check_key(chain: &[Vec<u8>], pem: &[u8]) -> Result<(), String> {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{Error, InconsistentKeys};

    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| error.to_string())?;
    let chain = chain.iter().map(|it| CertificateDer::from(it.as_slice()).into_owned());
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let checked = rustls::sign::CertifiedKey::from_der(chain.collect(), key, &provider);
    match checked {
        Ok(_) => Ok(()),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err("it is the key of another certificate".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// The certificates in a file.
///
/// # Errors
/// That this program cannot use them.
#[cfg(not(feature = "tls"))]
pub(crate) fn certificates(_pem: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    Err("this program was built without TLS".to_owned())
}

/// Whether this is the key of the certificates.
///
/// # Errors
/// That nobody can tell.
#[cfg(not(feature = "tls"))]
pub(crate) fn check_key(_chain: &[Vec<u8>], _pem: &[u8]) -> Result<(), String> {
    Err("this program was built without TLS".to_owned())
}
