//! Admission on a virtual clock: examples of each limit, and random traffic against a
//! model that counts naively.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::access::{AccessList, parse_item};
use super::times::AccessTimes;
use super::*;
use crate::config::model::{Attributes, Rate};
use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, proptest};
use proptest::test_runner::TestCaseError;

/// A clock that is moved by hand.
struct Clock(Instant);

impl Clock {
    fn new() -> Self {
        Self(Instant::now())
    }

    fn pass(&mut self, millis: u64) {
        self.0 += Duration::from_millis(millis);
    }

    fn seen(&self) -> Observed {
        Observed { now: self.0, minute_of_day: 12 * 60, load: 0.5 }
    }
}

fn unlimited() -> Attributes {
    Attributes { instances: None, ..Attributes::default() }
}

fn per_second(count: u32) -> Option<Rate> {
    Some(Rate { count, per: Duration::from_secs(1) })
}

fn peer(last: u8) -> Address {
    Address::Inet(([10, 0, 0, last], 4711).into())
}

fn one(attributes: &Attributes, wait: bool) -> (Admission, ServiceId, Clock) {
    let mut admission = Admission::new(1000);
    let id = admission.add(Limits::new(attributes, wait));
    (admission, id, Clock::new())
}

#[test]
fn at_instances_a_listener_rests_until_a_child_ends() {
    let (mut admission, id, clock) = one(&Attributes { instances: Some(1), ..unlimited() }, false);
    assert_eq!(admission.before_accept(clock.0, id), Verdict::Admit);
    assert_eq!(admission.admit(&clock.seen(), id, peer(1)), Verdict::Admit);
    assert_eq!(admission.before_accept(clock.0, id), Verdict::Rest(Reason::Instances, None));
    assert_eq!(admission.release(clock.0, id, peer(1).into()), Wake::Service(id));
    assert_eq!(admission.before_accept(clock.0, id), Verdict::Admit);
}

#[test]
fn at_instances_clients_are_refused_if_that_is_wanted() {
    let refusing = Attributes { instances: Some(1), at_limit: AtLimit::Refuse, ..unlimited() };
    let (mut admission, id, clock) = one(&refusing, false);
    admission.admit(&clock.seen(), id, peer(1));
    assert_eq!(admission.before_accept(clock.0, id), Verdict::Admit);
    let verdict = admission.admit(&clock.seen(), id, peer(2));
    assert_eq!(verdict, Verdict::Refuse(Reason::Instances));
    let (mut admission, id, clock) = one(&refusing, true);
    admission.admit(&clock.seen(), id, Address::None);
    let rest = Verdict::Rest(Reason::Instances, None);
    assert_eq!(admission.before_accept(clock.0, id), rest, "a wait service cannot refuse");
    assert_eq!(admission.admit(&clock.seen(), id, Address::None), rest);
}

#[test]
fn a_surplus_source_uses_up_nothing_of_others() {
    let attributes = Attributes {
        per_source: Some(1),
        rate: per_second(2),
        source_rate: per_second(2),
        ..unlimited()
    };
    let (mut admission, id, clock) = one(&attributes, false);
    assert_eq!(admission.admit(&clock.seen(), id, peer(1)), Verdict::Admit);
    for _ in 0..100 {
        let verdict = admission.admit(&clock.seen(), id, peer(1));
        assert_eq!(verdict, Verdict::Refuse(Reason::PerSource));
    }
    assert_eq!(admission.admit(&clock.seen(), id, peer(2)), Verdict::Admit);
    assert_eq!(admission.admit(&clock.seen(), id, peer(3)), Verdict::Refuse(Reason::Rate));
    assert_eq!(admission.sources.len(), 2, "whoever is refused is not remembered");
    admission.cancel(clock.0, id, peer(2).into());
    assert_eq!(admission.admit(&clock.seen(), id, peer(3)), Verdict::Admit, "token given back");
}

