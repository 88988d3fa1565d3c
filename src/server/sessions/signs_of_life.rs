//! What a worker has shown of still being there ([`worker_signs`](super::worker_signs) looks).

/// It hangs if there was none at so many looks.
const LOOKS: u32 = 6;

/// What one has shown of being there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SignsOfLife {
    /// It has said something since the last look.
    is_there: bool,
    /// It has been asked: how often it has been looked since.
    asked: Option<u32>,
}

/// What a look came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Alive,
    /// It is to be asked.
    Silent,
    /// It has been.
    Asked,
    Hangs,
}

impl SignsOfLife {
    /// It has said something.
    pub(super) fn are_there(&mut self) {
        *self = Self { is_there: true, asked: None };
    }

    /// Somebody waits for its word from now on: what it has said before is no sign.
    pub(super) fn are_wanted(&mut self) {
        self.is_there = false;
    }

    /// It has been asked, and has not answered yet.
    pub(super) fn is_asked(self) -> bool {
        self.asked.is_some()
    }

    /// It has been asked, and somebody has looked for its answer in vain.
    pub(super) fn are_awaited(self) -> bool {
        self.asked.is_some_and(|looks| looks > 0)
    }

    /// Somebody looks, at the time at which he wanted to.
    pub(super) fn look(&mut self, in_time: bool) -> Found {
        if std::mem::take(&mut self.is_there) {
            return Found::Alive;
        }
        let Some(looks) = &mut self.asked else {
            self.asked = Some(0);
            return Found::Silent;
        };
        *looks = looks.saturating_add(u32::from(in_time));
        if *looks < LOOKS { Found::Asked } else { Found::Hangs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_says_nothing_is_asked_and_hangs_when_it_does_not_answer() {
        let mut signs = SignsOfLife::default();
        signs.are_there();
        assert_eq!([signs.look(true), signs.look(true)], [Found::Alive, Found::Silent]);
        assert!(!signs.are_awaited());
        assert!((1..LOOKS).all(|_| signs.look(true) == Found::Asked) && signs.are_awaited());
        assert_eq!(signs.look(true), Found::Hangs);
    }

    #[test]
    fn what_was_said_before_somebody_waits_is_no_sign() {
        let mut signs = SignsOfLife::default();
        signs.are_there();
        signs.are_wanted();
        assert_eq!([signs.look(true), signs.look(true)], [Found::Silent, Found::Asked]);
        signs.are_wanted();
        assert!(signs.are_awaited());
        signs.are_there();
        assert_eq!(signs.look(true), Found::Alive);
    }

    #[test]
    fn looks_that_come_too_late_do_not_count() {
        let mut signs = SignsOfLife::default();
        assert_eq!(signs.look(true), Found::Silent);
        assert!((0..100).all(|_| signs.look(false) == Found::Asked));
    }

    #[test]
    fn an_answer_counts_whenever_it_comes() {
        let mut signs = SignsOfLife::default();
        for _ in 0..LOOKS {
            signs.look(true);
        }
        signs.are_there();
        assert_eq!([signs.look(true), signs.look(true)], [Found::Alive, Found::Silent]);
    }
}
