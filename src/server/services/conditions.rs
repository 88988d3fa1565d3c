//! What admission wants to know of the world: the time of day, once a turn, and the
//! load, every few seconds; both only while a service asks for them.

mod turns;

use std::time::Instant;

use crate::admission::Observed;
use crate::sys::calendar::WallClock;

/// What was seen last.
#[derive(Debug, Default)]
pub(in crate::server) struct Conditions {
    asks_for_time: bool,
    asks_for_load: bool,
    minute_of_day: u16,
    load: f64,
    load_seen: Option<Instant>,
}

impl Conditions {
    /// What is known of the world when somebody comes.
    pub(in crate::server) fn observed(&self, now: Instant) -> Observed {
        let Conditions { minute_of_day, load, .. } = *self;
        Observed { now, minute_of_day, load }
    }
}

/// Minutes since midnight by the clock on the wall, which a change of daylight saving
/// turns forward or back.
fn minute_of_day(clock: WallClock) -> u16 {
    let local = clock.local();
    u16::try_from(local.hour * 60 + local.minute).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::minute_of_day;
    use crate::config::model::AccessTimes;
    use crate::sys::zone::Zone;

    /// 2026-03-29 00:00 UTC; at 01:00 UTC the clocks of Berlin go from 2:00 to 3:00.
    const SPRING: i64 = 1_774_742_400;
    /// 2026-10-25 00:00 UTC; at 01:00 UTC they go back from 3:00 to 2:00.
    const AUTUMN: i64 = 1_792_886_400;

    fn at(utc_seconds: i64) -> u16 {
        let berlin = Zone::from_posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        minute_of_day(berlin.clock(utc_seconds))
    }

    #[test]
    fn the_hour_that_is_left_out_and_the_one_that_comes_twice() {
        let minutes = [-1, 0, 3_599, 3_600].map(|seconds| at(SPRING + seconds));
        assert_eq!(minutes, [59, 60, 119, 180]);
        let minutes = [0, 3_599, 3_600, 7_199, 7_200].map(|seconds| at(AUTUMN + seconds));
        assert_eq!(minutes, [120, 179, 120, 179, 180]);
    }

    #[test]
    fn access_times_are_those_of_the_clock_on_the_wall() {
        let night = AccessTimes::parse("22:00-2:30").unwrap();
        // Summer time begins at what would be 2:00, so the night ends half an hour early …
        assert!(night.contains(at(SPRING + 3_599)) && !night.contains(at(SPRING + 3_600)));
        // … and 2:10 comes twice in autumn.
        assert!(night.contains(at(AUTUMN + 600)) && night.contains(at(AUTUMN + 3_600 + 600)));
        assert!(!night.contains(at(AUTUMN + 7_200)));
        // Midnight by local time, not by UTC.
        assert!(night.contains(at(SPRING - 2 * 3_600)) && !night.contains(at(SPRING - 4 * 3_600)));
    }
}
