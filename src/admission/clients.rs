//! How many clients a service has had: `max_clients`.

use super::{Admission, ServiceId};

impl Admission {
    /// Whether some service has had all of its clients since this was asked last.
    pub(crate) fn take_spent(&mut self) -> bool {
        std::mem::take(&mut self.spent)
    }

    /// Whether this one has.
    pub(crate) fn is_spent(&self, id: ServiceId) -> bool {
        self.places.get(id).is_some_and(|service| service.is_spent())
    }

    /// Who was admitted and not cancelled.
    pub(crate) fn clients(&self, id: ServiceId) -> u32 {
        self.places.get(id).map_or(0, |service| service.clients)
    }

    /// Counts on from there.
    pub(crate) fn set_clients(&mut self, id: ServiceId, clients: u32) {
        let Some(service) = self.places.get_mut(id) else { return };
        service.clients = clients;
        let spent = service.is_spent();
        self.spent |= spent;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::tests::Desk;
    use super::super::{Address, Denial, Limits, Observed, Reason, Source};
    use crate::config::model::Attributes;

    #[test]
    fn so_many_are_admitted_and_who_is_cancelled_does_not_count() {
        let now = Instant::now();
        let seen = Observed { now, minute_of_day: 0, load: 0.0 };
        let mut attributes = Attributes::default();
        attributes.limits.max_clients = Some(2);
        let mut admission = Desk::new(9);
        let id = admission.add(Limits::new(&attributes, false));
        let admit = |admission: &mut Desk| admission.admit(&seen, id, Address::None);
        assert_eq!(admit(&mut admission), Ok(()));
        assert!(!admission.take_spent());
        assert_eq!(admit(&mut admission), Ok(()));
        assert!(admission.take_spent() && admission.is_spent(id) && !admission.take_spent());
        assert_eq!(admit(&mut admission), Err(Denial::Refuse(Reason::MaxClients)));
        let rest = Err(Denial::Rest(Reason::MaxClients, None));
        assert_eq!(admission.before_accept(now, id), rest);
        admission.cancel(now, id, Source::from(Address::None));
        assert!(!admission.is_spent(id));
        assert_eq!(admit(&mut admission), Ok(()));
        admission.release(now, id, Source::from(Address::None));
        assert_eq!((admission.clients(id), admission.is_spent(id)), (2, true), "whoever has gone");
        admission.set_clients(id, 0);
        assert_eq!(admit(&mut admission), Ok(()));
    }
}
