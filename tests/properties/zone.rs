//! A time zone file, or what `TZ` says.

use oxinetd::under_test::sys::Zone;
use oxinetd::under_test::sys::{Civil, DAY};

/// After as many seconds the calendar repeats.
const ERA: i64 = 146_097 * DAY;
/// No zone is further away from UTC.
const FURTHEST: i32 = 26 * 3600;
/// Some moments: both ends of time, and some that are special to somebody.
const MOMENTS: [i64; 9] =
    [i64::MIN, i64::MIN / 2, -ERA, -1, 0, 1_795_387_689, 4_294_967_296, i64::MAX / 2, i64::MAX];

/// It is refused, or local time can be told at every moment.
pub(super) fn holds(bytes: &[u8]) {
    match std::str::from_utf8(bytes).ok().and_then(Zone::from_posix) {
        Some(zone) => {
            is_sound(&zone, bytes);
            // A rule knows no beginning and no end.
            let seconds = own_moment(bytes) % (100 * ERA);
            assert_eq!(zone.offset_at(seconds), zone.offset_at(seconds + ERA), "{seconds}");
        }
        None => drop(Zone::from_tzif(bytes).map(|zone| is_sound(&zone, bytes))),
    }
}

/// One that depends on the input.
fn own_moment(bytes: &[u8]) -> i64 {
    bytes.iter().fold(0i64, |sum, byte| sum.wrapping_mul(31).wrapping_add(i64::from(*byte)))
}

fn is_sound(zone: &Zone, bytes: &[u8]) {
    for seconds in MOMENTS.into_iter().chain([own_moment(bytes)]) {
        let clock = zone.clock(seconds);
        assert!((-FURTHEST..=FURTHEST).contains(&clock.offset_seconds), "{clock:?}");
        let local = clock.local();
        assert!(!local.to_string().contains('?'), "{local}");
        if seconds.unsigned_abs() < 1 << 55 {
            let there = seconds + i64::from(clock.offset_seconds);
            assert_eq!(Civil::from_seconds(there).to_seconds(), there);
        }
    }
}
