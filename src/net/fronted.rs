//! What stood before the data of a connection has said of it: on whose behalf it was made,
//! through whom it came, and how it was encrypted. What a peer says of that is checked here
//! before anybody uses it.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::address::Address;
use crate::config::model::is_terminal_name;

/// What is known of a connection beside its two ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fronted {
    /// Who has made the connection on the behalf of the client that it names.
    pub via: Option<Address>,
    /// Where that client has connected to.
    pub local: Option<SocketAddr>,
    /// The number under which a worker has the client.
    #[serde(default)]
    pub number: Option<u64>,
    /// What that was told to hold it to.
    #[serde(default)]
    pub terms: Option<FrontTerms>,
    /// The worker waits for a terminal of so many columns and rows.
    #[serde(default)]
    pub terminal: Option<(u16, u16)>,
    /// The client's connection, if it is to be seen whether it moves.
    #[serde(skip)]
    pub watched: Option<Watched>,
    /// What is known of its encryption, each fact once; none if there was none.
    pub facts: Vec<(Fact, String)>,
}

/// What a worker is told of whom it lets in, as far as that can be compared with what the service
/// says later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrontTerms {
    /// Whoever does not speak TLS is not.
    pub is_encrypted: bool,
    /// Whose certificates are good, as [`digest_of`] has it.
    pub authorities: u64,
    /// The longest that nothing may move, if the worker is to look at that: milliseconds, or 0.
    #[serde(default)]
    pub idle: u32,
}

/// What tells some certificates from others (FNV-1a): nobody gains anything by the same digest,
/// since whoever writes the one file writes the other.
#[must_use]
pub(crate) fn digest_of(certificates: &[Vec<u8>]) -> u64 {
    let lengths = certificates.iter().flat_map(|it| it.len().to_be_bytes());
    let bytes = lengths.chain(certificates.iter().flatten().copied());
    bytes.fold(0xcbf2_9ce4_8422_2325, |digest, byte| {
        (digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// A connection that a worker has, too.
#[derive(Debug, Clone)]
pub struct Watched(pub Rc<OwnedFd>);

impl PartialEq for Watched {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Watched {}

impl Fronted {
    /// Whether the client speaks TLS to whoever is in front.
    #[must_use]
    pub(crate) fn is_encrypted(&self) -> bool {
        self.terms.is_some_and(|terms| terms.is_encrypted)
            || self.facts.iter().any(|(fact, _)| *fact != Fact::Terminal)
    }

    /// What is told of its encryption to whoever asks who has come; none if there was none.
    #[must_use]
    pub(crate) fn encryption(&self) -> Option<Encryption> {
        let told = |fact| self.fact(fact).map(Box::from);
        // Of a certificate that is not a good one nobody is told.
        let is_verified = self.fact(Fact::ClientVerify) == Some(VERIFIED);
        let shown = |fact| told(fact).filter(|_| is_verified);
        let subject = shown(Fact::ClientSubject);
        let fingerprint = shown(Fact::ClientSha256).filter(|_| subject.is_none());
        self.is_encrypted().then(|| Encryption {
            version: told(Fact::Protocol),
            server_name: told(Fact::ServerName),
            common_name: shown(Fact::ClientName),
            subject,
            fingerprint,
        })
    }

    /// One of the facts.
    #[must_use]
    pub(crate) fn fact(&self, fact: Fact) -> Option<&str> {
        self.facts.iter().find(|(known, _)| *known == fact).map(|(_, value)| value.as_str())
    }

    /// Adds a fact if its value is one that such a fact may have.
    pub fn add(&mut self, fact: Fact, value: &[u8]) {
        if let Some(value) = fact.checked(value)
            && self.fact(fact).is_none()
        {
            self.facts.push((fact, value.to_owned()));
        }
    }
}

/// How a client is encrypted, whom it has asked for, and who it has shown to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Encryption {
    /// The version of the protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Box<str>>,
    /// The name of the server that the client wants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<Box<str>>,
    /// Whom its certificate names, which is a good one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Box<str>>,
    /// The common name in it, where a proxy has told no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub common_name: Option<Box<str>>,
    /// Its fingerprint, where its name cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Box<str>>,
}

/// What is said of a certificate that is a good one.
pub(crate) const VERIFIED: &str = "SUCCESS";

/// Something that is known of an encrypted connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Fact {
    /// The version of the protocol.
    Protocol,
    /// How it is encrypted.
    Cipher,
    /// The name of the server that the client wants.
    ServerName,
    /// The protocol inside that both have agreed upon.
    Alpn,
    /// The common name of the client's certificate.
    ClientName,
    /// Whether that certificate is a good one.
    ClientVerify,
    /// Whom it names.
    ClientSubject,
    /// Who has made it.
    ClientIssuer,
    /// Its fingerprint.
    ClientSha256,
    /// The name of its terminal, which has nothing to do with that.
    Terminal,
}

/// The longest name of a server that there can be.
const LONGEST_NAME: usize = 253;
/// The longest name of a version, a cipher, a protocol.
const LONGEST_WORD: usize = 255;
/// The longest name in a certificate that is passed on.
const LONGEST_SUBJECT: usize = 1024;

impl Fact {
    /// Every fact there is.
    pub const ALL: [Self; 6] = [
        Self::Protocol,
        Self::Cipher,
        Self::ServerName,
        Self::Alpn,
        Self::ClientName,
        Self::ClientVerify,
    ];

    /// The variable in which a program is told of it.
    #[must_use]
    pub fn variable(self) -> &'static str {
        match self {
            Self::Protocol => "SSL_PROTOCOL",
            Self::Cipher => "SSL_CIPHER",
            Self::ServerName => "SSL_TLS_SNI_SERVERNAME",
            Self::Alpn => "SSL_ALPN",
            Self::ClientName => "SSL_CLIENT_S_DN_CN",
            Self::ClientVerify => "SSL_CLIENT_VERIFY",
            Self::ClientSubject => "SSL_CLIENT_S_DN",
            Self::ClientIssuer => "SSL_CLIENT_I_DN",
            Self::ClientSha256 => "SSL_CLIENT_SHA256",
            Self::Terminal => "TERM",
        }
    }

    /// The value as text, if it is nothing but what such a value may be.
    fn checked(self, value: &[u8]) -> Option<&str> {
        let text = std::str::from_utf8(value).ok().filter(|text| !text.is_empty())?;
        let in_name = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '-');
        let is_good = match self {
            Self::Terminal => is_terminal_name(text),
            Self::ServerName => text.len() <= LONGEST_NAME && text.chars().all(in_name),
            Self::ClientName | Self::ClientSubject | Self::ClientIssuer => {
                text.len() <= LONGEST_SUBJECT && text.chars().all(is_printable)
            }
            Self::ClientSha256 => text.len() == 64 && text.chars().all(|it| it.is_ascii_hexdigit()),
            Self::Protocol | Self::Cipher | Self::Alpn | Self::ClientVerify => {
                text.len() <= LONGEST_WORD && text.chars().all(|it| it.is_ascii_graphic())
            }
        };
        is_good.then_some(text)
    }
}

/// Neither a control character nor one that changes the direction of what stands beside it.
fn is_printable(character: char) -> bool {
    let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}');
    !character.is_control() && !turns
}

