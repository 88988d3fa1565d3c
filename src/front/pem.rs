//! What a file is that should hold certificates or a key, and holds none that can be used:
//! what was found in it, and how to make the right one of it.

/// What is wrong with a file, and what helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// What was found.
    pub what: String,
    /// What to do.
    pub help: String,
}

impl Wrong {
    pub(super) fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { what: what.into(), help: help.into() }
    }
}

/// What a file turns out to be, and what helps; `FILE` stands for its name.
type Complaint = (&'static str, &'static str);

const EMPTY: Complaint = ("it is empty", "write it again: whatever was to do so may have failed");
const BINARY_KEY: Complaint =
    ("it is a key as DER, not as PEM", "`openssl pkey -inform DER -in FILE -out FILE.pem`");
const BINARY_CERTIFICATE: Complaint =
    ("it is a certificate as DER, not as PEM", "`openssl x509 -inform DER -in FILE -out FILE.pem`");
const BINARY_REQUEST: Complaint = (
    "it is a request for a certificate (CSR), as DER, and no certificate",
    "send it to an authority, and name the file of what comes back, as PEM",
);
const BINARY_CHAIN: Complaint = (
    "it is certificates in PKCS#7, not as PEM",
    "`openssl pkcs7 -inform DER -in FILE -print_certs -out FILE.pem`",
);
const BUNDLE_FOR_CERTIFICATE: Complaint = (
    "it is a key and its certificate in PKCS#12, not as PEM",
    "`openssl pkcs12 -in FILE -nokeys -out FILE.pem`",
);
const BUNDLE_FOR_KEY: Complaint = (
    "it is a key and its certificate in PKCS#12, not as PEM",
    "`openssl pkcs12 -in FILE -nocerts -nodes -out FILE.key`",
);
const NO_CERTIFICATE: Complaint = (
    "there is no certificate in it",
    "name a file of certificates as PEM: `-----BEGIN CERTIFICATE-----` is the first line of one",
);
const NO_KEY: Complaint = (
    "there is no key in it",
    "name a file with a key as PEM: `-----BEGIN PRIVATE KEY-----` is the first line of one",
);
const ENCRYPTED: Complaint = (
    "the key is encrypted, and nobody would be there to say its password",
    "`openssl pkey -in FILE -out FILE.plain` asks for it, and makes one without",
);
const DAMAGED: &str = "write it again, whole: `openssl x509 -in FILE -noout -text` shows what can be read of a certificate, `openssl pkey` of a key";

/// Kinds of PEM that are no certificates, the likeliest to be meant first.
const FOR_CERTIFICATE: [(&str, Complaint); 7] = [
    (
        "CERTIFICATE REQUEST",
        (
            "it is a request for a certificate (CSR), and no certificate",
            "send it to an authority, or, for trying: `openssl req -x509 -in FILE -key KEY -copy_extensions copy -days 90 -out FILE.pem`",
        ),
    ),
    (
        "TRUSTED CERTIFICATE",
        (
            "it is a certificate in a form of OpenSSL's own",
            "`openssl x509 -in FILE -out FILE.pem` makes one that everybody reads",
        ),
    ),
    (
        "X509 CERTIFICATE",
        (
            "it is a certificate in an old form",
            "`openssl x509 -in FILE -out FILE.pem` makes one that everybody reads",
        ),
    ),
    (
        "PKCS7",
        ("it is certificates in PKCS#7", "`openssl pkcs7 -in FILE -print_certs -out FILE.pem`"),
    ),
    (
        "PRIVATE KEY",
        (
            "it is a key, and no certificate",
            "name the file that begins with `-----BEGIN CERTIFICATE-----`",
        ),
    ),
    (
        "PUBLIC KEY",
        (
            "it is a public key, and no certificate",
            "name the file that begins with `-----BEGIN CERTIFICATE-----`",
        ),
    ),
    ("X509 CRL", ("it is a list of revoked certificates", NO_CERTIFICATE.1)),
];

/// Kinds of PEM that are no keys that can be used.
const FOR_KEY: [(&str, Complaint); 6] = [
    ("ENCRYPTED PRIVATE KEY", ENCRYPTED),
    (
        "OPENSSH PRIVATE KEY",
        (
            "it is a key of OpenSSH's, in a form of its own",
            "make one for TLS: `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out KEY`, and have a certificate made for it",
        ),
    ),
    ("PUBLIC KEY", ("it is a public key", "name the file of the private one")),
    (
        "CERTIFICATE REQUEST",
        (
            "it is a request for a certificate (CSR), and no key",
            "name the file of the key that it was made with",
        ),
    ),
    (
        "CERTIFICATE",
        (
            "it is a certificate, and no key",
            "name the file that begins with `-----BEGIN PRIVATE KEY-----`",
        ),
    ),
    ("EC PARAMETERS", ("there is no key in it, but the name of a curve", NO_KEY.1)),
];

/// What a file is in which no certificate was found; `file` is how commands call it.
pub(super) fn no_certificate(bytes: &[u8], file: &str) -> Wrong {
    let bundle = (BUNDLE_FOR_CERTIFICATE, BINARY_KEY.0, NO_CERTIFICATE.1);
    let kind = kind_of(bytes, &FOR_CERTIFICATE, bundle).unwrap_or(NO_CERTIFICATE);
    named(kind, file)
}

/// What a file is in which no key was found.
pub(super) fn no_key(bytes: &[u8], file: &str) -> Wrong {
    let kind = kind_of(bytes, &FOR_KEY, (BUNDLE_FOR_KEY, BINARY_KEY.0, BINARY_KEY.1));
    let kind = kind.unwrap_or(NO_KEY);
    let kind = if kind == BINARY_CERTIFICATE { (kind.0, NO_KEY.1) } else { kind };
    named(kind, file)
}

