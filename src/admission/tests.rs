//! Admission on a virtual clock, limit by limit.

use std::rc::Rc;

use super::access::{AccessList, parse_item};
use super::*;
use crate::config::model::Cps;
use crate::config::model::{AccessTimes, Attributes, LimitAttributes, Rate};

/// A clock that is moved by hand.
pub(super) struct Clock(pub(super) Instant);

impl Clock {
    pub(super) fn new() -> Self {
        Self(Instant::now())
    }

    pub(super) fn pass(&mut self, millis: u64) {
        self.0 += Duration::from_millis(millis);
    }

    pub(super) fn seen(&self) -> Observed {
        Observed { now: self.0, minute_of_day: 12 * 60, load: 0.5 }
    }
}

/// Admission, and the permits of whoever has come and not gone.
pub(super) struct Desk {
    admission: Admission,
    permits: Vec<Permit>,
}

impl Desk {
    pub(super) fn new(max_children: u32) -> Self {
        Self { admission: Admission::new(max_children), permits: Vec::new() }
    }

    pub(super) fn admit(
        &mut self,
        seen: &Observed,
        id: ServiceId,
        peer: Address,
    ) -> Result<(), Denial> {
        let admitted = self.admission.admit(seen, id, peer);
        let admitted = admitted.map_err(|reason| self.admission.deny(seen.now, id, reason));
        admitted.map(|permit| self.permits.push(permit))
    }

    pub(super) fn release(&mut self, now: Instant, id: ServiceId, source: Source) -> Wake {
        let permit = self.take(id, source);
        self.admission.release(now, permit)
    }

    pub(super) fn cancel(&mut self, now: Instant, id: ServiceId, source: Source) -> Wake {
        let permit = self.take(id, source);
        self.admission.cancel(now, permit)
    }

    /// The oldest of this source's.
    fn take(&mut self, service: ServiceId, source: Source) -> Permit {
        let key = SourceKey { service, source };
        let place = self.permits.iter().position(|permit| permit.key == key).unwrap();
        self.permits.remove(place)
    }

    fn update(&mut self, now: Instant, id: ServiceId, limits: Limits) {
        if self.admission.update(now, id, limits) {
            self.permits.iter_mut().for_each(|it| self.admission.count_source(now, id, it));
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.permits.iter_mut().for_each(Permit::close);
    }
}

impl std::ops::Deref for Desk {
    type Target = Admission;

