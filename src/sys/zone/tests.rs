//! Zones against coreutils' date(1), against rules known by heart, and against garbage.

use crate::sys::zone::*;
use proptest::prelude::*;
use std::collections::HashMap;
use std::io::Write;
use std::process::{Command, Stdio};

fn posix(text: &str) -> Zone {
    Zone::from_posix(text).unwrap()
}

/// A TZif file of one version: two types, two changes, a footer.
fn tzif(version: u8, footer: &str) -> Vec<u8> {
    let block = |wide: bool| {
        let mut bytes = b"TZif".to_vec();
        bytes.push(version);
        bytes.extend([0; 15]);
        for count in [0_u32, 0, 1, 2, 2, 8] {
            bytes.extend(count.to_be_bytes());
        }
        for instant in [-1000_i32, 1000] {
            if wide {
                bytes.extend(i64::from(instant).to_be_bytes());
            } else {
                bytes.extend(instant.to_be_bytes());
            }
        }
        bytes.extend([1, 0]);
        for (offset, summer, name) in [(3600_i32, 0, 0), (-7200, 1, 4)] {
            bytes.extend(offset.to_be_bytes());
            bytes.extend([summer, name]);
        }
        bytes.extend(b"CET\0XYZ\0");
        bytes.extend(vec![0; if wide { 12 } else { 8 }]);
        bytes
    };
    let mut bytes = block(false);
    if version >= b'2' {
        bytes.extend(block(true));
        bytes.extend(format!("\n{footer}\n").bytes());
    }
    bytes
}

#[test]
fn a_table_is_looked_up_on_both_sides_of_each_change() {
    for version in [0, b'2', b'3', b'4'] {
        let zone = Zone::from_tzif(&tzif(version, "")).unwrap();
        for (instant, offset) in [
            (i64::MIN, 3600),
            (-1001, 3600),
            (-1000, -7200),
            (999, -7200),
            (1000, 3600),
            (i64::MAX, 3600),
        ] {
            assert_eq!(zone.offset_at(instant), offset, "version {version}");
        }
    }
}

#[test]
fn the_footer_rules_after_the_last_change() {
    let zone = Zone::from_tzif(&tzif(b'2', "<-03>3")).unwrap();
    assert_eq!(zone.offset_at(999), -7200);
    assert_eq!(zone.offset_at(1000), -10_800);
}

#[test]
fn a_file_cut_short_anywhere_is_malformed() {
    let whole = tzif(b'2', "CET-1CEST,M3.5.0,M10.5.0/3");
    assert!(Zone::from_tzif(&whole).is_ok());
    let footer = whole.len() - "\nCET-1CEST,M3.5.0,M10.5.0/3\n".len();
    for length in 0..=footer {
        let zone = Zone::from_tzif(&whole[..length]);
        assert!(matches!(zone, Err(ZoneError::Malformed(_))), "{length} bytes");
    }
}

#[test]
fn nonsense_in_a_file_is_malformed() {
    let broken = |at: usize, with: &[u8]| {
        let mut bytes = tzif(0, "");
        bytes[at..at + with.len()].copy_from_slice(with);
        Zone::from_tzif(&bytes).unwrap_err().to_string()
    };
    assert!(broken(0, b"tzif").contains("not a TZif file"));
    assert!(broken(32, &[0xff; 4]).contains("cut short"));
    assert!(broken(44, &[0x7f]).contains("out of order"));
    assert!(broken(52, &[2]).contains("unknown local time type"));
    assert!(broken(54, &[0x7f]).contains("impossible offset"));
    let no_rule = Zone::from_tzif(&tzif(b'2', "CET")).unwrap_err();
    assert!(no_rule.to_string().contains("bad footer"));
}

