//! POSIX `TZ` strings, `CET-1CEST,M3.5.0,M10.5.0/3`: two offsets and the rule
//! by which a year changes between them.
//!
//! They are what `TZ` may hold itself and what a TZif file ends with for the
//! times after its table. RFC 9636's extension (times of -167 to 167 hours) is
//! read everywhere.

use crate::sys::calendar::{Civil, DAY, days_from_civil, is_leap, month_length, weekday};

/// The rule POSIX leaves to the implementation when summer time is named but
/// not dated: everybody uses that of the United States.
const UNDATED: &str = ",M3.2.0,M11.1.0";

/// What a POSIX `TZ` string says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    standard: i32,
    summer: Option<Summer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Summer {
    offset: i32,
    start: TransitionRule,
    end: TransitionRule,
}

/// When in a year the offset changes: a day, and seconds after its midnight in
/// the local time that was in force until then.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TransitionRule {
    day: Day,
    time: i32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Day {
    /// `Jn`: 1 to 365, 29 February never counted.
    Julian(i64),
    /// `n`: 0 to 365, 29 February counted.
    Ordinal(i64),
    /// `Mm.w.d`: the w-th weekday d of a month; the fifth is the last.
    Weekday { month: i64, week: i64, day: i64 },
}

impl Rule {
    /// Reads a whole string; None if it is not one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut reader = PosixReader { rest: text.as_bytes() };
        reader.name()?;
        let standard = reader.signed_time(24)?.checked_neg()?;
        if reader.rest.is_empty() {
            return Some(Self { standard, summer: None });
        }
        reader.name()?;
        let offset = match reader.rest.first() {
            None | Some(b',') => standard + 3600,
            Some(_) => reader.signed_time(24)?.checked_neg()?,
        };
        if reader.rest.is_empty() {
            reader.rest = UNDATED.as_bytes();
        }
        let start = reader.change()?;
        let end = reader.change()?;
        reader
            .rest
            .is_empty()
            .then_some(Self { standard, summer: Some(Summer { offset, start, end }) })
    }

    /// Local time minus UTC at an instant, in seconds.
    pub(super) fn offset_at(&self, utc: i64) -> i32 {
        let Some(summer) = &self.summer else {
            return self.standard;
        };
        let year = Civil::from_seconds(utc.saturating_add(i64::from(self.standard))).year;
        // A change may be dated days outside its year, so the neighbours are
        // looked at too. Where summer ends in the very instant the next one
        // begins (permanent summer time), the later entry of the pair, summer, holds.
        (year - 1..=year + 1)
            .flat_map(|year| {
                [
                    (summer.end.at(year, summer.offset), false),
                    (summer.start.at(year, self.standard), true),
                ]
            })
            .filter(|&(instant, _)| instant <= utc)
            .max()
            .map_or(
                self.standard,
                |(_, is_summer)| {
                    if is_summer { summer.offset } else { self.standard }
                },
            )
    }
}

impl TransitionRule {
    /// The instant in UTC seconds at which it happens in `year`, the offset until then given.
    fn at(&self, year: i64, offset: i32) -> i64 {
        self.day
            .in_year(year)
            .saturating_mul(DAY)
            .saturating_add(i64::from(self.time) - i64::from(offset))
    }
}

impl Day {
    /// Days from 1970-01-01 to this day of `year`.
    fn in_year(&self, year: i64) -> i64 {
        let new_year = days_from_civil(year, 1, 1);
        match *self {
            Self::Julian(day) => {
                let leap_day_passed = is_leap(year) && day >= 60;
                new_year.saturating_add(day - 1 + i64::from(leap_day_passed))
            }
            Self::Ordinal(day) => new_year.saturating_add(day),
            Self::Weekday { month, week, day } => {
                let first = days_from_civil(year, month, 1);
                let until = (day - weekday(first)).rem_euclid(7);
                let wanted = until + 7 * (week - 1);
                let past_the_end = wanted >= month_length(year, month);
                first.saturating_add(wanted - if past_the_end { 7 } else { 0 })
            }
        }
    }
}

/// What is left of the string.
struct PosixReader<'a> {
    rest: &'a [u8],
}

impl PosixReader<'_> {
    /// Takes one byte if it is `wanted`.
    fn take(&mut self, wanted: u8) -> bool {
        match self.rest.split_first() {
            Some((&byte, rest)) if byte == wanted => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// Skips an abbreviation: three letters or more, or anything in `<>`.
    fn name(&mut self) -> Option<()> {
        let quoted = self.take(b'<');
        let belongs = |byte: &u8| {
            byte.is_ascii_alphabetic()
                || quoted && (byte.is_ascii_digit() || matches!(byte, b'+' | b'-'))
        };
        let length = self.rest.iter().take_while(|byte| belongs(byte)).count();
        self.rest = self.rest.get(length..)?;
        (length >= 3 && (!quoted || self.take(b'>'))).then_some(())
    }

    /// A decimal number of at most three digits, in a range.
    fn number(&mut self, range: std::ops::RangeInclusive<i32>) -> Option<i32> {
        let mut value = None;
        let mut digits = 0;
        while let Some((&byte, rest)) = self.rest.split_first() {
            if !byte.is_ascii_digit() {
                break;
            }
            digits += 1;
            if digits > 3 {
                return None;
            }
            value = Some(value.unwrap_or(0) * 10 + i32::from(byte - b'0'));
            self.rest = rest;
        }
        value.filter(|value| range.contains(value))
    }

    /// `[+-]hh[:mm[:ss]]` in seconds.
    fn signed_time(&mut self, most_hours: i32) -> Option<i32> {
        let negative = self.take(b'-');
        if !negative {
            self.take(b'+');
        }
        let mut seconds = self.number(0..=most_hours)? * 3600;
        if self.take(b':') {
            seconds += self.number(0..=59)? * 60;
            if self.take(b':') {
                seconds += self.number(0..=59)?;
            }
        }
        Some(if negative { -seconds } else { seconds })
    }

    /// `,date[/time]`; 02:00:00 if no time is said.
    fn change(&mut self) -> Option<TransitionRule> {
        if !self.take(b',') {
            return None;
        }
        let day = self.day()?;
        let time = if self.take(b'/') { self.signed_time(167)? } else { 2 * 3600 };
        Some(TransitionRule { day, time })
    }

    fn day(&mut self) -> Option<Day> {
        if self.take(b'J') {
            return Some(Day::Julian(self.number(1..=365)?.into()));
        }
        if !self.take(b'M') {
            return Some(Day::Ordinal(self.number(0..=365)?.into()));
        }
        let month = self.number(1..=12)?.into();
        let week = self.dotted(1..=5)?;
        let day = self.dotted(0..=6)?;
        Some(Day::Weekday { month, week, day })
    }

    fn dotted(&mut self, range: std::ops::RangeInclusive<i32>) -> Option<i64> {
        if !self.take(b'.') {
            return None;
        }
        self.number(range).map(i64::from)
    }
}
