//! Things that are made when they are first needed, kept when nobody needs them, and never
//! more than so many.

use std::io;

/// Some of them.
pub(super) struct Pool<T> {
    idle: Vec<T>,
    /// How many there are, here and with those who use them.
    made: usize,
    most: usize,
}

impl<T> Pool<T> {
    /// An empty one, for `most` at once.
    pub(super) fn new(most: usize) -> Self {
        Self { idle: Vec::new(), made: 0, most }
    }

    /// The one that was given back last, or a new one; none if there are enough, or one
    /// cannot be made.
    pub(super) fn take(&mut self, make: impl FnOnce() -> io::Result<T>) -> Option<T> {
        if let Some(thing) = self.idle.pop() {
            return Some(thing);
        }
        if self.made >= self.most {
            return None;
        }
        let thing = make().ok()?;
        self.made = self.made.saturating_add(1);
        Some(thing)
    }

    /// For the next who needs one.
    pub(super) fn give_back(&mut self, thing: T) {
        self.idle.push(thing);
    }

    /// The same where whoever needs one is to get the one with the lowest rank: either all
    /// are given back so, or none.
    pub(super) fn give_back_by<R: Ord>(&mut self, thing: T, rank: impl Fn(&T) -> R) {
        let own = rank(&thing);
        let at = self.idle.partition_point(|other| rank(other) > own);
        self.idle.insert(at, thing);
    }

    /// Those that nobody uses.
    pub(super) fn idle(&mut self) -> impl Iterator<Item = &mut T> {
        self.idle.iter_mut()
    }

    /// Does away with those that nobody uses.
    pub(super) fn empty(&mut self) {
        self.made = self.made.saturating_sub(self.idle.len());
        self.idle = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_more_than_so_many() {
        let mut pool = Pool::new(2);
        assert_eq!(pool.take(|| Err(io::ErrorKind::OutOfMemory.into())), None);
        assert_eq!((pool.take(|| Ok(1)), pool.take(|| Ok(2))), (Some(1), Some(2)));
        assert_eq!(pool.take(|| Ok(3)), None);
        pool.give_back(1);
        pool.give_back(2);
        assert_eq!(pool.take(|| Ok(3)), Some(2), "the one used last");
        pool.empty();
        assert_eq!((pool.take(|| Ok(4)), pool.take(|| Ok(5))), (Some(4), None));
    }

    #[test]
    fn the_lowest_is_taken_first() {
        let mut pool = Pool::new(4);
        for number in [3, 1, 4, 2] {
            let _ = pool.take(|| Ok(number));
        }
        for number in [3, 1, 4, 2] {
            pool.give_back_by(number, |number| *number);
        }
        for number in 1..=4 {
            assert_eq!(pool.take(|| Err(io::ErrorKind::OutOfMemory.into())), Some(number));
        }
    }
}
