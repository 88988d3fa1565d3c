//! Civil dates from seconds and back, in the proleptic Gregorian calendar.
//!
//! The days are counted in years that begin in March, so that the leap day is
//! the last of the year and needs no special case. All numbers are `i64`: there
//! is nothing to convert and nothing to truncate.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds in a day; civil time has no leap seconds.
pub const DAY: i64 = 86_400;

/// Days from 0000-03-01 to 1970-01-01.
const EPOCH: i64 = 719_468;
/// Days in 400 years, after which the calendar repeats.
const ERA: i64 = 146_097;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/// Seconds since 1970, now.
pub(crate) fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// An instant together with the local time zone's offset at it: all that a
/// service needs to say what time it is, taken once by whoever may read clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WallClock {
    /// Seconds since 1970-01-01 00:00:00 UTC.
    pub utc_seconds: i64,
    /// Local time minus UTC, in seconds; east of Greenwich is positive.
    pub offset_seconds: i32,
}

impl WallClock {
    /// The local date and time.
    #[must_use]
    pub fn local(self) -> Civil {
        Civil::from_seconds(self.utc_seconds.saturating_add(i64::from(self.offset_seconds)))
    }
}

/// A date and a time of day. `Display` writes it as ctime(3) does, without the
/// line's end: `Sun Nov 22 22:48:09 2026`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Civil {
    /// The year; 0 is 1 BC.
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// Day of the month, 1 to 31.
    pub day: i64,
    /// 0 to 23.
    pub hour: i64,
    /// 0 to 59.
    pub minute: i64,
    /// 0 to 59.
    pub second: i64,
    /// 0 is Sunday.
    pub weekday: i64,
}

impl Civil {
    /// The date and time `seconds` after 1970-01-01 00:00:00, in the same zone.
    pub fn from_seconds(seconds: i64) -> Self {
        let days = seconds.div_euclid(DAY);
        let within = seconds.rem_euclid(DAY);
        let (year, month, day) = civil_from_days(days);
        Self {
            year,
            month,
            day,
            hour: within / 3600,
            minute: within / 60 % 60,
            second: within % 60,
            weekday: weekday(days),
        }
    }

    /// Seconds since 1970-01-01 00:00:00, in the same zone; the weekday is not looked at.
    #[must_use]
    pub fn to_seconds(self) -> i64 {
        days_from_civil(self.year, self.month, self.day)
            .saturating_mul(DAY)
            .saturating_add(self.hour * 3600 + self.minute * 60 + self.second)
    }

    /// `2026-11-22T23:05:09`.
    pub fn stamp(&self) -> String {
        let Self { year, month, day, hour, minute, second, .. } = self;
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
    }
}

impl fmt::Display for Civil {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} {} {:2} {:02}:{:02}:{:02} {}",
            name(&WEEKDAYS, self.weekday),
            name(&MONTHS, self.month - 1),
            self.day,
            self.hour,
            self.minute,
            self.second,
            self.year
        )
    }
}

fn name(names: &[&'static str], index: i64) -> &'static str {
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    names.get(index).copied().unwrap_or("???")
}

/// Days from 1970-01-01 to a date; `month` 1 to 12, `day` from 1 (a day past the
/// month's end runs on into the next).
pub(crate) fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let march_year = if month <= 2 { year.saturating_sub(1) } else { year };
    let era = march_year.div_euclid(400);
    let year_of_era = march_year.rem_euclid(400);
    let march_month = (month + 9).rem_euclid(12);
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era.saturating_mul(ERA).saturating_add(day_of_era - EPOCH)
}

/// Year, month (1 to 12) and day (1 to 31) of the day so many days after 1970-01-01.
pub(crate) fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days.saturating_add(EPOCH);
    let era = shifted.div_euclid(ERA);
    let day_of_era = shifted.rem_euclid(ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let (month, carry) = if march_month < 10 { (march_month + 3, 0) } else { (march_month - 9, 1) };
    (era * 400 + year_of_era + carry, month, day)
}

/// Day of the week of the day so many days after 1970-01-01; 0 is Sunday.
pub(crate) fn weekday(days: i64) -> i64 {
    // 1970-01-01 was a Thursday.
    (days.rem_euclid(7) + 4) % 7
}

/// Whether a year has a 29 February.
pub(crate) fn is_leap(year: i64) -> bool {
    year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0)
}

/// Days in a month (1 to 12) of a year.
pub(crate) fn month_length(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Counts day by day from 1970-01-01, as slowly as one would with a finger.
    fn every_day(from: i64, to: i64) -> impl Iterator<Item = (i64, (i64, i64, i64))> {
        let mut date = (1970, 1, 1);
        let forward = (0..to).map(move |days| {
            let today = date;
            date.2 += 1;
            if date.2 > month_length(date.0, date.1) {
                date = (date.0, date.1 + 1, 1);
            }
            if date.1 > 12 {
                date = (date.0 + 1, 1, 1);
            }
            (days, today)
        });
        let mut date = (1970, 1, 1);
        let backward = (from..0).rev().map(move |days| {
            date.2 -= 1;
            if date.2 == 0 {
                date.1 -= 1;
                if date.1 == 0 {
                    date = (date.0 - 1, 12, 31);
                } else {
                    date.2 = month_length(date.0, date.1);
                }
            }
            (days, date)
        });
        forward.chain(backward)
    }

    #[test]
    fn agrees_with_counting_day_by_day_for_six_hundred_years_each_way() {
        for (days, (year, month, day)) in every_day(-220_000, 220_000) {
            assert_eq!(civil_from_days(days), (year, month, day));
            assert_eq!(days_from_civil(year, month, day), days);
        }
    }

    #[test]
    fn knows_some_famous_instants() {
        let text = |seconds| Civil::from_seconds(seconds).to_string();
        assert_eq!(text(0), "Thu Jan  1 00:00:00 1970");
        assert_eq!(text(951_782_400), "Tue Feb 29 00:00:00 2000");
        assert_eq!(text(1_795_387_689), "Sun Nov 22 22:48:09 2026");
        assert_eq!(text(4_294_967_295), "Sun Feb  7 06:28:15 2106");
        assert_eq!(text(-1), "Wed Dec 31 23:59:59 1969");
    }

    #[test]
    fn local_time_is_utc_and_the_offset() {
        let clock = WallClock { utc_seconds: 1_795_387_689, offset_seconds: 3600 };
        assert_eq!(clock.local().to_string(), "Sun Nov 22 23:48:09 2026");
    }

    #[test]
    fn a_calendar_with_nonsense_in_it_still_prints() {
        let mut civil = Civil::from_seconds(0);
        civil.month = 13;
        civil.weekday = -1;
        assert_eq!(civil.to_string(), "??? ???  1 00:00:00 1970");
    }

    proptest! {
        #[test]
        fn seconds_come_back(seconds in -8_000_000_000_000_i64..8_000_000_000_000) {
            let civil = Civil::from_seconds(seconds);
            prop_assert_eq!(civil.to_seconds(), seconds);
            prop_assert!((1..=12).contains(&civil.month));
            prop_assert!((1..=month_length(civil.year, civil.month)).contains(&civil.day));
        }

        #[test]
        fn a_day_later_is_the_next_weekday(days in -1_000_000_000_i64..1_000_000_000) {
            prop_assert_eq!(weekday(days + 1), (weekday(days) + 1) % 7);
        }

        #[test]
        fn any_number_of_seconds_is_a_date(seconds: i64, offset: i32) {
            let clock = WallClock { utc_seconds: seconds, offset_seconds: offset };
            prop_assert!(!clock.local().to_string().is_empty());
        }
    }
}