/// That of a file some is PEM and some is nothing.
pub(super) fn damaged(why: &str, file: &str) -> Wrong {
    Wrong::new(format!("it is cut off or damaged: {why}"), DAMAGED.replace("FILE", file))
}

/// Whether the key in it is encrypted in the way of before PKCS#8.
pub(super) fn is_encrypted(bytes: &[u8]) -> bool {
    let is_said = |line: &[u8]| line.starts_with(b"Proc-Type:") && line.ends_with(b"ENCRYPTED");
    bytes.split(|byte| *byte == b'\n').any(|line| is_said(line.trim_ascii_end()))
}

/// What is said of an encrypted one.
pub(super) fn encrypted(file: &str) -> Wrong {
    named(ENCRYPTED, file)
}

/// Whether there is a block of this kind, or of one whose name ends so.
pub(super) fn has(bytes: &[u8], label: &str) -> bool {
    labels(bytes).any(|known| known.ends_with(label))
}

fn kind_of(
    bytes: &[u8],
    table: &[(&str, Complaint)],
    (bundle, key, key_help): (Complaint, &'static str, &'static str),
) -> Option<Complaint> {
    if bytes.trim_ascii().is_empty() {
        return Some(EMPTY);
    }
    if let Some(binary) = binary(bytes) {
        return Some(match binary {
            Binary::Bundle => bundle,
            Binary::Key => (key, key_help),
            Binary::Certificate => BINARY_CERTIFICATE,
            Binary::Request => BINARY_REQUEST,
            Binary::Chain => BINARY_CHAIN,
        });
    }
    let found =
        |(label, _): &&(&str, Complaint)| labels(bytes).any(|known| known.ends_with(*label));
    table.iter().find(found).map(|(_, kind)| *kind)
}

fn named((what, help): Complaint, file: &str) -> Wrong {
    Wrong::new(what, help.replace("FILE", file))
}

/// What the blocks of PEM in it are.
fn labels(bytes: &[u8]) -> impl Iterator<Item = &str> {
    bytes.split(|byte| matches!(byte, b'\n' | b'\r')).filter_map(|line| {
        let label = line.strip_prefix(b"-----BEGIN ")?.trim_ascii_end().strip_suffix(b"-----")?;
        std::str::from_utf8(label).ok()
    })
}

/// What DER can be.
enum Binary {
    Certificate,
    Request,
    Key,
    Bundle,
    Chain,
}

/// By what its first parts are: each begins in its own way (RFC 5280, 2986, 5958, 7292, 2315).
fn binary(bytes: &[u8]) -> Option<Binary> {
    use super::certificate::{INTEGER, OBJECT, SEQUENCE, VERSION, take, take_tag};

    let (whole, _) = take_tag(bytes, SEQUENCE)?;
    match take(whole)? {
        (INTEGER, [3], _) => Some(Binary::Bundle),
        (INTEGER, ..) => Some(Binary::Key),
        (OBJECT, ..) => Some(Binary::Chain),
        (SEQUENCE, inner, _) => match take(inner)? {
            (VERSION, ..) => Some(Binary::Certificate),
            (INTEGER, [0], _) => Some(Binary::Request),
            (INTEGER, ..) => Some(Binary::Certificate),
            // How an encrypted key is encrypted.
            (OBJECT, ..) => Some(Binary::Key),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_told_by_what_is_in_it() {
        for (bytes, certificate, key) in [
            (&b""[..], "empty", "empty"),
            (b" \r\n\n", "empty", "empty"),
            (b"hello\n", "no certificate", "no key"),
            (b"-----BEGIN CERTIFICATE REQUEST-----\n", "a request", "a request"),
            (b"-----BEGIN NEW CERTIFICATE REQUEST-----\r\n", "a request", "a request"),
            (b"-----BEGIN RSA PRIVATE KEY-----\n", "a key", "no key"),
            (b"text\n-----BEGIN CERTIFICATE-----\n", "no certificate", "a certificate"),
            (b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n", "a key", "encrypted"),
            (b"-----BEGIN OPENSSH PRIVATE KEY-----\n", "a key", "OpenSSH"),
            (b"-----BEGIN TRUSTED CERTIFICATE-----\n", "OpenSSL's own", "a certificate"),
            (b"\x30\x05\x02\x01\x00\x30\x00", "a key as DER", "a key as DER"),
            (b"\x30\x05\x02\x01\x03\x30\x00", "PKCS#12", "PKCS#12"),
            (b"\x30\x05\x06\x01\x03\x30\x00", "PKCS#7", "PKCS#7"),
            (b"\x30\x05\x30\x03\x02\x01\x00", "a request", "a request"),
            (b"\x30\x05\x30\x03\x02\x01\x07", "a certificate as DER", "a certificate as DER"),
            (b"\x30\x80", "no certificate", "no key"),
        ] {
            let said = (no_certificate(bytes, "x"), no_key(bytes, "x"));
            assert!(said.0.what.contains(certificate), "{bytes:?}: {said:?}");
            assert!(said.1.what.contains(key), "{bytes:?}: {said:?}");
            assert!(!said.0.help.contains("FILE") && !said.1.help.contains("FILE"), "{said:?}");
        }
        assert!(is_encrypted(b"a\nProc-Type: 4,ENCRYPTED\r\nb"));
        assert!(!is_encrypted(b"a\nProc-Type: 4,CLEAR\n"));
    }
}