    fn deref(&self) -> &Admission {
        &self.admission
    }
}

impl std::ops::DerefMut for Desk {
    fn deref_mut(&mut self) -> &mut Admission {
        &mut self.admission
    }
}

pub(super) fn unlimited() -> LimitAttributes {
    LimitAttributes { instances: None, ..LimitAttributes::default() }
}

/// Attributes that say nothing else.
pub(super) fn limited(limits: LimitAttributes) -> Attributes {
    Attributes { limits, ..Attributes::default() }
}

fn per_second(count: u32) -> Option<Rate> {
    Some(Rate { count, per: Duration::from_secs(1) })
}

pub(super) fn peer(last: u8) -> Address {
    Address::Inet(([10, 0, 0, last], 4711).into())
}

/// Who may not connect is said as well.
fn without(no_access: &str) -> Attributes {
    let mut attributes = limited(unlimited());
    attributes.access.no_access = parse_item(no_access).unwrap().into();
    attributes
}

fn one(attributes: &Attributes, wait: bool) -> (Desk, ServiceId, Clock) {
    let mut admission = Desk::new(1000);
    let id = admission.add(Limits::new(attributes, wait));
    (admission, id, Clock::new())
}

#[test]
fn at_instances_a_listener_rests_until_a_child_ends() {
    let (mut admission, id, clock) =
        one(&limited(LimitAttributes { instances: Some(1), ..unlimited() }), false);
    assert_eq!(admission.before_accept(clock.0, id), Ok(()));
    assert_eq!(admission.admit(&clock.seen(), id, peer(1)), Ok(()));
    assert_eq!(admission.before_accept(clock.0, id), Err(Denial::Rest(Reason::Instances, None)));
    assert_eq!(admission.release(clock.0, id, peer(1).into()), Wake::Service(id));
    assert_eq!(admission.before_accept(clock.0, id), Ok(()));
}

#[test]
fn at_instances_clients_are_refused_if_that_is_wanted() {
    let refusing =
        limited(LimitAttributes { instances: Some(1), at_limit: AtLimit::Refuse, ..unlimited() });
    let (mut admission, id, clock) = one(&refusing, false);
    admission.admit(&clock.seen(), id, peer(1)).unwrap();
    assert_eq!(admission.before_accept(clock.0, id), Ok(()));
    let verdict = admission.admit(&clock.seen(), id, peer(2));
    assert_eq!(verdict, Err(Denial::Refuse(Reason::Instances)));
    let (mut admission, id, clock) = one(&refusing, true);
    admission.admit(&clock.seen(), id, Address::None).unwrap();
    let rest = Err(Denial::Rest(Reason::Instances, None));
    assert_eq!(admission.before_accept(clock.0, id), rest, "a wait service cannot refuse");
    assert_eq!(admission.admit(&clock.seen(), id, Address::None), rest);
}

#[test]
fn a_full_service_server_and_source_await_an_end() {
    let attributes =
        limited(LimitAttributes { instances: Some(2), per_source: Some(1), ..unlimited() });
    let mut admission = Desk::new(3);
    let clock = Clock::new();
    let [id, other] = [0, 1].map(|_| admission.add(Limits::new(&attributes, false)));
    let source = |last: u8| Some(Source::from(peer(last)));
    assert!(!admission.awaits_an_end(id, source(1)));
    admission.admit(&clock.seen(), id, peer(1)).unwrap();
    assert!(admission.awaits_an_end(id, source(1)), "the source has its share");
    assert!(!admission.awaits_an_end(id, source(2)) && !admission.awaits_an_end(id, None));
    admission.admit(&clock.seen(), id, peer(2)).unwrap();
    assert!(admission.awaits_an_end(id, None), "the service is full");
    assert!(!admission.awaits_an_end(other, source(1)));
    admission.admit(&clock.seen(), other, peer(1)).unwrap();
    assert!(admission.awaits_an_end(other, source(2)), "the server is full");
    admission.release(clock.0, id, peer(1).into());
    assert!(!admission.awaits_an_end(id, source(1)) && !admission.awaits_an_end(other, None));
    admission.retire(id);
    assert!(!admission.awaits_an_end(id, None), "nobody waits for it");
}

#[test]
fn a_surplus_source_uses_up_nothing_of_others() {
    let attributes = limited(LimitAttributes {
        per_source: Some(1),
        rate: per_second(2),
        source_rate: per_second(2),
        ..unlimited()
    });
    let (mut admission, id, clock) = one(&attributes, false);
    assert_eq!(admission.admit(&clock.seen(), id, peer(1)), Ok(()));
    for _ in 0..100 {
        let verdict = admission.admit(&clock.seen(), id, peer(1));
        assert_eq!(verdict, Err(Denial::Refuse(Reason::PerSource)));
    }
    assert_eq!(admission.admit(&clock.seen(), id, peer(2)), Ok(()));
    assert_eq!(admission.admit(&clock.seen(), id, peer(3)), Err(Denial::Refuse(Reason::Rate)));
    assert_eq!(admission.sources.len(), 2, "whoever is refused is not remembered");
    admission.cancel(clock.0, id, peer(2).into());
    assert_eq!(admission.admit(&clock.seen(), id, peer(3)), Ok(()), "token given back");
}

#[test]
fn a_source_rate_outlives_the_child_and_recovers() {
    let (mut admission, id, mut clock) =
        one(&limited(LimitAttributes { source_rate: per_second(2), ..unlimited() }), false);
    for _ in 0..2 {
        assert_eq!(admission.admit(&clock.seen(), id, peer(1)), Ok(()));
        admission.release(clock.0, id, peer(1).into());
    }
    let refused = Err(Denial::Refuse(Reason::SourceRate));
    assert_eq!(admission.admit(&clock.seen(), id, peer(1)), refused);
    assert_eq!(admission.admit(&clock.seen(), id, peer(2)), Ok(()));
    clock.pass(500);
    assert_eq!(admission.admit(&clock.seen(), id, peer(1)), Ok(()));
    assert_eq!(admission.admit(&clock.seen(), id, peer(1)), refused);
}

#[test]
fn a_wait_service_rests_until_the_next_token() {
    let (mut admission, id, mut clock) =
        one(&limited(LimitAttributes { rate: per_second(2), ..unlimited() }), true);
    for _ in 0..2 {
        assert_eq!(admission.before_accept(clock.0, id), Ok(()));
        assert_eq!(admission.admit(&clock.seen(), id, Address::None), Ok(()));
        admission.release(clock.0, id, Source::Unknown);
    }
    let until = clock.0 + Duration::from_millis(500);
    let rest = Err(Denial::Rest(Reason::Rate, Some(until)));
    assert_eq!(admission.before_accept(clock.0, id), rest);
    assert_eq!(admission.admit(&clock.seen(), id, Address::None), rest);
    clock.pass(500);
    assert_eq!(admission.before_accept(clock.0, id), Ok(()));
}

#[test]
fn cps_lets_the_listener_rest() {
    let (mut admission, id, mut clock) = one(&limited(unlimited()), false);
    let mut limits = Limits::new(&limited(unlimited()), false);
    limits.cps = Some(Cps { count: 2, rest: Duration::from_secs(5) });
    admission.update(clock.0, id, limits);
    for _ in 0..3 {
        clock.pass(1000);
        assert_eq!(admission.before_accept(clock.0, id), Ok(()));
        assert_eq!(admission.admit(&clock.seen(), id, peer(1)), Ok(()));
        assert_eq!(admission.admit(&clock.seen(), id, peer(2)), Ok(()));
    }
    assert_eq!(admission.before_accept(clock.0, id), Ok(()), "exactly at it");
    assert_eq!(admission.admit(&clock.seen(), id, peer(3)), Err(Denial::Refuse(Reason::Cps)));
    let until = clock.0 + Duration::from_secs(5);
    let rest = Err(Denial::Rest(Reason::Cps, Some(until)));
    assert_eq!(admission.before_accept(clock.0, id), rest);
    clock.pass(5000);
    assert_eq!(admission.before_accept(clock.0, id), Ok(()));
    assert_eq!(admission.admit(&clock.seen(), id, peer(3)), Ok(()));
}

#[test]
fn access_times_and_load_are_asked_first() {
    let (mut admission, id, clock) =
        one(&limited(LimitAttributes { per_source: Some(0), ..unlimited() }), false);
    let mut limits =
        Limits::new(&limited(LimitAttributes { per_source: Some(0), ..unlimited() }), false);
    let only_from = parse_item("10.0.0.{1,2}").unwrap();
    limits.access = Some(Rc::new(AccessList::new(Some(&only_from), &[])));
    limits.times = Some(Rc::new(AccessTimes::parse("8:00-18:00").unwrap()));
    limits.max_load = Some(2.0);
    admission.update(clock.0, id, limits);
    let seen = clock.seen();
    let mut refused = |seen: &Observed, peer| match admission.admit(seen, id, peer) {
        Err(Denial::Refuse(reason)) => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&seen, peer(3)), Reason::Access);
    assert_eq!(refused(&seen, Address::None), Reason::Access, "whose address is unknown");
    assert_eq!(refused(&Observed { minute_of_day: 0, ..seen }, peer(1)), Reason::Time);
    assert_eq!(refused(&Observed { load: 2.5, ..seen }, peer(1)), Reason::Load);
    assert_eq!(refused(&seen, peer(1)), Reason::PerSource);
    assert_eq!(refused(&seen, Address::Unix { pid: 1, uid: 2 }), Reason::PerSource);
}

