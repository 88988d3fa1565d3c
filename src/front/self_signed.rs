//! A certificate made on the spot, for trying: by itself, for this machine, good for a year.

#[cfg(feature = "tls")]
use super::certificate::fingerprint;
#[cfg(feature = "tls")]
use crate::sys::calendar::Civil;

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

/// ecdsa-with-SHA256, as an algorithm (RFC 5758).
#[cfg(feature = "tls")]
const ALGORITHM: [u8; 12] = [0x30, 10, 0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
/// The kinds of a name's part and of an extension: commonName, subjectAltName (RFC 5280).
#[cfg(feature = "tls")]
const COMMON_NAME: [u8; 5] = [0x06, 3, 0x55, 4, 3];
#[cfg(feature = "tls")]
const OTHER_NAMES: [u8; 5] = [0x06, 3, 0x55, 29, 17];

/// Makes one for this machine, which is called `machine`.
///
/// # Errors
/// What the library says.
#[cfg(feature = "tls")]
pub(crate) fn make(machine: &str) -> Result<GeneratedCertificate, String> {
    use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
    use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

    let failed = |_| "the library makes no key".to_owned();
    let (random, mut serial) = (SystemRandom::new(), [0; 16]);
    random.fill(&mut serial).map_err(failed)?;
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(failed)?;
    let public: PublicKeyX509Der<'_> = key.public_key().as_der().map_err(failed)?;
    let said = what_is_said(machine, serial, public.as_ref())?;
    let signature = key.sign(&random, &said).map_err(failed)?;
    let own = der(0x30, &[&said, &ALGORITHM, &der(0x03, &[&[0], signature.as_ref()])]);
    Ok(GeneratedCertificate {
        certificate: pem("CERTIFICATE", &own),
        key: pem("PRIVATE KEY", key.to_pkcs8v1().map_err(failed)?.as_ref()),
        fingerprint: fingerprint(&own),
    })
}

/// What is signed: TBSCertificate, RFC 5280.
#[cfg(feature = "tls")]
fn what_is_said(machine: &str, mut serial: [u8; 16], key: &[u8]) -> Result<Vec<u8>, String> {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().map_err(|error| error.to_string())?;
    let machine = Some(machine).filter(|name| is_name(name));
    // A common name has 64 letters at most.
    let common = machine.filter(|name| name.len() <= 64).unwrap_or("localhost");
    let common = der(0x30, &[&COMMON_NAME, &der(0x0c, &[common.as_bytes()])]);
    let name = der(0x30, &[&der(0x31, &[&common])]);
    // A positive number, all bytes of which are needed.
    serial[0] = serial[0] & 0x7f | 1;
    let machine = machine.filter(|name| *name != "localhost");
    let mut names = vec![der(0x82, &[b"localhost"])];
    names.extend(machine.map(|name| der(0x82, &[name.as_bytes()])));
    names.push(der(0x87, &[&std::net::Ipv4Addr::LOCALHOST.octets()]));
    names.push(der(0x87, &[&std::net::Ipv6Addr::LOCALHOST.octets()]));
    let names = der(0x04, &[&der(0x30, &[&names.concat()])]);
    let extensions = der(0x30, &[&der(0x30, &[&OTHER_NAMES, &names])]);
    let version = [0xa0, 3, 0x02, 1, 2];
    let good = der(0x30, &[&time(now.saturating_sub(BEHIND)), &time(now.saturating_add(YEAR))]);
    let serial = der(0x02, &[&serial]);
    let extensions = der(0xa3, &[&extensions]);
    Ok(der(0x30, &[&version, &serial, &ALGORITHM, &name, &good, &name, key, &extensions]))
}

/// A time since 1970: with two digits of the year up to 2049.
#[cfg(feature = "tls")]
fn time(at: std::time::Duration) -> Vec<u8> {
    let at = Civil::from_seconds(i64::try_from(at.as_secs()).unwrap_or(i64::MAX));
    let Civil { year, month, day, hour, minute, second, .. } = at;
    let rest = format!("{month:02}{day:02}{hour:02}{minute:02}{second:02}Z");
    match year {
        ..2050 => der(0x17, &[format!("{:02}{rest}", year % 100).as_bytes()]),
        _ => der(0x18, &[format!("{year:04}{rest}").as_bytes()]),
    }
}

/// A value (X.690): its tag, how long it is, what it holds, which is short.
#[cfg(feature = "tls")]
fn der(tag: u8, held: &[&[u8]]) -> Vec<u8> {
    let held = held.concat();
    let mut whole = vec![tag];
    match u8::try_from(held.len()) {
        Ok(short @ ..=0x7f) => whole.push(short),
        Ok(length) => whole.extend([0x81, length]),
        Err(_) => {
            whole.push(0x82);
            whole.extend(u16::try_from(held.len()).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    whole.extend(held);
    whole
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
    fn years_have_two_digits_until_there_are_too_many() {
        let at =
            |seconds| String::from_utf8(time(std::time::Duration::from_secs(seconds))).unwrap();
        assert_eq!(at(1_000_000_000), "\u{17}\u{d}010909014640Z");
        assert_eq!(at(2_524_607_999), "\u{17}\u{d}491231235959Z");
        assert_eq!(at(2_524_608_000), "\u{18}\u{f}20500101000000Z");
    }

    #[test]
    fn a_key_belongs_to_its_certificate_which_is_good_for_a_year() {
        let long = ["a.long.name"; 20].join("-");
        for machine in ["box.example", "", "no name\n", "localhost", &long] {
            let made = make(machine).unwrap();
            let chain = certificates(made.certificate.as_bytes(), "").unwrap();
            check_key(&chain, made.key.as_bytes(), ("", "")).unwrap();
            let other = make(machine).unwrap();
            check_key(&chain, other.key.as_bytes(), ("", "")).unwrap_err();
            assert_ne!(made.fingerprint, other.fingerprint);
            let own = rustls::pki_types::CertificateDer::from(chain[0].as_slice());
            let parsed = webpki::EndEntityCert::try_from(&own).unwrap();
            let wanted = if machine.contains([' ', '\n']) { "localhost" } else { machine };
            for name in ["localhost", wanted].into_iter().filter(|name| !name.is_empty()) {
                let name = rustls::pki_types::ServerName::try_from(name).unwrap();
                parsed.verify_is_valid_for_subject_name(&name).unwrap();
            }
            let ends = not_after(&chain[0]).unwrap();
            let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
            let days = (ends - i64::try_from(now).unwrap()) / 86_400;
            assert!((364..=365).contains(&days), "{days}");
        }
    }
}
