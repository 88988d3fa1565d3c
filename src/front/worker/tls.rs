//! TLS: a session of rustls between the client and the program.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{
    NoServerSessionStorage, ServerConfig, ServerConnectionData, UnbufferedServerConnection,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError,
    UnbufferedStatus,
};
use rustls::{CipherSuite, Error, ProtocolVersion, RootCertStore, version};

use super::failure::{alert_of, is_too_old};
use super::front::{Facts, Front, Output, ServiceFront};
use super::http;
use super::resolver::CertificateResolver;
use super::tickets::Tickets;
use crate::front::certificate::distinguished_name;
use crate::front::settings::Tls;
use crate::front::{alerts, proxy};
use crate::net::fronted::{Fact, VERIFIED};

/// What sealing adds to each record at most, and how long one is.
const OVERHEAD: usize = 64;
const RECORD: usize = 16 * 1024;

/// The fatal alerts `decode_error` and `protocol_version` as records.
const DECODE_ERROR: &[u8] = &[21, 3, 3, 0, 2, 2, 50];
const PROTOCOL_VERSION: &[u8] = &[21, 3, 3, 0, 2, 2, 70];

/// Before everything is given up: the arithmetic looks at the machine, and at its source of
/// random numbers.
pub(super) fn begin() {
    let provider = crypto::aws_lc_rs::default_provider();
    let _ = provider.secure_random.fill(&mut [0; 32]);
}

/// A service behind TLS.
pub(super) struct TlsService {
    config: Arc<ServerConfig>,
    resolver: Arc<CertificateResolver>,
    asks: bool,
    idle: Option<Duration>,
}

