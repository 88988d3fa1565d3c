//! The entries behind tcpmux by their names, so that a client's name is found whatever
//! the number of services.

use std::collections::BTreeMap;

use crate::builtin::TcpmuxRequest;
use crate::config::model::{Service, TcpmuxName};
use crate::server::reactor::slab::Key;

/// Names without regard to their case, and whose they are.
#[derive(Debug, Default)]
pub(in crate::server) struct Entries(BTreeMap<String, Key>);

impl Entries {
    /// A service under `key` is defined, anew it may be; `before` is what it was.
    pub(in crate::server) fn define(
        &mut self,
        key: Key,
        before: Option<&Service>,
        service: &Service,
    ) {
        if let Some(before) = before {
            self.remove(key, before);
        }
        if let Some(name) = &service.tcpmux {
            self.0.insert(TcpmuxName::folded(&name.name), key);
        }
    }

    /// The service is no more. Another may have its name by now.
    pub(in crate::server) fn remove(&mut self, key: Key, service: &Service) {
        if let Some(name) = service.tcpmux.as_ref().map(|name| TcpmuxName::folded(&name.name))
            && self.0.get(&name) == Some(&key)
        {
            self.0.remove(&name);
        }
    }

    /// Whom a client asks for.
    pub(in crate::server) fn find(&self, request: &TcpmuxRequest) -> Option<Key> {
        self.0.get(&TcpmuxName::folded(&request.name)).copied()
    }

    /// All, by their names.
    pub(in crate::server) fn keys(&self) -> impl Iterator<Item = Key> {
        self.0.values().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::{Action, Builtin};
    use crate::server::reactor::slab::Slab;

    fn named(name: Option<&str>) -> Service {
        let tcpmux = name.map(|name| TcpmuxName { name: name.into(), greet: false });
        Service { tcpmux, ..Service::unwritten("any", Action::Builtin(Builtin::Echo)) }
    }

    #[test]
    fn a_name_is_found_whatever_its_case_and_is_whoever_had_it_last() {
        let mut slab = Slab::new();
        let (one, two) = (slab.insert(()), slab.insert(()));
        let mut entries = Entries::default();
        let find =
            |entries: &Entries, name: &str| entries.find(&TcpmuxRequest { name: name.to_owned() });
        entries.define(one, None, &named(Some("Shell")));
        assert_eq!(find(&entries, "sHELL"), Some(one));
        assert_eq!(find(&entries, "shell2"), None);
        // Another has the name before the first one goes.
        entries.define(two, None, &named(Some("shell")));
        entries.remove(one, &named(Some("Shell")));
        assert_eq!(find(&entries, "shell"), Some(two));
        entries.define(two, Some(&named(Some("shell"))), &named(Some("other")));
        assert_eq!((find(&entries, "shell"), find(&entries, "OTHER")), (None, Some(two)));
        entries.define(two, Some(&named(Some("other"))), &named(None));
        assert_eq!(entries.keys().count(), 0);
    }
}
