//! The services that are counted for, each in its place: what its limits are, and how much of
//! them is used up.

use super::bucket::Bucket;
use super::limits::{CpsState, Limits};

/// Names a service for as long as it or one of its children is there. Its place is
/// used again after that, its id never is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ServiceId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// What is counted of one.
#[derive(Debug)]
pub(super) struct ServiceCounts {
    pub(super) limits: Limits,
    pub(super) running: u32,
    /// Who was admitted, and not cancelled.
    pub(super) clients: u32,
    pub(super) bucket: Bucket,
    pub(super) cps: CpsState,
    /// Removed; only its running children keep it.
    pub(super) retired: bool,
}

impl ServiceCounts {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            running: 0,
            clients: 0,
            bucket: Bucket::default(),
            cps: CpsState::default(),
            retired: false,
        }
    }

    /// Whether as many run as may.
    pub(super) fn is_full(&self) -> bool {
        self.limits.instances.is_some_and(|most| self.running >= most)
    }

    /// Whether it has had all the clients that it is to have.
    pub(super) fn is_spent(&self) -> bool {
        self.limits.clients.is_some_and(|most| self.clients >= most)
    }
}

#[derive(Debug)]
struct ServicePlace {
    generation: u32,
    service: Option<ServiceCounts>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct ServicePlaces {
    all: Vec<ServicePlace>,
    free: Vec<u32>,
}

impl ServicePlaces {
    /// Takes a service in.
    pub(super) fn add(&mut self, limits: Limits) -> ServiceId {
        let service = ServiceCounts::new(limits);
        if let Some(index) = self.free.pop()
            && let Some(place) = self.place(index)
        {
            place.service = Some(service);
            return ServiceId { index, generation: place.generation };
        }
        // 2^32 services do not fit into memory.
        let index = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        self.all.push(ServicePlace { generation: 0, service: Some(service) });
        ServiceId { index, generation: 0 }
    }

    /// A service, retired or not.
    pub(super) fn get(&self, id: ServiceId) -> Option<&ServiceCounts> {
        let place = self.all.get(usize::try_from(id.index).ok()?)?;
        place.service.as_ref().filter(|_| place.generation == id.generation)
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, id: ServiceId) -> Option<&mut ServiceCounts> {
        let place = self.place(id.index).filter(|place| place.generation == id.generation)?;
        place.service.as_mut()
    }

    /// A service that still admits.
    pub(super) fn admitting(&self, id: ServiceId) -> Option<&ServiceCounts> {
        self.get(id).filter(|service| !service.retired)
    }

    /// Another one may have the place of a service that is retired and has no child any more.
    pub(super) fn free_if_done(&mut self, id: ServiceId) {
        let Some(place) = self.place(id.index) else { return };
        let done = |service: &ServiceCounts| service.retired && service.running == 0;
        if place.generation == id.generation && place.service.as_ref().is_some_and(done) {
            place.service = None;
            // A place whose generations are used up is left empty for ever.
            if let Some(next) = place.generation.checked_add(1) {
                place.generation = next;
                self.free.push(id.index);
            }
        }
    }

    fn place(&mut self, index: u32) -> Option<&mut ServicePlace> {
        self.all.get_mut(usize::try_from(index).ok()?)
    }
}
