//! What of the server's capabilities a program may have: its bounding set, and what an exec
//! would pass on to it without asking who it is (the inheritable set, and with it the
//! ambient one).

use serde::{Deserialize, Serialize};

use crate::config::model::ALL_CAPABILITIES;
use crate::sys::capabilities::Own;

/// A set of capabilities as a child needs it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::spawn) struct Capabilities {
    /// The bits of those that may stay inheritable, and so ambient.
    pub(in crate::spawn) kept: u64,
    /// The numbers of those that leave the bounding set.
    pub(in crate::spawn) dropped: Vec<u32>,
    /// The child itself, too, gives up what is not kept.
    pub(in crate::spawn) at_once: bool,
}

/// Whose program it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::spawn) enum Whose {
    /// Root's: exec gives it what the bounding set has.
    Root,
    /// Somebody else's than the server's.
    Another,
    /// The server's own user, who is not root.
    Same,
}

impl Capabilities {
    /// For a program with this attribute; none if there is nothing to do.
    ///
    /// Without the attribute a program of root is what the server is. Anybody else's gets
    /// nothing that the server happens to pass on: started with ambient capabilities
    /// (systemd's `AmbientCapabilities=`), it has them for itself.
    pub(in crate::spawn) fn of(attribute: u64, whose: Whose, own: &Own) -> Option<Self> {
        if attribute == ALL_CAPABILITIES {
            let passes_on = whose != Whose::Root && own.inheritable != 0;
            return passes_on.then(|| Self { kept: 0, dropped: Vec::new(), at_once: false });
        }
        let instead = Self::need_no_new_privs(attribute, whose, own);
        let gone = |number: &u32| own.bounding & !attribute & (1 << number) != 0;
        let dropped = (0..u64::BITS).filter(|number| !instead && gone(number)).collect();
        Some(Self { kept: attribute, dropped, at_once: instead && whose == Whose::Same })
    }

    /// Whether exec must give no privileges, since the bounding set cannot be lowered:
    /// that keeps others than root as far from what is not kept.
    pub(in crate::spawn) fn need_no_new_privs(attribute: u64, whose: Whose, own: &Own) -> bool {
        attribute != ALL_CAPABILITIES && whose != Whose::Root && !own.can_drop
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Own = Own { bounding: 0b1110, inheritable: 0, can_drop: true };
    const AMBIENT: Own = Own { bounding: 0b1110, inheritable: 0b0010, can_drop: false };

    fn dropped(attribute: u64, own: &Own) -> Vec<u32> {
        Capabilities::of(attribute, Whose::Root, own).unwrap().dropped
    }

    #[test]
    fn what_is_there_and_not_kept_is_dropped() {
        assert_eq!(dropped(0b0101, &ROOT), [1, 3]);
        assert!(dropped(0b1110, &Own { bounding: 0b0110, ..ROOT }).is_empty());
        assert_eq!(dropped(0, &Own { bounding: 1 << 63, ..ROOT }), [63]);
        assert_eq!(dropped(0b0101, &AMBIENT), [1, 3], "in vain, and so not started");
    }

    #[test]
    fn nothing_is_passed_on_to_others_but_what_is_named() {
        let kept = |attribute, whose, own| {
            Capabilities::of(attribute, whose, own).map(|capabilities| capabilities.kept)
        };
        for whose in [Whose::Another, Whose::Same] {
            assert_eq!(kept(ALL_CAPABILITIES, whose, &ROOT), None, "there is nothing to do");
            assert_eq!(kept(ALL_CAPABILITIES, whose, &AMBIENT), Some(0));
            assert_eq!(kept(0b0010, whose, &AMBIENT), Some(0b0010));
        }
        assert_eq!(kept(ALL_CAPABILITIES, Whose::Root, &AMBIENT), None);
    }

    #[test]
    fn who_may_not_lower_the_bounding_set_closes_the_way_to_it() {
        let same = Capabilities::of(0b0010, Whose::Same, &AMBIENT).unwrap();
        assert!(same.dropped.is_empty() && same.at_once);
        assert!(Capabilities::need_no_new_privs(0b0010, Whose::Same, &AMBIENT));
        assert!(!Capabilities::need_no_new_privs(0b0010, Whose::Root, &AMBIENT));
        assert!(!Capabilities::need_no_new_privs(ALL_CAPABILITIES, Whose::Same, &AMBIENT));
        assert!(!Capabilities::need_no_new_privs(0b0010, Whose::Another, &ROOT));
    }
}
