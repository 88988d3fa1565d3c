//! Services by what those who ask call them: a label, the names in a file of xinetd, or a part.

use crate::config::model::NotServed;
use crate::control::answer::RequestRefusal;
use crate::server::reactor::slab::Key;
use crate::server::services::Services;
use crate::server::state::ServiceState;

impl Services {
    /// What is said of a name that no service here has.
    fn no_such_service(&self, name: &str) -> RequestRefusal {
        let is_it = |label: &str| label.split_once('/').is_some_and(|(first, _)| first == name);
        let is_meant = |it: &&NotServed| {
            let names = [it.id.as_deref(), it.name.as_deref()];
            it.label == name || names.contains(&Some(name)) || is_it(&it.label)
        };
        let known = self.naming.not_served.iter().find(is_meant);
        let error = match known {
            None => format!("there is no service {name:?}; `oxinetd status` lists them"),
            Some(one) if one.why.is_empty() => {
                format!("{name} is not served: the log and `oxinetd check` say why")
            }
            Some(one) => format!("{name} is not served: {}", one.why),
        };
        RequestRefusal { error }
    }

    fn all_that(&self, matches: &dyn Fn(&ServiceState) -> bool) -> Vec<Key> {
        let is_meant = |key: &Key| self.all.get(*key).is_some_and(matches);
        self.order.iter().copied().filter(is_meant).collect()
    }

    fn is_ambiguous(&self, name: &str, several: &[Key]) -> RequestRefusal {
        let states = several.iter().filter_map(|key| self.all.get(*key));
        let ids: Vec<&str> = states.filter_map(|state| state.service.id.as_deref()).collect();
        RequestRefusal { error: format!("{name} is several services: {}", ids.join(", ")) }
    }

    /// The services of this label, or this id, or this part of the label before `/`.
    fn services_named(&self, name: &str) -> Vec<Key> {
        let by_label = |state: &ServiceState| *state.label == *name;
        let by_id = |state: &ServiceState| state.service.id.as_deref() == Some(name);
        let by_part = |state: &ServiceState| {
            state.label.split_once('/').is_some_and(|(first, _)| first == name)
        };
        let ways: [&dyn Fn(&ServiceState) -> bool; 3] = [&by_label, &by_id, &by_part];
        ways.into_iter().map(|way| self.all_that(way)).find(|it| !it.is_empty()).unwrap_or_default()
    }

    /// The services of this name in a file of xinetd, each of which has an id of its own.
    fn services_of_xinetd(&self, name: &str) -> Vec<Key> {
        self.all_that(&|state| state.service.name.as_deref() == Some(name))
    }

    /// The services that somebody means by a name; what to say where there are none, or where
    /// it may be one of several.
    pub(in crate::server) fn known(&self, name: &str) -> Result<Vec<Key>, RequestRefusal> {
        let found = self.services_named(name);
        if !found.is_empty() {
            return Ok(found);
        }
        match self.services_of_xinetd(name).as_slice() {
            [] => Err(self.no_such_service(name)),
            [one] => Ok(vec![*one]),
            several => Err(self.is_ambiguous(name, several)),
        }
    }
}