#[test]
fn what_the_attributes_say_of_access_holds() {
    let only_from = parse_item("10.0.0.0/24").unwrap();
    let cps = Some(Cps { count: 1, rest: Duration::from_secs(5) });
    let mut said = limited(LimitAttributes { max_load: Some(2.0), cps, ..unlimited() });
    said.access.only_from = Some(only_from.into());
    said.access.no_access = parse_item("10.0.0.3").unwrap().into();
    said.access.access_times = AccessTimes::parse("8:00-18:00").ok();
    let (mut admission, id, clock) = one(&said, false);
    let seen = clock.seen();
    assert_eq!(admission.admit(&seen, id, peer(3)), Err(Denial::Refuse(Reason::Access)));
    let late = Observed { minute_of_day: 20 * 60, ..seen };
    assert_eq!(admission.admit(&late, id, peer(1)), Err(Denial::Refuse(Reason::Time)));
    let loaded = Observed { load: 2.1, ..seen };
    assert_eq!(admission.admit(&loaded, id, peer(1)), Err(Denial::Refuse(Reason::Load)));
    assert_eq!(admission.admit(&seen, id, peer(1)), Ok(()));
    assert_eq!(admission.admit(&seen, id, peer(1)), Err(Denial::Refuse(Reason::Cps)));
}

