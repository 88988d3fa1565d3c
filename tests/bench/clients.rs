//! Clients of what stands in front of programs: they speak TLS, send a PROXY header, or
//! neither. Each says what is to be said first, and reads hello and the end. Several threads
//! where one would be the limit.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mio::net::TcpStream;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, ClientConnection, Tls13ClientSessionValue};
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, HandshakeKind, NamedGroup, SignatureScheme};

use crate::Result;
use crate::hello::GREETING;
use crate::in_flight::{Connection, Outcome, Progress, Until, keep, waits};

/// What comes first.
#[derive(Clone)]
pub(crate) enum Speech {
    Nothing,
    Header(&'static [u8]),
    Tls(Arc<ClientConfig>),
}

/// A header that says who has connected.
pub(crate) const HEADER: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.2 50000 443\r\n";

/// Clients of one service that says hello, for profiling.
pub(crate) fn alone(
    target: SocketAddr,
    in_flight: usize,
    time: Duration,
    speech: &str,
) -> Result<()> {
    let speech = match speech {
        "nothing" => Speech::Nothing,
        "header" => Speech::Header(HEADER),
        "full" => Speech::Tls(tls(false)?),
        "resumed" => Speech::Tls(tls(true)?),
        other => return Err(format!("nobody says {other}").into()),
    };
    let mut tally = Clients { target, in_flight, speech, time }.run()?;
    let p99 = tally.percentile(0.99);
    println!(
        "{} connections, {:.0} a second, p99 {} us, {} resumed, {} failed {}",
        tally.done,
        tally.rate(),
        p99,
        tally.resumed,
        tally.failed,
        tally.complaint.take().unwrap_or_default(),
    );
    Ok(())
}

/// So many at once, for so long.
pub(crate) struct Clients {
    pub(crate) target: SocketAddr,
    pub(crate) in_flight: usize,
    pub(crate) speech: Speech,
    pub(crate) time: Duration,
}

impl Clients {
    pub(crate) fn run(&self) -> Result<Outcome> {
        let threads = if self.in_flight >= 16 { 2 } else { 1 };
        let mut outcome = Outcome::default();
        let parts = std::thread::scope(|scope| {
            let start = |at| {
                let share = self.in_flight / threads + usize::from(at < self.in_flight % threads);
                scope.spawn(move || self.run_some(share).map_err(|it| it.to_string()))
            };
            let started: Vec<_> = (0..threads).map(start).collect();
            started
                .into_iter()
                .map(|it| it.join().map_err(|_| "a thread has ended"))
                .collect::<Vec<_>>()
        });
        for part in parts {
            outcome.add(part??);
        }
        Ok(outcome)
    }

    /// In one thread.
    fn run_some(&self, in_flight: usize) -> Result<Outcome> {
        keep(in_flight, Until::Elapsed(self.time), None, |_| self.connect())
    }

    fn connect(&self) -> Result<Client> {
        let mut stream = TcpStream::connect(self.target)?;
        let (header, tls) = match &self.speech {
            Speech::Nothing => (&[][..], None),
            // Sent before the poll could tell that there is room, which would be for nothing.
            Speech::Header(header) => (rest_of(&mut stream, header)?, None),
            Speech::Tls(config) => {
                let name = ServerName::try_from("localhost")?;
                let tls = ClientConnection::new(Arc::clone(config), name)?;
                (&[][..], Some(Box::new(tls)))
            }
        };
        Ok(Client { stream, header, tls, answer: Vec::new() })
    }
}

struct Client {
    stream: TcpStream,
    header: &'static [u8],
    tls: Option<Box<ClientConnection>>,
    answer: Vec<u8>,
}

impl Connection for Client {
    fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    fn speaks(&self) -> bool {
        !self.header.is_empty() || self.tls.is_some()
    }

    fn begins(&self) -> bool {
        self.speaks()
    }

    fn advance(&mut self) -> Progress {
        while !self.header.is_empty() {
            match self.stream.write(self.header) {
                Ok(count) => self.header = &self.header[count..],
                Err(error) if waits(&error) => return None,
                Err(error) => return Some(Err(format!("write: {error}"))),
            }
        }
        match self.tls.take() {
            None => self.read_plain(),
            Some(mut tls) => {
                let progress = self.go_on_with(&mut tls);
                self.tls = Some(tls);
                progress
            }
        }
    }

    fn has_resumed(&self) -> bool {
        let kind = self.tls.as_ref().and_then(|it| it.handshake_kind());
        kind == Some(HandshakeKind::Resumed)
    }
}

impl Client {
    fn read_plain(&mut self) -> Progress {
        let mut bytes = [0; 4096];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Some(self.judge()),
                Ok(count) => self.answer.extend_from_slice(&bytes[..count]),
                Err(error) if waits(&error) => return None,
                Err(error) => return Some(Err(format!("read: {error}"))),
            }
        }
    }

    fn go_on_with(&mut self, tls: &mut ClientConnection) -> Progress {
        loop {
            while tls.wants_write() {
                match tls.write_tls(&mut self.stream) {
                    Ok(_) => {}
                    Err(error) if waits(&error) => break,
                    Err(error) => return Some(Err(format!("write: {error}"))),
                }
            }
            let at_end = match tls.read_tls(&mut self.stream) {
                Ok(count) => count == 0,
                Err(error) if waits(&error) => return None,
                Err(error) => return Some(Err(format!("read: {error}"))),
            };
            let state = match tls.process_new_packets() {
                Ok(state) => state,
                Err(error) => return Some(Err(error.to_string())),
            };
            let mut room = vec![0; state.plaintext_bytes_to_read()];
            let _ = tls.reader().read_exact(&mut room);
            self.answer.extend(room);
            if at_end || state.peer_has_closed() {
                return Some(self.judge());
            }
        }
    }

    fn judge(&self) -> std::result::Result<(), String> {
        if self.answer == GREETING {
            return Ok(());
        }
        Err(format!("the answer was {:?}", String::from_utf8_lossy(&self.answer)))
    }
}

/// What of these bytes is not sent at once.
fn rest_of(stream: &mut TcpStream, bytes: &'static [u8]) -> Result<&'static [u8]> {
    match stream.write(bytes) {
        Ok(count) => Ok(&bytes[count..]),
        Err(error) if waits(&error) => Ok(bytes),
        Err(error) => Err(error.into()),
    }
}

/// A client of TLS 1.3 that takes any certificate; it resumes if it `resumes`.
pub(crate) fn tls(resumes: bool) -> Result<Arc<ClientConfig>> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    // What all of those that are compared have.
    provider.kx_groups.retain(|group| group.name() == NamedGroup::X25519);
    let provider = Arc::new(provider);
    let builder = ClientConfig::builder_with_provider(provider);
    let mut config = builder
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting))
        .with_no_client_auth();
    config.resumption = match resumes {
        true => Resumption::store(Arc::new(Tickets::default())),
        false => Resumption::disabled(),
    };
    Ok(Arc::new(config))
}

/// What a client costs is not what is measured: nothing is verified.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// The tickets that there are; each is used once.
#[derive(Debug, Default)]
struct Tickets(Mutex<Vec<Tls13ClientSessionValue>>);

/// More are thrown away.
const MOST_TICKETS: usize = 256;

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        if let Ok(mut tickets) = self.0.lock()
            && tickets.len() < MOST_TICKETS
        {
            tickets.push(value);
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.lock().ok()?.pop()
    }
}
