//! Which certificates are served: a reload that brings others says so, once for each.

use std::collections::HashSet;
use std::path::Path;
use std::rc::Rc;

use crate::config::model::Certificate;
use crate::log::events;
use crate::server::services::Services;

/// Those of all services.
#[derive(Debug, Default)]
pub(super) struct Certificates(Vec<Rc<[Certificate]>>);

/// One of them.
#[derive(Debug)]
pub(super) struct NewCertificate {
    all: Rc<[Certificate]>,
    at: usize,
}

impl Certificates {
    fn each(&self) -> impl Iterator<Item = (&Rc<[Certificate]>, usize, &Certificate)> {
        let each =
            self.0.iter().map(|all| all.iter().enumerate().map(move |(at, it)| (all, at, it)));
        each.flatten()
    }
}

impl NewCertificate {
    pub(super) fn say(&self) {
        if let Some(it) = self.all.get(self.at) {
            events::certificate(&it.path, &it.names, it.ends, &it.fingerprint);
        }
    }
}

/// What tells one from another. Two services may have the same.
fn identity(certificate: &Certificate) -> (&Path, &str) {
    (&certificate.path, &certificate.fingerprint)
}

impl Services {
    /// Those that clients are shown, in the order of the file.
    pub(super) fn certificates(&self) -> Certificates {
        let states = self.order.iter().filter_map(|key| self.all.get(*key));
        let fronts = states.filter_map(|state| state.front.as_ref());
        Certificates(fronts.map(|front| Rc::clone(&front.certificates)).collect())
    }

    /// Those of them that were not shown before.
    pub(super) fn new_certificates(&self, before: &Certificates) -> Vec<NewCertificate> {
        let now = self.certificates();
        let mut known: HashSet<_> = before.each().map(|(_, _, it)| identity(it)).collect();
        let new = now.each().filter(|(_, _, it)| known.insert(identity(it)));
        new.map(|(all, at, _)| NewCertificate { all: Rc::clone(all), at }).collect()
    }
}
