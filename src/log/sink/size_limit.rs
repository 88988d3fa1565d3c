//! How much may be written to a file that has limits on its size, and what is to be
//! said of it: once each time it becomes large, once each time it becomes full.

/// What has become of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// It has reached its soft limit, of so many bytes.
    Large(u64),
    /// Its hard limit leaves no room for the next line.
    Full(u64),
    /// It is no longer full; so many lines are not in it.
    Resumed(u64),
}

/// The limits of one file and where it is with them.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    soft: Option<u64>,
    hard: Option<u64>,
    /// That it is large has been said.
    reported: bool,
    /// Its size, in bytes, when it became full: full it stays until it is shorter.
    full: Option<u64>,
    /// Lines that came since then.
    left_out: u64,
}

impl Gauge {
    /// Takes over limits in bytes. Others than before: whether the file is full is
    /// found out anew.
    pub(super) fn limit(&mut self, soft: Option<u64>, hard: Option<u64>) -> Option<News> {
        if (soft, hard) == (self.soft, self.hard) {
            return None;
        }
        (self.soft, self.hard) = (soft, hard);
        self.reported = false;
        self.end()
    }

    /// Nothing more comes, or everything may come again.
    pub(super) fn end(&mut self) -> Option<News> {
        let left_out = std::mem::take(&mut self.left_out);
        self.full.take().map(|_| News::Resumed(left_out))
    }

    /// Whether the size of the file matters.
    pub(super) fn is_limited(&self) -> bool {
        self.soft.is_some() || self.hard.is_some()
    }

    /// How many bytes of these whole lines may be added to a file of `size` bytes.
    pub(super) fn admit(&mut self, lines: &[u8], size: u64, news: &mut Vec<News>) -> usize {
        if self.full.is_some_and(|full| size < full) {
            news.extend(self.end());
        }
        if self.full.is_some() {
            self.left_out = self.left_out.saturating_add(count(lines));
            return 0;
        }
        let fits = self.hard.map_or(lines.len(), |hard| whole(lines, hard.saturating_sub(size)));
        let after = size.saturating_add(u64::try_from(fits).unwrap_or(u64::MAX));
        self.warn(size, after, news);
        if let Some(hard) = self.hard.filter(|_| fits < lines.len()) {
            self.full = Some(after);
            self.left_out = count(lines.get(fits..).unwrap_or_default());
            news.push(News::Full(hard));
        }
        fits
    }

    fn warn(&mut self, before: u64, after: u64, news: &mut Vec<News>) {
        let Some(soft) = self.soft else { return };
        self.reported &= before >= soft;
        if after >= soft && !self.reported {
            self.reported = true;
            news.push(News::Large(soft));
        }
    }
}

/// Bytes of the whole lines that fit into `room` bytes.
fn whole(lines: &[u8], room: u64) -> usize {
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    match lines.get(..room) {
        Some(part) => part.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1),
        None => lines.len(),
    }
}

/// How many lines there are.
pub(super) fn count(lines: &[u8]) -> u64 {
    let ends = lines.iter().filter(|byte| **byte == b'\n').count();
    u64::try_from(ends).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gauge(soft: u64, hard: u64) -> Gauge {
        let mut gauge = Gauge::default();
        assert_eq!(gauge.limit(Some(soft), Some(hard)), None);
        gauge
    }

    /// What is admitted, and what is said.
    fn admit(gauge: &mut Gauge, lines: &str, size: u64) -> (usize, Vec<News>) {
        let mut news = Vec::new();
        (gauge.admit(lines.as_bytes(), size, &mut news), news)
    }

    #[test]
    fn without_limits_everything_is_written() {
        let mut gauge = Gauge::default();
        assert!(!gauge.is_limited());
        assert_eq!(admit(&mut gauge, "one\n", u64::MAX), (4, vec![]));
    }

    #[test]
    fn large_is_said_once_until_the_file_is_short_again() {
        let mut gauge = gauge(8, 100);
        assert_eq!(admit(&mut gauge, "one\n", 0), (4, vec![]));
        assert_eq!(admit(&mut gauge, "two\n", 4), (4, vec![News::Large(8)]));
        assert_eq!(admit(&mut gauge, "three\n", 8), (6, vec![]));
        assert_eq!(admit(&mut gauge, "one\n", 0), (4, vec![]));
        assert_eq!(admit(&mut gauge, "two\n", 4), (4, vec![News::Large(8)]));
    }

    #[test]
    fn full_is_full_until_the_file_is_shorter_and_lines_are_counted() {
        let mut gauge = gauge(10, 10);
        let (fits, news) = admit(&mut gauge, "one\ntwo\nthree\nfour\n", 0);
        assert_eq!((fits, news), (8, vec![News::Full(10)]));
        // A line that would fit: order is kept, so it is left out too.
        assert_eq!(admit(&mut gauge, "5\n", 8), (0, vec![]));
        assert_eq!(admit(&mut gauge, "six\n", 3), (4, vec![News::Resumed(3)]));
        assert_eq!(gauge.end(), None);
    }

    #[test]
    fn other_limits_begin_anew_and_the_same_do_not() {
        let mut gauge = gauge(4, 4);
        assert_eq!(admit(&mut gauge, "one\ntwo\n", 0).0, 4);
        assert_eq!(gauge.limit(Some(4), Some(4)), None);
        assert_eq!(admit(&mut gauge, "three\n", 4), (0, vec![]));
        assert_eq!(gauge.limit(Some(4), Some(99)), Some(News::Resumed(2)));
        assert_eq!(admit(&mut gauge, "four\n", 4), (5, vec![News::Large(4)]));
    }

    #[test]
    fn a_file_that_is_too_long_already_gets_nothing() {
        let mut gauge = gauge(4, 8);
        assert_eq!(admit(&mut gauge, "x\n", 9), (0, vec![News::Large(4), News::Full(8)]));
        assert_eq!(whole(b"one\ntw", 6), 4);
        assert_eq!(whole(b"", 0), 0);
    }
}
