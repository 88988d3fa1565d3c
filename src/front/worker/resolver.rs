//! Which certificate a client is shown: that of the name it asks for, else the first.

use std::sync::{Arc, Mutex};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;

/// The certificates of a service, and the name that was last asked for.
#[derive(Debug)]
pub(super) struct CertificateResolver {
    /// With the names that each is for.
    certificates: Vec<(Vec<String>, Arc<CertifiedKey>)>,
    /// There is one thread; the lock is for the type's sake.
    asked: Mutex<Option<String>>,
}

impl CertificateResolver {
    pub(super) fn new(certificates: Vec<Arc<CertifiedKey>>) -> Self {
        let named = |it: Arc<CertifiedKey>| (names_of(&it), it);
        let certificates = certificates.into_iter().map(named).collect();
        Self { certificates, asked: Mutex::new(None) }
    }

    /// The name that was asked for since this was last called.
    pub(super) fn take_name(&self) -> Option<String> {
        self.asked.lock().ok()?.take()
    }

    fn certificate_for(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let exact = |wanted: &str| find(&self.certificates, wanted);
        let wild = |name: &str| exact(&format!("*.{}", name.split_once('.')?.1));
        let found =
            name.map(str::to_ascii_lowercase).and_then(|name| exact(&name).or_else(|| wild(&name)));
        found.or_else(|| self.certificates.first()).map(|(_, key)| Arc::clone(key))
    }
}

fn find<'a, T>(all: &'a [(Vec<String>, T)], wanted: &str) -> Option<&'a (Vec<String>, T)> {
    all.iter().find(|(names, _)| names.iter().any(|name| name == wanted))
}

/// The names of a certificate, in small letters.
fn names_of(certificate: &CertifiedKey) -> Vec<String> {
    let Some(own) = certificate.cert.first() else { return Vec::new() };
    let Ok(parsed) = EndEntityCert::try_from(own) else { return Vec::new() };
    parsed.valid_dns_names().map(str::to_ascii_lowercase).collect()
}

impl ResolvesServerCert for CertificateResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let (Some(name), Ok(mut asked)) = (hello.server_name(), self.asked.lock()) {
            *asked = Some(name.to_owned());
        }
        self.certificate_for(hello.server_name())
    }
}