/// Somebody who has come, and through whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whom {
    /// Who is served.
    pub peer: Address,
    /// Who has connected, if that is somebody else.
    pub via: Option<Address>,
}

impl From<Address> for Whom {
    fn from(peer: Address) -> Self {
        Self { peer, via: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_value_of_a_fact_is_left_out() {
        let mut fronted = Fronted::default();
        fronted.add(Fact::ServerName, b"evil\nname");
        fronted.add(Fact::ServerName, "n\u{e4}me".as_bytes());
        fronted.add(Fact::ServerName, "a".repeat(254).as_bytes());
        fronted.add(Fact::Protocol, b"");
        fronted.add(Fact::ClientName, b"a\xff");
        fronted.add(Fact::ClientName, "a\u{202e}b".as_bytes());
        fronted.add(Fact::Cipher, b"two words");
        assert!(!fronted.is_encrypted());
        fronted.add(Fact::ServerName, b"www.example-1.org");
        fronted.add(Fact::ServerName, b"another.example");
        fronted.add(Fact::ClientName, "J\u{fc}rgen M.".as_bytes());
        assert_eq!(fronted.fact(Fact::ServerName), Some("www.example-1.org"), "the first counts");
        assert_eq!(fronted.fact(Fact::ClientName), Some("J\u{fc}rgen M."));
        assert!(fronted.is_encrypted());
    }

    fn told(facts: &[(Fact, &str)]) -> Option<Encryption> {
        let facts = facts.iter().map(|(fact, value)| (*fact, (*value).to_owned())).collect();
        Fronted { facts, ..Fronted::default() }.encryption()
    }

    #[test]
    fn only_of_a_certificate_that_is_good_it_is_told_whom_it_names() {
        let shown = [
            (Fact::Protocol, "TLSv1.3"),
            (Fact::ClientSubject, "CN=a"),
            (Fact::ClientSha256, "00"),
        ];
        let version = Some("TLSv1.3".into());
        let nobody = Encryption { version, ..Encryption::default() };
        for verified in ["NONE", "FAILED", "success"] {
            let facts = [&shown[..], &[(Fact::ClientVerify, verified)]].concat();
            assert_eq!(told(&facts).as_ref(), Some(&nobody), "{verified}");
        }
        let facts = [&shown[..], &[(Fact::ClientVerify, VERIFIED)]].concat();
        let named = Encryption { subject: Some("CN=a".into()), ..nobody.clone() };
        assert_eq!(told(&facts), Some(named));
        // A certificate without a name that can be told is not taken for none.
        let facts = [shown[0], shown[2], (Fact::ClientVerify, VERIFIED)];
        let known = Encryption { fingerprint: Some("00".into()), ..nobody };
        assert_eq!(told(&facts), Some(known));
        assert_eq!(told(&[(Fact::Terminal, "vt100")]), None);
    }
}