impl TlsService {
    /// # Errors
    /// What is wrong with the settings.
    pub(super) fn new(settings: &Tls, keys: Vec<Vec<u8>>) -> Result<Self, String> {
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let certificates = certificates(settings, keys, &provider)?;
        let resolver = Arc::new(CertificateResolver::new(certificates));
        let versions = match settings.versions {
            (true, true) => rustls::ALL_VERSIONS,
            (true, false) => &[&version::TLS12],
            (false, _) => &[&version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_protocol_versions(versions).map_err(|it| it.to_string())?;
        let builder = match settings.client {
            (false, _) => builder.with_no_client_auth(),
            (true, is_required) => {
                let roots = Arc::new(roots(settings)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier =
                    if is_required { verifier } else { verifier.allow_unauthenticated() };
                builder.with_client_cert_verifier(verifier.build().map_err(|it| it.to_string())?)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::<CertificateResolver>::clone(&resolver));
        config.alpn_protocols =
            settings.alpn.iter().map(|name| name.clone().into_bytes()).collect();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Arc::new(Tickets::new(&settings.tickets)?);
        config.send_tls13_tickets = 1;
        let (asks, idle) = (settings.client.0, settings.idle);
        Ok(Self { config: Arc::new(config), resolver, asks, idle })
    }
}

fn certificates(
    settings: &Tls,
    keys: Vec<Vec<u8>>,
    provider: &CryptoProvider,
) -> Result<Vec<Arc<CertifiedKey>>, String> {
    if settings.chains.len() != keys.len() || keys.is_empty() {
        return Err("a key is missing".to_owned());
    }
    let mut all = Vec::new();
    for (chain, key) in settings.chains.iter().zip(keys) {
        let chain = chain.iter().map(|it| CertificateDer::from(it.clone())).collect();
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|it| format!("key: {it}"))?;
        let certified = CertifiedKey::from_der(chain, key, provider);
        all.push(Arc::new(certified.map_err(|it| it.to_string())?));
    }
    Ok(all)
}

fn roots(settings: &Tls) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for authority in &settings.authorities {
        let certificate = CertificateDer::from(authority.as_slice());
        roots.add(certificate.into_owned()).map_err(|it| it.to_string())?;
    }
    Ok(roots)
}

impl ServiceFront for TlsService {
    fn front(&self) -> Result<Box<dyn Front>, String> {
        let session = UnbufferedServerConnection::new(Arc::clone(&self.config));
        Ok(Box::new(TlsFront {
            session: session.map_err(|it| it.to_string())?,
            resolver: Arc::clone(&self.resolver),
            server_name: None,
            asks: self.asks,
            begun: false,
            has_answered: false,
            told: false,
            tickets: Vec::new(),
        }))
    }

    fn idle(&self) -> Option<Duration> {
        self.idle
    }
}

struct TlsFront {
    session: UnbufferedServerConnection,
    resolver: Arc<CertificateResolver>,
    server_name: Option<Box<str>>,
    /// Clients are asked for certificates.
    asks: bool,
    /// The client's first bytes have been looked at.
    begun: bool,
    /// Something has been said to the client.
    has_answered: bool,
    /// The handshake is over, and that has been told.
    told: bool,
    /// Tickets are not waited for: they go with what is said next.
    tickets: Vec<u8>,
}

impl Front for TlsFront {
    fn client_said(&mut self, bytes: &mut [u8], out: &mut Output) -> Result<usize, String> {
        let is_first = !std::mem::replace(&mut self.begun, true);
        if is_first && http::is_request(bytes) {
            out.to_client.extend_from_slice(http::ANSWER);
            return Err(alerts::HTTP.to_owned());
        }
        if is_first && proxy::is_header(bytes) {
            return Err(alerts::HEADER.to_owned());
        }
        let mut used = 0;
        out.to_client.append(&mut self.tickets);
        if let Err(error) = self.process(bytes, &mut used, out) {
            self.tell_alert(out);
            if is_too_old(&error) {
                out.to_client.clear();
                out.to_client.extend_from_slice(PROTOCOL_VERSION);
            }
            if out.to_client.is_empty() && matches!(error, Error::InvalidMessage(_)) {
                return Err(self.too_long(out));
            }
            return Err(alert_of(&error));
        }
        self.has_answered |= !out.to_client.is_empty();
        if let Some(name) = self.resolver.take_name() {
            self.server_name = Some(name.into());
        }
        if !self.told && !self.session.is_handshaking() {
            self.told = true;
            out.facts = Some(self.facts());
            self.server_name = None;
            if self.session.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
                // All that is said at the end of such a handshake.
                self.tickets = std::mem::take(&mut out.to_client);
            }
        }
        Ok(used)
    }

    fn says_its_end(&self) -> bool {
        true
    }

    fn too_long(&mut self, out: &mut Output) -> String {
        // The library waits for the rest. As long as nothing has been answered, nothing is
        // encrypted.
        if !self.has_answered {
            out.to_client.extend_from_slice(DECODE_ERROR);
        }
        alerts::TOO_LONG.to_owned()
    }

    fn program_said(
        &mut self,
        kept: &mut [u8],
        bytes: &[u8],
        out: &mut Output,
    ) -> Result<(), String> {
        out.to_client.append(&mut self.tickets);
        // Nothing of it can be done with now; but we may have something to say ourselves.
        self.process(kept, &mut 0, out).map_err(|error| alert_of(&error))?;
        let status = self.session.process_tls_records(kept);
        let Ok(ConnectionState::WriteTraffic(mut writer)) = status.state else {
            return Err("nothing can be written".to_owned());
        };
        let records = bytes.len() / RECORD + 1;
        let room = bytes.len() + records * OVERHEAD;
        append(&mut out.to_client, room, |buffer| match writer.encrypt(bytes, buffer) {
            Ok(length) => Ok(length),
            Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) => {
                Err(Some(required_size))
            }
            Err(EncryptError::EncryptExhausted) => Err(None),
        })
        .ok_or_else(|| "nothing can be written".to_owned())
    }

    fn program_ended(&mut self, kept: &mut [u8], out: &mut Output) {
        out.to_client.append(&mut self.tickets);
        let _ = self.process(kept, &mut 0, out);
        let status = self.session.process_tls_records(kept);
        if let Ok(ConnectionState::WriteTraffic(mut writer)) = status.state {
            append(&mut out.to_client, OVERHEAD, |buffer| {
                match writer.queue_close_notify(buffer) {
                    Ok(length) => Ok(length),
                    Err(EncryptError::InsufficientSize(it)) => Err(Some(it.required_size)),
                    Err(EncryptError::EncryptExhausted) => Err(None),
                }
            });
        }
    }
}

