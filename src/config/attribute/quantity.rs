//! Numbers, sizes and spans of time as they are written, read and shown again.

use std::time::Duration;

/// `unlimited` in any case.
pub(super) fn is_unlimited(text: &str) -> bool {
    text.eq_ignore_ascii_case("unlimited")
}

/// Digits only: no sign, no blanks.
pub(crate) fn digits(text: &str) -> Option<u64> {
    let all = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| text.parse().ok())?
}

/// Up to `0777`.
pub(crate) fn octal(text: &str) -> Option<u32> {
    digits(text)?;
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777)
}

/// `64k`, `10M`, `1G`, or bytes.
pub(crate) fn size(text: &str) -> Option<u64> {
    let unit = match text.bytes().last()? {
        b'k' | b'K' => 1 << 10,
        b'm' | b'M' => 1 << 20,
        b'g' | b'G' => 1 << 30,
        _ => return digits(text),
    };
    let number = text.get(..text.len() - 1)?;
    digits(number)?.checked_mul(unit)
}

/// Units of time, the longest first.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("ms", 1), ("s", 1_000)];

/// The longest span that is read: ten years. Clocks can count beyond it.
const LONGEST: u64 = 3_650 * 86_400_000;

/// `500ms`, `30s`, `5m`, `2h`, `1d`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let (unit, milliseconds) = UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
    let number = digits(text.strip_suffix(unit)?)?.checked_mul(*milliseconds)?;
    (number <= LONGEST).then(|| Duration::from_millis(number))
}

/// The shortest way to write a span that `duration` reads back.
pub(super) fn show_duration(span: Duration) -> String {
    let milliseconds = u64::try_from(span.as_millis()).unwrap_or(LONGEST);
    for (unit, one) in UNITS.iter().filter(|(_, one)| *one > 1) {
        if milliseconds.is_multiple_of(*one) && milliseconds != 0 {
            return format!("{}{unit}", milliseconds / one);
        }
    }
    format!("{milliseconds}ms")
}

/// The shortest way to write a size that `size` reads back.
pub(super) fn show_size(size: u64) -> String {
    for (unit, letter) in [(1 << 30, 'G'), (1 << 20, 'M'), (1 << 10, 'k')] {
        if size != 0 && size.is_multiple_of(unit) {
            return format!("{}{letter}", size / unit);
        }
    }
    size.to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{digits, duration, octal, show_duration, show_size, size};

    #[test]
    fn sizes_have_units() {
        for (text, expected) in [
            ("0", Some(0)),
            ("64k", Some(65536)),
            ("10M", Some(10_485_760)),
            ("1G", Some(1_073_741_824)),
            ("k", None),
            ("", None),
            ("1T", None),
            ("-1", None),
            ("+1", None),
            ("99999999999999999999", None),
            ("18446744073709551615G", None),
        ] {
            assert_eq!(size(text), expected, "{text}");
        }
        for bytes in [0, 1, 1023, 1024, 65536, 1 << 30, u64::MAX] {
            assert_eq!(size(&show_size(bytes)), Some(bytes));
        }
    }

    #[test]
    fn spans_have_units_and_read_back() {
        for (text, milliseconds) in [
            ("500ms", Some(500)),
            ("30s", Some(30_000)),
            ("5m", Some(300_000)),
            ("2h", Some(7_200_000)),
            ("1d", Some(86_400_000)),
            ("0s", Some(0)),
            ("30", None),
            ("s", None),
            ("1.5s", None),
            ("-1s", None),
            ("4000d", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
        ] {
            let span = milliseconds.map(Duration::from_millis);
            assert_eq!(duration(text), span, "{text}");
            let back = span.map(show_duration);
            assert_eq!(back.as_deref().and_then(duration), span, "{text}");
        }
        assert_eq!(show_duration(Duration::from_secs(90)), "90s");
        assert_eq!(show_duration(Duration::from_secs(3_600)), "1h");
    }

    #[test]
    fn numbers_are_digits_and_modes_octal() {
        assert_eq!(digits("042"), Some(42));
        assert_eq!(digits("+4"), None);
        assert_eq!(octal("0660"), Some(0o660));
        assert_eq!(octal("660"), Some(0o660));
        assert_eq!(octal("680"), None);
        assert_eq!(octal("7777"), None);
    }
}
