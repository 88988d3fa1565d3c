//! A service that was removed while somebody had its permit, and that is there again.

use std::time::Instant;

use super::{Admission, Limits, ServiceId};

impl Admission {
    /// Whoever has been admitted before it was removed counts again, by these limits. Clients
    /// that are counted over its life begin afresh. None if nobody is left of it, or if it was
    /// not removed; else whether it counts sources only now, as [`Admission::update`] has it.
    pub(crate) fn come_back(
        &mut self,
        now: Instant,
        id: ServiceId,
        limits: Limits,
    ) -> Option<bool> {
        let service = self.places.get_mut(id).filter(|service| service.retired)?;
        service.retired = false;
        service.clients = 0;
        Some(self.update(now, id, limits))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::tests::Desk;
    use super::super::{Address, Denial, Limits, Observed, Reason, Source};
    use crate::config::model::Attributes;

    #[test]
    fn whoever_is_left_of_a_service_that_comes_back_has_a_place_in_it() {
        let now = Instant::now();
        let seen = Observed { now, minute_of_day: 0, load: 0.0 };
        let mut attributes = Attributes::default();
        attributes.limits.instances = Some(1);
        let limits = || Limits::new(&attributes, false);
        let mut admission = Desk::new(9);
        let id = admission.add(limits());
        assert_eq!(admission.come_back(now, id, limits()), None, "it was not away");
        assert_eq!(admission.admit(&seen, id, Address::None), Ok(()));
        admission.retire(id);
        assert_eq!(admission.come_back(now, id, limits()), Some(false));
        let full = Err(Denial::Rest(Reason::Instances, None));
        assert_eq!((admission.running(id), admission.before_accept(now, id)), (1, full));
        admission.retire(id);
        admission.release(now, id, Source::from(Address::None));
        assert_eq!(admission.come_back(now, id, limits()), None, "nobody is left");
    }
}