#[test]
fn senders_of_datagrams_are_looked_at_before_a_wait_program_starts() {
    let (mut admission, id, clock) = one(&without("10.0.0.3"), true);
    assert!(admission.looks_at_senders(id));
    assert!(admission.admits_sender(clock.0, id, peer(1)));
    assert!(!admission.admits_sender(clock.0, id, peer(3)));
    assert_eq!(admission.running(id), 0, "nobody is counted by looking");
    let began = Notice::LimitBegan { id: Some(id), reason: Reason::Access };
    assert_eq!(admission.notices(), [began]);
    assert_eq!(admission.admit(&clock.seen(), id, Address::None), Ok(()));
    let (admission, id, _) = one(&limited(unlimited()), true);
    assert!(!admission.looks_at_senders(id));
}

#[test]
fn a_datagram_for_a_built_in_service_is_refused_and_its_listener_does_not_rest() {
    let attributes = without("10.0.0.3");
    let mut admission = Desk::new(1000);
    let id = admission.add(Limits::new(&attributes, true).for_builtin(true));
    let clock = Clock::new();
    assert_eq!(admission.admit(&clock.seen(), id, peer(3)), Err(Denial::Refuse(Reason::Access)));
    assert_eq!(admission.before_accept(clock.0, id), Ok(()));
    assert_eq!(admission.admit(&clock.seen(), id, peer(1)), Ok(()));
}

#[test]
fn a_wait_service_looks_again_at_time_and_load() {
    let (mut admission, id, clock) = one(&limited(unlimited()), true);
    let mut limits = Limits::new(&limited(unlimited()), true);
    limits.max_load = Some(0.1);
    admission.update(clock.0, id, limits);
    let until = Some(clock.0 + LOOK_AGAIN);
    let verdict = admission.admit(&clock.seen(), id, Address::None);
    assert_eq!(verdict, Err(Denial::Rest(Reason::Load, until)));
}

#[test]
fn max_children_is_for_all_and_wakes_all() {
    let mut admission = Desk::new(2);
    let clock = Clock::new();
    let ids = [0; 2].map(|_| admission.add(Limits::new(&limited(unlimited()), false)));
    for id in ids {
        assert_eq!(admission.admit(&clock.seen(), id, peer(1)), Ok(()));
    }
    for id in ids {
        let rest = Err(Denial::Rest(Reason::MaxChildren, None));
        assert_eq!(admission.before_accept(clock.0, id), rest);
        let refused = Err(Denial::Refuse(Reason::MaxChildren));
        assert_eq!(admission.admit(&clock.seen(), id, peer(1)), refused);
    }
    let began = Notice::LimitBegan { id: None, reason: Reason::MaxChildren };
    assert_eq!(admission.notices(), [began]);
    assert_eq!(admission.release(clock.0, ids[0], peer(1).into()), Wake::All);
    assert_eq!(admission.release(clock.0, ids[1], peer(1).into()), Wake::Service(ids[1]));
}

#[test]
fn a_retired_service_lives_as_long_as_its_children() {
    let (mut admission, id, clock) = one(&limited(unlimited()), false);
    admission.admit(&clock.seen(), id, peer(1)).unwrap();
    admission.retire(id);
    assert_eq!(admission.before_accept(clock.0, id), Err(Denial::Refuse(Reason::Gone)));
    assert_eq!(admission.admit(&clock.seen(), id, peer(1)), Err(Denial::Refuse(Reason::Gone)));
    let other = admission.add(Limits::new(&limited(unlimited()), false));
    assert_ne!(other.index, id.index, "its place is not free yet");
    assert_eq!(admission.running(id), 1);
    assert_eq!(admission.release(clock.0, id, peer(1).into()), Wake::Nobody);
    let next = admission.add(Limits::new(&limited(unlimited()), false));
    assert_eq!((next.index, next == id), (id.index, false));
    admission.admit(&clock.seen(), next, peer(1)).unwrap();
    assert_eq!((admission.running(id), admission.running(next)), (0, 1), "an old id");
}