impl TlsFront {
    /// What the client has sent, behind what is `used`: how much is done with.
    fn process(
        &mut self,
        bytes: &mut [u8],
        used: &mut usize,
        out: &mut Output,
    ) -> Result<(), Error> {
        loop {
            let rest = bytes.get_mut(*used..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state } = self.session.process_tls_records(rest);
            let mut is_done = false;
            let state = match state {
                Ok(state) => state,
                Err(error) => {
                    *used = used.saturating_add(discard);
                    return Err(error);
                }
            };
            match state {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard = discard.saturating_add(record.discard);
                        out.to_program.extend_from_slice(record.payload);
                    }
                }
                ConnectionState::EncodeTlsData(data) => encode(data, out),
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => out.client_ended = true,
                // No early data is taken.
                ConnectionState::ReadEarlyData(_)
                | ConnectionState::Closed
                | ConnectionState::BlockedHandshake
                | ConnectionState::WriteTraffic(_) => is_done = true,
                _ => is_done = true,
            }
            *used = used.saturating_add(discard);
            if is_done {
                return Ok(());
            }
        }
    }

    /// What was to be said when the session failed. Nothing of the client's is looked at again.
    fn tell_alert(&mut self, out: &mut Output) {
        while self.session.wants_write() {
            let status = self.session.process_tls_records(&mut []);
            let Ok(ConnectionState::EncodeTlsData(data)) = status.state else { return };
            encode(data, out);
        }
    }

    fn facts(&self) -> Facts {
        let session = &self.session;
        let protocol = match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "",
        };
        let cipher = session.negotiated_cipher_suite().and_then(|it| name_of(it.suite()));
        let alpn = session.alpn_protocol().and_then(|it| std::str::from_utf8(it).ok());
        let mut facts = vec![(Fact::Protocol, protocol.to_owned())];
        let mut put = |fact, value: Option<&str>| {
            facts.extend(value.map(|value| (fact, value.to_owned())));
        };
        put(Fact::Cipher, cipher.as_deref());
        put(Fact::ServerName, self.server_name.as_deref());
        put(Fact::Alpn, alpn);
        match session.peer_certificates().and_then(<[_]>::first) {
            Some(own) => describe(own, &mut facts),
            None if self.asks => put(Fact::ClientVerify, Some("NONE")),
            None => {}
        }
        facts
    }
}

/// The name of a cipher as the standard and everybody else has it.
pub(crate) fn name_of(suite: CipherSuite) -> Option<String> {
    suite.as_str().map(|name| name.replacen("TLS13_", "TLS_", 1))
}

/// What a verified certificate says.
fn describe(own: &CertificateDer<'_>, facts: &mut Facts) {
    let fingerprint = digest::digest(&digest::SHA256, own);
    let fingerprint = fingerprint.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    facts.push((Fact::ClientVerify, VERIFIED.to_owned()));
    facts.push((Fact::ClientSha256, fingerprint));
    if let Ok(parsed) = webpki::EndEntityCert::try_from(own) {
        let subject = distinguished_name(parsed.subject()).map(|it| (Fact::ClientSubject, it));
        let issuer = distinguished_name(parsed.issuer()).map(|it| (Fact::ClientIssuer, it));
        facts.extend([subject, issuer].into_iter().flatten());
    }
}

/// Puts out what the session says itself.
fn encode(mut data: EncodeTlsData<'_, ServerConnectionData>, out: &mut Output) {
    append(&mut out.to_client, 0, |buffer| match data.encode(buffer) {
        Ok(length) => Ok(length),
        Err(EncodeError::InsufficientSize(it)) => Err(Some(it.required_size)),
        Err(EncodeError::AlreadyEncoded) => Err(None),
    });
}

/// Appends what `write` writes; it says how much room it needs. None if it cannot.
fn append(
    to: &mut Vec<u8>,
    mut room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
) -> Option<()> {
    let start = to.len();
    loop {
        to.resize(start.saturating_add(room), 0);
        match write(to.get_mut(start..).unwrap_or_default()) {
            Ok(length) => {
                to.truncate(start.saturating_add(length));
                return Some(());
            }
            Err(Some(more)) if more > room => room = more,
            Err(_) => {
                to.truncate(start);
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::NamedGroup;
    use rustls::crypto::aws_lc_rs::default_provider;

    /// What is recorded today is not read by a quantum computer of later, where the client can.
    #[test]
    fn the_hybrid_group_comes_first() {
        let groups = default_provider().kx_groups;
        assert_eq!(groups.first().map(|it| it.name()), Some(NamedGroup::X25519MLKEM768));
    }
}
