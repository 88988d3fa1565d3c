//! What is believed of a client behind a front, and whether that is what its service wants.
//!
//! A worker says what it has agreed upon with a client. What the server knows itself it does not
//! take from there: whether the service is behind TLS, what is spoken there at all, whether
//! certificates are asked for. What cannot be is left out.

use crate::config::model::{FrontAttributes, TlsClient};
use crate::front::{alerts, ciphers};
use crate::net::fronted::{Fact, FrontTerms, Fronted, VERIFIED, digest_of};

/// What is said of clients who show no certificate.
const NONE: &str = "NONE";

/// The two versions there are.
const OLD: &str = "TLSv1.2";
const NEW: &str = "TLSv1.3";

/// What a worker is to hold clients to.
pub(super) fn terms_of(front: &FrontAttributes) -> FrontTerms {
    let asks = front.tls_client != TlsClient::No;
    let authorities = front.tls_ca.as_ref().filter(|_| asks);
    FrontTerms {
        is_encrypted: front.has_tls(),
        authorities: authorities.map_or(0, |it| digest_of(&it.certificates)),
        idle: 0,
    }
}

/// Adds what may be believed of a worker's facts.
pub(super) fn believe(front: &FrontAttributes, facts: &[(Fact, String)], fronted: &mut Fronted) {
    let asks = front.has_tls() && front.tls_client != TlsClient::No;
    let is_said = |fact: Fact, value: &str| facts.iter().any(|it| it.0 == fact && it.1 == value);
    let is_good = asks && is_said(Fact::ClientVerify, VERIFIED);
    for (fact, value) in facts {
        let may_be = match fact {
            Fact::Terminal => front.telnet,
            _ if !front.has_tls() => false,
            Fact::Protocol => [OLD, NEW].contains(&value.as_str()),
            Fact::Cipher => ciphers::is_one(value),
            Fact::ServerName | Fact::Alpn => true,
            Fact::ClientSubject | Fact::ClientIssuer | Fact::ClientSha256 => is_good,
            // The one is our own word, the other comes from proxies only.
            Fact::ClientVerify | Fact::ClientName => false,
        };
        if may_be {
            fronted.add(*fact, value.as_bytes());
        }
    }
    if asks {
        fronted.add(Fact::ClientVerify, if is_good { VERIFIED } else { NONE }.as_bytes());
    }
}

