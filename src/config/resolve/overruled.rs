//! An address in both lists is refused by xinetd, however narrow what admits it. Here the
//! narrower of two rules counts: of such a file, `only_from` is what `no_access` leaves of it.

use std::rc::Rc;

use super::resolver::Resolver;
use crate::config::attribute::lists::LastEmptied;
use crate::config::model::Prefix;

impl Resolver<'_> {
    /// `only_from` of an xinetd.conf without what `no_access` refuses all of; what is left is
    /// wider than what is refused of it, so that both languages say the same of it.
    pub(super) fn not_overruled(
        &mut self,
        (only_from, last): (&Rc<[Prefix]>, &LastEmptied),
        no_access: &[Prefix],
    ) -> Rc<[Prefix]> {
        let refused = widest(no_access);
        let (gone, left): (Vec<Prefix>, Vec<Prefix>) =
            only_from.iter().partition(|prefix| is_in(prefix, &refused));
        let Some(first) = gone.first() else { return Rc::clone(only_from) };
        if self.quiet {
            return left.into();
        }
        let message = if left.is_empty() {
            "`no_access` has all of `only_from`: nobody may connect".to_owned()
        } else {
            format!("`{first}` of `only_from` is in `no_access`, too, and is refused")
        };
        let help = "who is in both lists is refused, as by xinetd: take it out of one of them";
        self.report.warning(&last.place, message).help(help);
        left.into()
    }
}

/// The prefixes that are in no other one, sorted.
fn widest(prefixes: &[Prefix]) -> Vec<Prefix> {
    let mut sorted = prefixes.to_vec();
    sorted.sort_unstable();
    sorted.dedup_by(|inner, outer| outer.covers(inner));
    sorted
}

fn is_in(prefix: &Prefix, widest: &[Prefix]) -> bool {
    let after = widest.partition_point(|other| other <= prefix);
    after.checked_sub(1).and_then(|at| widest.get(at)).is_some_and(|other| other.covers(prefix))
}