#[test]
fn a_source_rate_outlives_the_child_and_recovers() {
    let (mut admission, id, mut clock) =
        one(&Attributes { source_rate: per_second(2), ..unlimited() }, false);
    for _ in 0..2 {
        assert_eq!(admission.admit(&clock.seen(), id, peer(1)), Verdict::Admit);
        admission.release(clock.0, id, peer(1).into());
    }
    let refused = Verdict::Refuse(Reason::SourceRate);
    assert_eq!(admission.admit(&clock.seen(), id, peer(1)), refused);
    assert_eq!(admission.admit(&clock.seen(), id, peer(2)), Verdict::Admit);
    clock.pass(500);
    assert_eq!(admission.admit(&clock.seen(), id, peer(1)), Verdict::Admit);
    assert_eq!(admission.admit(&clock.seen(), id, peer(1)), refused);
}

#[test]
fn a_wait_service_rests_until_the_next_token() {
    let (mut admission, id, mut clock) =
        one(&Attributes { rate: per_second(2), ..unlimited() }, true);
    for _ in 0..2 {
        assert_eq!(admission.before_accept(clock.0, id), Verdict::Admit);
        assert_eq!(admission.admit(&clock.seen(), id, Address::None), Verdict::Admit);
        admission.release(clock.0, id, Source::Unknown);
    }
    let until = clock.0 + Duration::from_millis(500);
    let rest = Verdict::Rest(Reason::Rate, Some(until));
    assert_eq!(admission.before_accept(clock.0, id), rest);
    assert_eq!(admission.admit(&clock.seen(), id, Address::None), rest);
    clock.pass(500);
    assert_eq!(admission.before_accept(clock.0, id), Verdict::Admit);
}

#[test]
fn cps_lets_the_listener_rest() {
    let (mut admission, id, mut clock) = one(&unlimited(), false);
    let mut limits = Limits::new(&unlimited(), false);
    limits.cps = Some(Cps { count: 2, rest: Duration::from_secs(5) });
    admission.update(clock.0, id, limits);
    for _ in 0..3 {
        clock.pass(1000);
        assert_eq!(admission.before_accept(clock.0, id), Verdict::Admit);
        assert_eq!(admission.admit(&clock.seen(), id, peer(1)), Verdict::Admit);
        assert_eq!(admission.admit(&clock.seen(), id, peer(2)), Verdict::Admit);
    }
    assert_eq!(admission.before_accept(clock.0, id), Verdict::Admit, "exactly at it");
    assert_eq!(admission.admit(&clock.seen(), id, peer(3)), Verdict::Refuse(Reason::Cps));
    let until = clock.0 + Duration::from_secs(5);
    let rest = Verdict::Rest(Reason::Cps, Some(until));
    assert_eq!(admission.before_accept(clock.0, id), rest);
    clock.pass(5000);
    assert_eq!(admission.before_accept(clock.0, id), Verdict::Admit);
    assert_eq!(admission.admit(&clock.seen(), id, peer(3)), Verdict::Admit);
}