/// Why a client that has come through a worker is not served as the rules are now.
pub(super) fn objection(front: &FrontAttributes, fronted: &Fronted) -> Option<&'static str> {
    // Who was there before servers noted that.
    let terms = fronted.terms?;
    let is_another =
        terms.is_encrypted != front.has_tls() || fronted.terminal.is_some() != front.has_terminal();
    if is_another {
        return Some(alerts::CLOSED);
    }
    if !front.has_tls() {
        return None;
    }
    let speaks = |version: &str| fronted.fact(Fact::Protocol) == Some(version);
    let versions = front.tls_versions;
    if (!versions.old && speaks(OLD)) || (!versions.new && speaks(NEW)) {
        return Some(alerts::PROTOCOL_VERSION);
    }
    let inside = fronted.fact(Fact::Alpn);
    if inside.is_some_and(|name| !front.tls_alpn.iter().any(|it| it == name)) {
        return Some(alerts::NO_APPLICATION_PROTOCOL);
    }
    let is_good = fronted.fact(Fact::ClientVerify) == Some(VERIFIED);
    match front.tls_client {
        TlsClient::No => None,
        _ if is_good && terms.authorities != terms_of(front).authorities => {
            Some(alerts::UNKNOWN_CA)
        }
        TlsClient::Require if !is_good => Some(alerts::CERTIFICATE_REQUIRED),
        TlsClient::Ask | TlsClient::Require => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::rc::Rc;

    use super::*;
    use crate::config::model::{Attributes, Authorities, Certificate, FileIdentity, TlsVersions};

    fn front(client: TlsClient, authority: &[u8]) -> FrontAttributes {
        let certificate = Certificate {
            path: PathBuf::new(),
            key: PathBuf::new(),
            chain: Vec::new(),
            ends: None,
            names: String::new(),
            fingerprint: String::new(),
            identity: FileIdentity::default(),
        };
        let certificates = vec![authority.to_vec()];
        let mut front = Attributes::default().front;
        front.tls = Rc::from([certificate]);
        front.tls_client = client;
        front.tls_ca = Some(Rc::new(Authorities { path: PathBuf::new(), certificates }));
        front.tls_alpn = vec!["h2".to_owned()];
        front
    }

    /// Somebody of whom a worker says this under rules, and what is said of him under others.
    fn judged(then: &FrontAttributes, facts: &[(Fact, &str)], now: &FrontAttributes) -> Fronted {
        let mut fronted = Fronted { number: Some(1), ..Fronted::default() };
        fronted.terms = Some(terms_of(then));
        let facts: Vec<_> = facts.iter().map(|(fact, it)| (*fact, (*it).to_owned())).collect();
        believe(now, &facts, &mut fronted);
        fronted
    }

    const SHOWN: [(Fact, &str); 4] = [
        (Fact::Protocol, OLD),
        (Fact::Alpn, "h2"),
        (Fact::ClientVerify, VERIFIED),
        (Fact::ClientSubject, "CN=a"),
    ];

    #[test]
    fn the_rules_of_now_count() {
        use TlsClient::{Ask, No, Require};
        let mut new_only = front(No, b"a");
        new_only.tls_versions = TlsVersions { old: false, new: true };
        let other_inside = FrontAttributes { tls_alpn: Vec::new(), ..front(No, b"a") };
        let plain = FrontAttributes { tls: Rc::from([]), ..front(No, b"a") };
        let seated = FrontAttributes { pty: true, ..front(No, b"a") };
        let none = [(Fact::ClientVerify, NONE)];
        for (then, facts, now, wanted) in [
            (front(No, b"a"), &[][..], front(Require, b"a"), Some("certificate_required")),
            (front(Ask, b"a"), &none, front(Require, b"a"), Some("certificate_required")),
            (front(Ask, b"a"), &SHOWN, front(Require, b"a"), None),
            (front(Require, b"a"), &SHOWN, front(Require, b"b"), Some("unknown_ca")),
            (front(Require, b"a"), &SHOWN, front(Ask, b"b"), Some("unknown_ca")),
            (front(Ask, b"a"), &none, front(Ask, b"b"), None),
            (front(Require, b"a"), &SHOWN, front(No, b"b"), None),
            (front(No, b"a"), &[], front(Ask, b"a"), None),
            (front(No, b"a"), &SHOWN, new_only, Some("protocol_version")),
            (front(No, b"a"), &SHOWN, other_inside, Some("no_application_protocol")),
            (front(No, b"a"), &SHOWN, plain.clone(), Some("closed")),
            (plain, &[], front(No, b"a"), Some("closed")),
            (front(No, b"a"), &SHOWN, seated, Some("closed")),
        ] {
            let fronted = judged(&then, facts, &now);
            assert_eq!(objection(&now, &fronted), wanted, "{then:?} {now:?}");
        }
    }

    #[test]
    fn what_the_server_knows_itself_is_nobody_elses_word() {
        let [asks, does_not] = [TlsClient::Ask, TlsClient::No].map(|it| front(it, b"a"));
        let unasked = judged(&does_not, &SHOWN, &does_not);
        assert!(unasked.is_encrypted());
        assert_eq!(unasked.facts.len(), 2, "nobody was asked for a certificate");
        assert_eq!(judged(&asks, &SHOWN, &asks).facts.len(), 4);
        let said = [
            (Fact::Protocol, "TLSv9"),
            (Fact::Cipher, "NULL"),
            (Fact::ClientName, "root"),
            (Fact::ClientSubject, "CN=root"),
            (Fact::ClientVerify, "perhaps"),
            (Fact::Terminal, "xterm"),
        ];
        let lied = judged(&asks, &said, &asks);
        assert_eq!(lied.facts, [(Fact::ClientVerify, NONE.to_owned())]);
        assert!(judged(&does_not, &[], &does_not).is_encrypted(), "whatever is said");
    }

    #[test]
    fn certificates_are_told_from_others_however_they_are_cut() {
        let two = |a: &str, b: &str| digest_of(&[a.into(), b.into()]);
        assert_eq!(two("ab", "c"), two("ab", "c"));
        assert_ne!(two("ab", "c"), two("a", "bc"));
        assert_ne!(digest_of(&[]), digest_of(&[Vec::new()]));
    }
}