#[test]
fn the_rule_of_central_europe_changes_at_one_o_clock_utc() {
    let zone = posix("CET-1CEST,M3.5.0,M10.5.0/3");
    // 2026-03-29 and 2026-10-25, 01:00 UTC.
    for (change, before, after) in [(1_774_746_000, 3600, 7200), (1_792_890_000, 7200, 3600)] {
        assert_eq!(zone.offset_at(change - 1), before);
        assert_eq!(zone.offset_at(change), after);
    }
}

#[test]
fn summer_time_spans_the_new_year_in_the_south() {
    let zone = posix("AEST-10AEDT,M10.1.0,M4.1.0/3");
    assert_eq!(zone.offset_at(1_767_225_600), 39_600); // 2026-01-01
    assert_eq!(zone.offset_at(1_782_864_000), 36_000); // 2026-07-01
}

#[test]
fn permanent_summer_time_has_no_gap_at_the_new_year() {
    let zone = posix("EST5EDT,0/0,J365/25");
    let new_year = 1_767_225_600 + 4 * 3600; // 2026-01-01 00:00 in EDT
    for instant in (new_year - 90_000..new_year + 90_000).step_by(600) {
        assert_eq!(zone.offset_at(instant), -14_400);
    }
}

#[test]
fn offsets_of_every_spelling() {
    for (text, offset) in [
        ("UTC0", 0),
        ("EST5", -18_000),
        ("EST+5", -18_000),
        ("IST-5:30", 19_800),
        ("LMT-0:53:28", 3208),
        ("<+1245>-12:45", 45_900),
    ] {
        assert_eq!(posix(text).offset_at(0), offset, "{text}");
    }
    // Undated: the rule of the United States; 2026-07-01 and 2026-01-01.
    assert_eq!(posix("EST5EDT").offset_at(1_782_864_000), -14_400);
    assert_eq!(posix("EST5EDT").offset_at(1_767_225_600), -18_000);
    assert_eq!(posix("EST5EDT4:30").offset_at(1_782_864_000), -16_200);
}

#[test]
fn what_is_no_rule_is_refused() {
    for text in [
        "",
        "UTC",
        "5",
        "ES5",
        "<EST5",
        "EST25",
        "EST5:60",
        "EST5EDT,",
        "EST5EDT,M3.2.0",
        "EST5EDT,M13.1.0,M11.1.0",
        "EST5EDT,M3.6.0,M11.1.0",
        "EST5EDT,M3.2.7,M11.1.0",
        "EST5EDT,J0,J365",
        "EST5EDT,366,1",
        "EST5EDT,M3.2.0,M11.1.0x",
        "EST5EDT,M3.2.0/168,M11.1.0",
        "EST99999999999999999999",
        "EST-",
    ] {
        assert_eq!(Zone::from_posix(text), None, "{text}");
    }
}

#[test]
fn tz_is_read_as_the_c_library_reads_it() {
    let files = HashMap::from([
        ("/etc/localtime", tzif(b'2', "LOC-1")),
        ("/usr/share/zoneinfo/Some/Where", tzif(b'2', "SOM-2")),
        ("/my/zone", tzif(b'2', "MYY-3")),
        ("/my/garbage", b"TZ".to_vec()),
    ]);
    let read = |path: &Path| match path.to_str().unwrap() {
        "/secret" => Err(io::ErrorKind::PermissionDenied.into()),
        path => files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into()),
    };
    let offset = |tz: Option<&str>| {
        Zone::resolve(tz.map(OsStr::new), read)
            .map(|zone| zone.offset_at(2000))
            .map_err(|error| error.to_string())
    };
    assert_eq!(offset(None), Ok(3600));
    assert_eq!(offset(Some("")), Ok(0));
    assert_eq!(offset(Some("UTC")), Ok(0));
    assert_eq!(offset(Some("Some/Where")), Ok(7200));
    assert_eq!(offset(Some(":Some/Where")), Ok(7200));
    assert_eq!(offset(Some("/my/zone")), Ok(10_800));
    assert_eq!(offset(Some(":/my/zone")), Ok(10_800));
    assert_eq!(offset(Some("FOUR-4")), Ok(14_400));
    let unknown = offset(Some("No/Where"));
    assert_eq!(unknown, Err("unknown time zone \"No/Where\"".to_owned()));
    assert!(offset(Some("/my/garbage")).unwrap_err().contains("malformed"));
    assert!(offset(Some("/secret")).unwrap_err().starts_with("/secret: "));
    let nothing = Zone::resolve(None, |_| Err(io::ErrorKind::NotFound.into()));
    assert_eq!(nothing.unwrap(), Zone::utc());
}

