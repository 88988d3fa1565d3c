//! A certificate made on the spot, for trying: by itself, for this machine, good for a year.

/// A certificate and its key, as PEM.
#[derive(Debug)]
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "nothing makes one"))]
pub(crate) struct GeneratedCertificate {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
    /// SHA-256 of the certificate, as `openssl x509 -fingerprint` has it.
    pub fingerprint: String,
}

/// How long it is good.
#[cfg(feature = "tls")]
const YEAR: std::time::Duration = std::time::Duration::from_secs(365 * 86_400);
/// A client's clock may be a little behind.
#[cfg(feature = "tls")]
const BEHIND: std::time::Duration = std::time::Duration::from_secs(3600);

/// Makes one for this machine, which is called `machine`.
///
/// # Errors
/// What the library says.
#[cfg(feature = "tls")]
pub(crate) fn make(machine: &str) -> Result<GeneratedCertificate, String> {
    use std::time::{SystemTime, UNIX_EPOCH};

    use aws_lc_rs::digest::{SHA256, digest};
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, date_time_ymd};

    let said = |error: rcgen::Error| error.to_string();
    let machine = Some(machine).filter(|name| is_name(name));
    let mut names = vec!["localhost".to_owned()];
    names.extend(machine.filter(|name| *name != "localhost").map(str::to_owned));
    names.extend(["127.0.0.1".to_owned(), "::1".to_owned()]);
    let mut wanted = CertificateParams::new(names).map_err(said)?;
    wanted.distinguished_name = DistinguishedName::new();
    // A common name has 64 letters at most.
    let common = machine.filter(|name| name.len() <= 64).unwrap_or("localhost");
    wanted.distinguished_name.push(DnType::CommonName, common);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?;
    let now = date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(now.as_secs());
    (wanted.not_before, wanted.not_after) = (now - BEHIND, now + YEAR);
    // P-256.
    let key = KeyPair::generate().map_err(said)?;
    let made = wanted.self_signed(&key).map_err(said)?;
    let hash = digest(&SHA256, made.der());
    let fingerprint: Vec<String> = hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    Ok(GeneratedCertificate {
        certificate: pem("CERTIFICATE", made.der()),
        key: pem("PRIVATE KEY", &key.serialize_der()),
        fingerprint: fingerprint.join(":"),
    })
}

/// Makes one.
///
/// # Errors
/// That this program cannot.
#[cfg(not(feature = "tls"))]
pub(crate) fn make(_machine: &str) -> Result<GeneratedCertificate, String> {
    Err("this program was built without TLS".to_owned())
}

/// Whether a certificate can have this name.
#[cfg(feature = "tls")]
fn is_name(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    (1..=253).contains(&name.len()) && name.bytes().all(is_letter)
}

/// DER as text (RFC 7468).
#[cfg(feature = "tls")]
fn pem(what: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {what}-----\n");
    // 64 letters a line.
    for line in der.chunks(48) {
        line.chunks(3).for_each(|three| letters(three, &mut text));
        text.push('\n');
    }
    text + &format!("-----END {what}-----\n")
}

/// Up to three bytes as four letters (base64).
#[cfg(feature = "tls")]
fn letters(three: &[u8], text: &mut String) {
    const ALL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let byte = |at: usize| three.get(at).copied().map_or(0, usize::from);
    let bits = (byte(0) << 16) | (byte(1) << 8) | byte(2);
    for (at, shift) in [18, 12, 6, 0].into_iter().enumerate() {
        let letter = ALL.get((bits >> shift) & 63).filter(|_| at <= three.len());
        text.push(char::from(letter.copied().unwrap_or(b'=')));
    }
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use super::*;
    use crate::front::certificate::not_after;
    use crate::front::identity::{certificates, check_key};

    #[test]
    fn text_is_what_it_was() {
        for (bytes, wanted) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v")] {
            let text = pem("X", bytes.as_bytes());
            let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
            assert_eq!(body, wanted);
        }
    }

    #[test]
    fn a_key_belongs_to_its_certificate_which_is_good_for_a_year() {
        for machine in ["box.example", "", "no name\n", "localhost"] {
            let made = make(machine).unwrap();
            let chain = certificates(made.certificate.as_bytes(), "").unwrap();
            check_key(&chain, made.key.as_bytes(), ("", "")).unwrap();
            let other = make(machine).unwrap();
            check_key(&chain, other.key.as_bytes(), ("", "")).unwrap_err();
            assert_ne!(made.fingerprint, other.fingerprint);
            let ends = not_after(&chain[0]).unwrap();
            let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
            let days = (ends - i64::try_from(now).unwrap()) / 86_400;
            assert!((364..=365).contains(&days), "{days}");
        }
    }
}
