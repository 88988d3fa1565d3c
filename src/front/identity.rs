//! Certificates and keys as files have them (PEM), looked at when a configuration is read.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use super::certificate::claims;
#[cfg(feature = "tls")]
use super::pem;
pub(crate) use super::pem::Wrong;
use crate::config::model::FileIdentity;

/// Which file this is.
pub(crate) fn identity_of(file: &Metadata) -> FileIdentity {
    FileIdentity {
        place: (file.dev(), file.ino()),
        size: file.size(),
        written: (file.mtime(), file.mtime_nsec()),
    }
}

/// The longest file of certificates.
pub(crate) const LONGEST: u64 = 256 << 10;

/// The certificates in a file, the own one first: DER. `file` is what commands call it.
///
/// # Errors
/// What is wrong with it.
#[cfg(feature = "tls")]
pub(crate) fn certificates(bytes: &[u8], file: &str) -> Result<Vec<Vec<u8>>, Wrong> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    let all = CertificateDer::pem_slice_iter(bytes).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|error| pem::damaged(&error.to_string(), file))?;
    if all.is_empty() {
        return Err(pem::no_certificate(bytes, file));
    }
    let is_one = |it: &CertificateDer<'_>| {
        claims(it).is_some() && webpki::anchor_from_trusted_cert(it).is_ok()
    };
    match all.iter().position(|it| !is_one(it)) {
        Some(at) => {
            Err(pem::damaged(&format!("certificate {} in it cannot be read", at + 1), file))
        }
        None => Ok(all.iter().map(|certificate| certificate.to_vec()).collect()),
    }
}

/// Whether clients can be shown the first of these certificates at all.
///
/// # Errors
/// Why not.
pub(crate) fn check_own(chain: &[Vec<u8>]) -> Result<(), Wrong> {
    match chain.first().and_then(|own| claims(own)) {
        Some(own) if own.is_old => Err(Wrong {
            what: "it is a certificate of X.509 version 1, which clients do not take".to_owned(),
            help: "have it made again with a name in it: `openssl req -x509 … -addext subjectAltName=DNS:NAME`, or `openssl x509 -req … -extfile FILE` with `subjectAltName=DNS:NAME` in FILE".to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Whether this is the key of the certificates: of the first.
/// `files` are what commands call those of the certificates and of the key.
///
/// # Errors
/// Why not.
#[cfg(feature = "tls")]
pub(crate) fn check_key(chain: &[Vec<u8>], bytes: &[u8], files: (&str, &str)) -> Result<(), Wrong> {
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::{Error, PemObject as _};

    if pem::is_encrypted(bytes) {
        return Err(pem::encrypted(files.1));
    }
    let key = PrivateKeyDer::from_pem_slice(bytes).map_err(|error| match error {
        Error::NoItemsFound => pem::no_key(bytes, files.1),
        error => pem::damaged(&error.to_string(), files.1),
    })?;
    let Some(own) = chain.first() else { return Err(pem::no_certificate(b"", files.0)) };
    if is_of(own, &key)? {
        return Ok(());
    }
    let others = chain.iter().skip(1);
    let is_other = others.map(|it| is_of(it, &key)).any(|is_it| is_it == Ok(true));
    Err(if is_other {
        Wrong::new(
            "it is the key of a certificate that is not the first in its file",
            "put the service's own certificate first, then that of who has made it, and so on",
        )
    } else {
        Wrong::new(
            "it is the key of another certificate",
            format!(
                "name a pair: `openssl x509 -in {} -noout -pubkey` and `openssl pkey -in {} -pubout` print the same for one",
                files.0, files.1
            ),
        )
    })
}

/// Whether a key is that of a certificate.
#[cfg(feature = "tls")]
fn is_of(certificate: &[u8], key: &rustls::pki_types::PrivateKeyDer<'_>) -> Result<bool, Wrong> {
    use rustls::crypto::aws_lc_rs::default_provider;
    use rustls::pki_types::CertificateDer;
    use rustls::sign::CertifiedKey;
    use rustls::{Error, InconsistentKeys};

    let chain = vec![CertificateDer::from(certificate).into_owned()];
    match CertifiedKey::from_der(chain, key.clone_key(), &default_provider()) {
        Ok(_) => Ok(true),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Ok(false),
        Err(Error::General(_)) => Err(Wrong::new(
            "it is a key of a kind or size that TLS is not spoken with here",
            "RSA of 2048 bits to 8192, ECDSA with P-256, P-384 or P-521, and Ed25519 are: `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out KEY`, and a certificate for it",
        )),
        Err(error) => Err(Wrong::new(
            format!("its certificate cannot be used: {error}"),
            "have it made again",
        )),
    }
}

/// Whether a file has a key in it where certificates are looked for, and the other way round.
#[cfg(feature = "tls")]
pub(crate) fn are_swapped(own: &[u8], key: &[u8]) -> bool {
    let is_key = |bytes| pem::has(bytes, "PRIVATE KEY");
    let has_certificate = |bytes| pem::has(bytes, "CERTIFICATE");
    is_key(own) && !has_certificate(own) && has_certificate(key) && !is_key(key)
}

/// The number of the first certificate that has not made the one before it.
pub(crate) fn first_stranger(chain: &[Vec<u8>]) -> Option<usize> {
    let has_made = |pair: &[Vec<u8>]| {
        let [made, maker] = pair else { return true };
        let (made, maker) = (claims(made), claims(maker));
        made.zip(maker).is_none_or(|(made, maker)| made.issuer == maker.subject)
    };
    chain.windows(2).position(|pair| !has_made(pair)).map(|at| at + 2)
}

/// Whether somebody else has made a certificate, who is not in its file.
pub(crate) fn lacks_its_maker(chain: &[Vec<u8>]) -> bool {
    matches!(chain, [only] if claims(only).is_some_and(|it| it.issuer != it.subject))
}

/// That this program cannot use certificates and keys.
#[cfg(not(feature = "tls"))]
fn without_tls() -> Wrong {
    Wrong {
        what: "this program was built without TLS".to_owned(),
        help: "build it with its default features".to_owned(),
    }
}

/// The certificates in a file.
///
/// # Errors
/// That this program cannot use them.
#[cfg(not(feature = "tls"))]
pub(crate) fn certificates(_bytes: &[u8], _file: &str) -> Result<Vec<Vec<u8>>, Wrong> {
    Err(without_tls())
}

/// Whether this is the key of the certificates.
///
/// # Errors
/// That nobody can tell.
#[cfg(not(feature = "tls"))]
pub(crate) fn check_key(_: &[Vec<u8>], _bytes: &[u8], _files: (&str, &str)) -> Result<(), Wrong> {
    Err(without_tls())
}

/// Whether two files are in each other's place, of which nobody can tell.
#[cfg(not(feature = "tls"))]
pub(crate) fn are_swapped(_own: &[u8], _key: &[u8]) -> bool {
    false
}