#[test]
fn loading_does_not_open_what_is_no_file() {
    let loaded = Zone::load(Some(OsStr::new("/dev/zero")));
    assert!(matches!(loaded, Err(ZoneError::Unknown(_))));
    assert!(Zone::load(None).is_ok());
}

/// date(1)'s opinion of the offset at each instant; None where there is no such zone or date.
fn ask_date(zone: &str, instants: &[i64]) -> Option<Vec<i32>> {
    Path::new("/usr/share/zoneinfo").join(zone).is_file().then_some(())?;
    let mut date = Command::new("date")
        .args(["-f", "-", "+%::z"])
        .env("TZ", zone)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let lines: String = instants.iter().map(|at| format!("@{at}\n")).collect();
    date.stdin.take()?.write_all(lines.as_bytes()).ok()?;
    let answer = date.wait_with_output().ok()?;
    let text = String::from_utf8(answer.stdout).ok()?;
    text.lines().map(seconds).collect()
}

/// `+hh:mm:ss` in seconds.
fn seconds(text: &str) -> Option<i32> {
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let mut parts = text.get(1..)?.split(':').map(|part| part.parse::<i32>());
    let mut part = || parts.next()?.ok();
    Some(sign * (part()? * 3600 + part()? * 60 + part()?))
}

#[test]
fn agrees_with_date_on_real_zones() {
    // 1,500 instants of about 53 days, and the changes of 2026 and their neighbours.
    let mut instants: Vec<i64> = (-500..1000).map(|step| step * 4_567_891).collect();
    for change in [1_774_746_000, 1_792_890_000, 1_772_953_200, 1_793_512_800] {
        instants.extend([change - 1, change, change + 1]);
    }
    for name in [
        "Europe/Berlin",
        "Europe/Dublin",
        "America/New_York",
        "America/Sao_Paulo",
        "America/St_Johns",
        "Africa/Casablanca",
        "Africa/Monrovia",
        "Asia/Kathmandu",
        "Asia/Gaza",
        "Australia/Lord_Howe",
        "Pacific/Chatham",
        "Pacific/Apia",
        "Antarctica/Troll",
        "EST5EDT",
        "Etc/GMT+12",
    ] {
        let Some(expected) = ask_date(name, &instants) else {
            continue;
        };
        let zone = Zone::load(Some(OsStr::new(name))).unwrap();
        assert_eq!(expected.len(), instants.len());
        for (&instant, offset) in instants.iter().zip(expected) {
            assert_eq!(zone.offset_at(instant), offset, "{name} at {instant}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_zone_or_an_error(bytes: Vec<u8>, at: i64) {
        let _ = Zone::from_tzif(&bytes).map(|zone| zone.offset_at(at));
    }

    #[test]
    fn a_damaged_file_is_a_zone_or_an_error(at in 0_usize..300, with: u8, instant: i64) {
        let mut bytes = tzif(b'2', "CET-1CEST,M3.5.0,M10.5.0/3");
        let at = at % bytes.len();
        bytes[at] = with;
        let _ = Zone::from_tzif(&bytes).map(|zone| zone.offset_at(instant));
    }

    #[test]
    fn any_text_is_a_rule_or_none(text in "[A-Z<>]{0,4}[-+:/,.MJ0-9A-Z]{0,24}", at: i64) {
        let _ = Zone::from_posix(&text).map(|zone| zone.offset_at(at));
    }
}
