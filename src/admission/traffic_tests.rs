//! Random traffic through admission on a virtual clock, against a model that counts
//! naively: the same verdicts, no count that leaks, no listener that rests for ever.

use std::collections::{BTreeMap, BTreeSet};

use super::tests::{Clock, Desk, limited, peer, unlimited};
use super::*;
use crate::config::model::{Attributes, LimitAttributes, Rate};
use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, proptest};
use proptest::test_runner::TestCaseError;

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
            let limits =
                LimitAttributes { instances, per_source, rate, source_rate, at_limit, ..base };
            (limited(limits), wait)
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
        let by_source = attributes.limits.source_rate.filter(|_| !self.services[service].2);
        for (peer, rate) in [(None, attributes.limits.rate), (Some(peer), by_source)] {
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
            if over(attributes.limits.per_source, self.count(|child| *child == (service, peer))) {
                return Some(Reason::PerSource);
            }
            if !self.has_token(service, Some(peer), attributes.limits.source_rate) {
                return Some(Reason::SourceRate);
            }
        }
        if self.running.len() >= self.max_children {
            return Some(Reason::MaxChildren);
        }
        if over(attributes.limits.instances, self.count(|child| child.0 == service)) {
            return Some(Reason::Instances);
        }
        (!self.has_token(service, None, attributes.limits.rate)).then_some(Reason::Rate)
    }
}

fn come(
    admission: &mut Desk,
    model: &mut Model,
    clock: &Clock,
    service: usize,
    from: u8,
) -> Result<(), TestCaseError> {
    let (id, attributes, wait) = model.services[service].clone();
    let expected = model.reason(service, None).filter(|reason| {
        let rests = wait || attributes.limits.at_limit == AtLimit::Wait;
        *reason == Reason::MaxChildren || wait || (*reason == Reason::Instances && rests)
    });
    match admission.before_accept(clock.0, id) {
        Ok(()) => prop_assert_eq!(expected, None),
        Err(Denial::Refuse(reason)) => prop_assert!(false, "{:?}", reason),
        Err(Denial::Rest(reason, until)) => {
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
        (Ok(()), None) => {
            model.running.push((service, from));
            model.move_tokens(service, from, false);
        }
        (Err(Denial::Refuse(reason)), Some(expected)) => {
            prop_assert_eq!(reason, expected);
            model.refused += 1;
        }
        other => prop_assert!(false, "{:?}", other),
    }
    Ok(())
}

fn go(admission: &mut Desk, model: &mut Model, clock: &Clock, n: usize, failed: bool) {
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
            let full =
                attributes.limits.instances.is_some_and(|n| running >= usize::try_from(n).unwrap());
            let all = model.running.len() >= model.max_children;
            let still = if reason == Reason::MaxChildren { all } else { full };
            prop_assert!(still, "{:?} rests for {:?} and nobody wakes it", id, reason);
        }
    }
    Ok(())
}

/// After everybody has gone nothing is left, and every episode has been told of twice.
fn wind_up(mut admission: Desk, mut model: Model, mut clock: Clock) -> Result<(), TestCaseError> {
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
        let mut admission = Desk::new(max_children);
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