#[test]
fn access_times_and_load_are_asked_first() {
    let (mut admission, id, clock) = one(&Attributes { per_source: Some(0), ..unlimited() }, false);
    let mut limits = Limits::new(&Attributes { per_source: Some(0), ..unlimited() }, false);
    let only_from = parse_item("10.0.0.{1,2}").unwrap();
    limits.access = Some(Rc::new(AccessList::new(Some(&only_from), &[])));
    limits.times = Some(Rc::new(AccessTimes::parse("8:00-18:00").unwrap()));
    limits.max_load = Some(2.0);
    admission.update(clock.0, id, limits);
    let seen = clock.seen();
    let mut refused = |seen: &Observed, peer| match admission.admit(seen, id, peer) {
        Verdict::Refuse(reason) => reason,
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
fn a_wait_service_looks_again_at_time_and_load() {
    let (mut admission, id, clock) = one(&unlimited(), true);
    let mut limits = Limits::new(&unlimited(), true);
    limits.max_load = Some(0.1);
    admission.update(clock.0, id, limits);
    let until = Some(clock.0 + LOOK_AGAIN);
    let verdict = admission.admit(&clock.seen(), id, Address::None);
    assert_eq!(verdict, Verdict::Rest(Reason::Load, until));
}

#[test]
fn max_children_is_for_all_and_wakes_all() {
    let mut admission = Admission::new(2);
    let clock = Clock::new();
    let ids = [0; 2].map(|_| admission.add(Limits::new(&unlimited(), false)));
    for id in ids {
        assert_eq!(admission.admit(&clock.seen(), id, peer(1)), Verdict::Admit);
    }
    for id in ids {
        let rest = Verdict::Rest(Reason::MaxChildren, None);
        assert_eq!(admission.before_accept(clock.0, id), rest);
        let refused = Verdict::Refuse(Reason::MaxChildren);
        assert_eq!(admission.admit(&clock.seen(), id, peer(1)), refused);
    }
    let began = Notice::LimitBegan { id: None, reason: Reason::MaxChildren };
    assert_eq!(admission.notices(), [began]);
    assert_eq!(admission.release(clock.0, ids[0], peer(1).into()), Wake::All);
    assert_eq!(admission.release(clock.0, ids[1], peer(1).into()), Wake::Service(ids[1]));
}

#[test]
fn a_retired_service_lives_as_long_as_its_children() {
    let (mut admission, id, clock) = one(&unlimited(), false);
    admission.admit(&clock.seen(), id, peer(1));
    admission.retire(id);
    assert_eq!(admission.before_accept(clock.0, id), Verdict::Refuse(Reason::Gone));
    assert_eq!(admission.admit(&clock.seen(), id, peer(1)), Verdict::Refuse(Reason::Gone));
    let other = admission.add(Limits::new(&unlimited(), false));
    assert_ne!(other.index, id.index, "its place is not free yet");
    assert_eq!(admission.running(id), 1);
    assert_eq!(admission.release(clock.0, id, peer(1).into()), Wake::Nobody);
    let next = admission.add(Limits::new(&unlimited(), false));
    assert_eq!((next.index, next == id), (id.index, false));
    admission.admit(&clock.seen(), next, peer(1));
    assert_eq!(admission.release(clock.0, id, peer(1).into()), Wake::Nobody, "an old id");
    assert_eq!((admission.running(id), admission.running(next)), (0, 1));
}

#[test]
fn a_reload_keeps_counters_and_clamps() {
    let (mut admission, id, mut clock) = one(
        &Attributes {
            rate: Some(Rate { count: 1, per: Duration::from_secs(86_400) }),
            ..unlimited()
        },
        false,
    );
    admission.admit(&clock.seen(), id, peer(1));
    let faster =
        Attributes { rate: per_second(1), instances: Some(2), per_source: Some(5), ..unlimited() };
    admission.update(clock.0, id, Limits::new(&faster, false));
    assert_eq!(admission.admit(&clock.seen(), id, peer(1)), Verdict::Refuse(Reason::Rate));
    clock.pass(1000);
    assert_eq!(admission.admit(&clock.seen(), id, peer(1)), Verdict::Admit);
    assert_eq!(admission.before_accept(clock.0, id), Verdict::Rest(Reason::Instances, None));
    for left in [1, 0] {
        admission.release(clock.0, id, peer(1).into());
        assert_eq!(admission.running(id), left);
    }
    assert_eq!(admission.release(clock.0, id, peer(1).into()), Wake::Nobody);
    assert_eq!((admission.total_running(), admission.sources.len()), (0, 0));
}

#[test]
fn a_million_sources_leave_a_bounded_table() {
    let (mut admission, id, clock) =
        one(&Attributes { source_rate: per_second(1), ..unlimited() }, false);
    for n in 0..1_000_000_u32 {
        let peer = Address::Inet((std::net::Ipv4Addr::from_bits(n), 1).into());
        assert_eq!(admission.admit(&clock.seen(), id, peer), Verdict::Admit);
        admission.release(clock.0, id, peer.into());
    }
    assert_eq!((admission.sources.len(), admission.total_running()), (CAPACITY, 0));
}

#[test]
fn a_reload_frees_a_source_from_a_slow_rate() {
    let slow = Some(Rate { count: 1, per: Duration::from_secs(86_400) });
    let (mut admission, id, mut clock) =
        one(&Attributes { source_rate: slow, ..unlimited() }, false);
    admission.admit(&clock.seen(), id, peer(1));
    let faster = Attributes { source_rate: per_second(1), ..unlimited() };
    admission.update(clock.0, id, Limits::new(&faster, false));
    let refused = Verdict::Refuse(Reason::SourceRate);
    assert_eq!(admission.admit(&clock.seen(), id, peer(1)), refused);
    clock.pass(1000);
    assert_eq!(admission.admit(&clock.seen(), id, peer(1)), Verdict::Admit);
}

#[test]
fn a_reload_cuts_a_rest_short() {
    let (mut admission, id, mut clock) = one(&unlimited(), false);
    let mut limits = Limits::new(&unlimited(), false);
    for (rest, expected) in [(3600, 3600), (1, 1)] {
        limits.cps = Some(Cps { count: 0, rest: Duration::from_secs(rest) });
        admission.update(clock.0, id, limits.clone());
        admission.admit(&clock.seen(), id, peer(1));
        let until = Some(clock.0 + Duration::from_secs(expected));
        let verdict = admission.before_accept(clock.0, id);
        assert_eq!(verdict, Verdict::Rest(Reason::Cps, until));
    }
    clock.pass(1000);
    assert_eq!(admission.before_accept(clock.0, id), Verdict::Admit);
}

/// What the traffic test does.
#[derive(Debug, Clone)]
enum Step {
    /// Somebody comes to a service.
    Come(usize, u8),
    /// The n-th running child ends, or turns out not to have started.
    Go(usize, bool),
    /// Time passes, in milliseconds.
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let come = (0usize..3, 0u8..4).prop_map(|(service, peer)| Step::Come(service, peer));
    let go =
        (0usize..20, proptest::bool::weighted(0.2)).prop_map(|(n, failed)| Step::Go(n, failed));
    let step = proptest::prop_oneof![4 => come, 2 => go, 1 => (0u64..2_000).prop_map(Step::Pass)];
    proptest::collection::vec(step, 0..400)
}

fn attributes() -> impl Strategy<Value = (Attributes, bool)> {
    let limit = || proptest::option::of(1u32..5);
    let rate = || {
        proptest::option::of((1u32..5).prop_map(|count| {
            // Divisible by every count, so that the model is exact.
            Rate { count, per: Duration::from_millis(6_000) }
        }))
    };
    let both = proptest::bool::ANY;
    (limit(), limit(), rate(), rate(), both, both).prop_map(
        |(instances, per_source, rate, source_rate, refuse, wait)| {
            let at_limit = if refuse { AtLimit::Refuse } else { AtLimit::Wait };
            let base = unlimited();
            (Attributes { instances, per_source, rate, source_rate, at_limit, ..base }, wait)
        },
    )
}

/// A bucket that is topped up, in milliseconds' worth of tokens.
struct Naive {
    level: u64,
    at: u64,
}

impl Naive {
    fn try_level(&mut self, rate: Rate, now: u64) -> bool {
        let per = u64::try_from(rate.per.as_millis()).unwrap();
        self.level = per.min(self.level + now - self.at);
        self.at = now;
        self.level >= per / u64::from(rate.count)
    }

    fn move_by(&mut self, rate: Rate, back: bool) {
        let token = u64::try_from(rate.per.as_millis()).unwrap() / u64::from(rate.count);
        self.level = if back { self.level + token } else { self.level - token };
    }
}

/// The traffic test's idea of the world.
struct Model {
    services: Vec<(ServiceId, Attributes, bool)>,
    max_children: usize,
    running: Vec<(usize, u8)>,
    buckets: BTreeMap<(usize, Option<u8>), Naive>,
    rested: BTreeMap<ServiceId, Reason>,
    refused: u64,
    now: u64,
}

impl Model {
    fn has_token(&mut self, service: usize, peer: Option<u8>, rate: Option<Rate>) -> bool {
        let (now, full) = (self.now, Naive { level: u64::MAX / 2, at: 0 });
        let bucket = self.buckets.entry((service, peer)).or_insert(full);
        rate.is_none_or(|rate| bucket.try_level(rate, now))
    }

    fn move_tokens(&mut self, service: usize, peer: u8, back: bool) {
        let attributes = &self.services[service].1;
        let by_source = attributes.source_rate.filter(|_| !self.services[service].2);
        for (peer, rate) in [(None, attributes.rate), (Some(peer), by_source)] {
            if let (Some(rate), Some(bucket)) = (rate, self.buckets.get_mut(&(service, peer))) {
                bucket.move_by(rate, back);
            }
        }
    }

    fn count(&self, wanted: impl Fn(&(usize, u8)) -> bool) -> usize {
        self.running.iter().filter(|child| wanted(child)).count()
    }

    /// The first limit that bites, in the documented order, without the source's for
    /// a question before accept.
    fn reason(&mut self, service: usize, peer: Option<u8>) -> Option<Reason> {
        let (_, attributes, wait) = self.services[service].clone();
        let over =
            |limit: Option<u32>, count| limit.is_some_and(|n| count >= usize::try_from(n).unwrap());
        if let (Some(peer), false) = (peer, wait) {
            if over(attributes.per_source, self.count(|child| *child == (service, peer))) {
                return Some(Reason::PerSource);
            }
            if !self.has_token(service, Some(peer), attributes.source_rate) {
                return Some(Reason::SourceRate);
            }
        }
        if self.running.len() >= self.max_children {
            return Some(Reason::MaxChildren);
        }
        if over(attributes.instances, self.count(|child| child.0 == service)) {
            return Some(Reason::Instances);
        }
        (!self.has_token(service, None, attributes.rate)).then_some(Reason::Rate)
    }
}

fn come(
    admission: &mut Admission,
    model: &mut Model,
    clock: &Clock,
    service: usize,
    from: u8,
) -> Result<(), TestCaseError> {
    let (id, attributes, wait) = model.services[service].clone();
    let expected = model.reason(service, None).filter(|reason| {
        let rests = wait || attributes.at_limit == AtLimit::Wait;
        *reason == Reason::MaxChildren || wait || (*reason == Reason::Instances && rests)
    });
    match admission.before_accept(clock.0, id) {
        Verdict::Admit => prop_assert_eq!(expected, None),
        Verdict::Refuse(reason) => prop_assert!(false, "{:?}", reason),
        Verdict::Rest(reason, until) => {
            prop_assert_eq!(expected, Some(reason));
            prop_assert_eq!(until.is_some(), reason == Reason::Rate);
            prop_assert!(until.is_none_or(|until| until > clock.0));
            if until.is_none() {
                model.rested.insert(id, reason);
            }
            return Ok(());
        }
    }
    let address = if wait { Address::None } else { peer(from) };
    match (admission.admit(&clock.seen(), id, address), model.reason(service, Some(from))) {
        (Verdict::Admit, None) => {
            model.running.push((service, from));
            model.move_tokens(service, from, false);
        }
        (Verdict::Refuse(reason), Some(expected)) => {
            prop_assert_eq!(reason, expected);
            model.refused += 1;
        }
        other => prop_assert!(false, "{:?}", other),
    }
    Ok(())
}

fn go(admission: &mut Admission, model: &mut Model, clock: &Clock, n: usize, failed: bool) {
    if model.running.is_empty() {
        return;
    }
    let (service, from) = model.running.swap_remove(n % model.running.len());
    let (id, _, wait) = model.services[service];
    let source = if wait { Source::Unknown } else { peer(from).into() };
    let wake = if failed {
        model.reason(service, Some(from));
        model.move_tokens(service, from, true);
        admission.cancel(clock.0, id, source)
    } else {
        admission.release(clock.0, id, source)
    };
    match wake {
        Wake::Nobody => {}
        Wake::Service(id) => drop(model.rested.remove(&id)),
        Wake::All => {
            model.rested.retain(|other, reason| *reason != Reason::MaxChildren && *other != id)
        }
    }
}

fn agree(admission: &Admission, model: &mut Model) -> Result<(), TestCaseError> {
    prop_assert_eq!(usize::try_from(admission.total_running()).unwrap(), model.running.len());
    for service in 0..model.services.len() {
        let (id, attributes, _) = model.services[service].clone();
        let running = model.count(|child| child.0 == service);
        prop_assert_eq!(usize::try_from(admission.running(id)).unwrap(), running);
        if let Some(reason) = model.rested.get(&id).copied() {
            let full = attributes.instances.is_some_and(|n| running >= usize::try_from(n).unwrap());
            let all = model.running.len() >= model.max_children;
            let still = if reason == Reason::MaxChildren { all } else { full };
            prop_assert!(still, "{:?} rests for {:?} and nobody wakes it", id, reason);
        }
    }
    Ok(())
}

/// After everybody has gone nothing is left, and every episode has been told of twice.
fn wind_up(
    mut admission: Admission,
    mut model: Model,
    mut clock: Clock,
) -> Result<(), TestCaseError> {
    while !model.running.is_empty() {
        go(&mut admission, &mut model, &clock, 0, false);
        agree(&admission, &mut model)?;
    }
    prop_assert!(model.rested.is_empty());
    clock.pass(100_000);
    while let Some(at) = admission.next_deadline() {
        prop_assert!(at <= clock.0);
        admission.expire(clock.0);
    }
    let (mut open, mut left) = (BTreeSet::new(), 0);
    for notice in admission.notices() {
        match notice {
            Notice::LimitBegan { id, reason } => prop_assert!(open.insert((id, reason))),
            Notice::LimitEnded { id, reason, left_out } => {
                prop_assert!(open.remove(&(id, reason)));
                left += left_out;
            }
        }
    }
    prop_assert!(open.is_empty(), "{:?}", open);
    prop_assert_eq!(left, model.refused);
    Ok(())
}

proptest! {
    #[test]
    fn random_traffic_agrees_with_the_model(
        all in proptest::collection::vec(attributes(), 3), max_children in 1u32..8, steps in steps(),
    ) {
        let mut admission = Admission::new(max_children);
        let mut clock = Clock::new();
        let services = all.into_iter().map(|(attributes, wait)| {
            (admission.add(Limits::new(&attributes, wait)), attributes, wait)
        }).collect();
        let mut model = Model {
            services,
            max_children: usize::try_from(max_children).unwrap(),
            running: Vec::new(),
            buckets: BTreeMap::new(),
            rested: BTreeMap::new(),
            refused: 0,
            now: 0,
        };
        for step in steps {
            match step {
                Step::Come(service, from) => come(&mut admission, &mut model, &clock, service, from)?,
                Step::Go(n, failed) => go(&mut admission, &mut model, &clock, n, failed),
                Step::Pass(millis) => {
                    clock.pass(millis);
                    model.now += millis;
                    admission.expire(clock.0);
                }
            }
            agree(&admission, &mut model)?;
        }
        wind_up(admission, model, clock)?;
    }
}