#[test]
fn a_reload_keeps_counters_and_clamps() {
    let (mut admission, id, mut clock) = one(
        &limited(LimitAttributes {
            rate: Some(Rate { count: 1, per: Duration::from_secs(86_400) }),
            ..unlimited()
        }),
        false,
    );
    admission.admit(&clock.seen(), id, peer(1)).unwrap();
    let faster = limited(LimitAttributes {
        rate: per_second(1),
        instances: Some(2),
        per_source: Some(5),
        ..unlimited()
    });
    admission.update(clock.0, id, Limits::new(&faster, false));
    assert_eq!(admission.admit(&clock.seen(), id, peer(1)), Err(Denial::Refuse(Reason::Rate)));
    clock.pass(1000);
    assert_eq!(admission.admit(&clock.seen(), id, peer(1)), Ok(()));
    assert_eq!(admission.before_accept(clock.0, id), Err(Denial::Rest(Reason::Instances, None)));
    for left in [1, 0] {
        admission.release(clock.0, id, peer(1).into());
        assert_eq!(admission.running(id), left);
    }
    assert_eq!((admission.total_running(), admission.sources.len()), (0, 0));
}

#[test]
fn a_million_sources_leave_a_bounded_table() {
    let (mut admission, id, clock) =
        one(&limited(LimitAttributes { source_rate: per_second(1), ..unlimited() }), false);
    for n in 0..1_000_000_u32 {
        let peer = Address::Inet((std::net::Ipv4Addr::from_bits(n), 1).into());
        assert_eq!(admission.admit(&clock.seen(), id, peer), Ok(()));
        admission.release(clock.0, id, peer.into());
    }
    assert_eq!((admission.sources.len(), admission.total_running()), (CAPACITY, 0));
}

#[test]
fn a_reload_frees_a_source_from_a_slow_rate() {
    let slow = Some(Rate { count: 1, per: Duration::from_secs(86_400) });
    let (mut admission, id, mut clock) =
        one(&limited(LimitAttributes { source_rate: slow, ..unlimited() }), false);
    admission.admit(&clock.seen(), id, peer(1)).unwrap();
    let faster = limited(LimitAttributes { source_rate: per_second(1), ..unlimited() });
    admission.update(clock.0, id, Limits::new(&faster, false));
    let refused = Err(Denial::Refuse(Reason::SourceRate));
    assert_eq!(admission.admit(&clock.seen(), id, peer(1)), refused);
    clock.pass(1000);
    assert_eq!(admission.admit(&clock.seen(), id, peer(1)), Ok(()));
}

#[test]
fn a_reload_cuts_a_rest_short() {
    let (mut admission, id, mut clock) = one(&limited(unlimited()), false);
    let mut limits = Limits::new(&limited(unlimited()), false);
    for (rest, expected) in [(3600, 3600), (1, 1)] {
        limits.cps = Some(Cps { count: 0, rest: Duration::from_secs(rest) });
        admission.update(clock.0, id, limits.clone());
        let _ = admission.admit(&clock.seen(), id, peer(1));
        let until = Some(clock.0 + Duration::from_secs(expected));
        let verdict = admission.before_accept(clock.0, id);
        assert_eq!(verdict, Err(Denial::Rest(Reason::Cps, until)));
    }
    clock.pass(1000);
    assert_eq!(admission.before_accept(clock.0, id), Ok(()));
}

#[test]
fn a_source_is_counted_once_however_often_a_reload_begins_to() {
    let (mut admission, id, clock) = one(&limited(unlimited()), false);
    assert_eq!(admission.admit(&clock.seen(), id, peer(1)), Ok(()));
    let counting = limited(LimitAttributes { per_source: Some(1), ..unlimited() });
    for attributes in [&counting, &limited(unlimited()), &counting] {
        admission.update(clock.0, id, Limits::new(attributes, false));
    }
    let refused = Err(Denial::Refuse(Reason::PerSource));
    assert_eq!(admission.admit(&clock.seen(), id, peer(1)), refused);
    admission.release(clock.0, id, peer(1).into());
    assert_eq!(admission.admit(&clock.seen(), id, peer(1)), Ok(()));
    admission.release(clock.0, id, peer(1).into());
    assert_eq!(admission.sources.len(), 0);
}

#[test]
#[should_panic(expected = "lost, and counted for ever")]
#[cfg(debug_assertions)]
fn a_permit_is_not_lost_in_silence() {
    let (mut admission, id, clock) = one(&limited(unlimited()), false);
    drop(admission.admission.admit(&clock.seen(), id, peer(1)));
}
