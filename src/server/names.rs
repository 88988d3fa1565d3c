//! Services by what those who ask call them: a label, the name in a file of xinetd, or a part.

use super::Server;
use super::slab::Key;
use super::state::ServiceState;
use crate::config::model::NotServed;
use crate::control::answer::Refusal;

impl Server {
    /// What is said of a name that no service here has.
    pub(super) fn no_such_service(&self, name: &str) -> Refusal {
        let is_it = |label: &str| label.split_once('/').is_some_and(|(first, _)| first == name);
        let is_meant = |it: &&NotServed| {
            it.label == name || it.id.as_deref() == Some(name) || is_it(&it.label)
        };
        let known = self.naming.not_served.iter().find(is_meant);
        let error = match known {
            None => format!("there is no service {name:?}; `oxinetd status` lists them"),
            Some(one) if one.why.is_empty() => {
                format!("{name} is not served: the log and `oxinetd check` say why")
            }
            Some(one) => format!("{name} is not served: {}", one.why),
        };
        Refusal { error }
    }

    /// The services of this label, or this id, or this part of the label before `/`.
    pub(super) fn services_named(&self, name: &str) -> Vec<Key> {
        let named = |matches: &dyn Fn(&ServiceState) -> bool| {
            let found = self.order.iter().copied();
            found.filter(|key| self.services.get(*key).is_some_and(matches)).collect::<Vec<Key>>()
        };
        let by_label = |state: &ServiceState| *state.label == *name;
        let by_id = |state: &ServiceState| state.service.id.as_deref() == Some(name);
        let by_part = |state: &ServiceState| {
            state.label.split_once('/').is_some_and(|(first, _)| first == name)
        };
        let ways: [&dyn Fn(&ServiceState) -> bool; 3] = [&by_label, &by_id, &by_part];
        ways.into_iter().map(named).find(|found| !found.is_empty()).unwrap_or_default()
    }
}
