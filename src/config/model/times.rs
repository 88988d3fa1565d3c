//! `access_times`: the times of day at which a service may be used.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Minutes of a day; 1440 is the midnight at its end.
const DAY: u16 = 24 * 60;

/// Spans of the local time of day, each from the beginning of its first minute to the
/// end of its last, as in xinetd: `00:00-23:59` is the whole day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessTimes {
    /// First and last minute; the last is before the first if midnight is between.
    spans: Vec<(u16, u16)>,
}

impl AccessTimes {
    /// Reads spans separated by blanks: `8:00-12:30 22:00-6:00`.
    ///
    /// # Errors
    /// What is wrong with the first span that is not one, in one line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let spans = text.split_whitespace().map(span).collect::<Result<Vec<_>, _>>()?;
        if spans.is_empty() {
            return Err("a span of times such as `8:00-18:00` is missing".to_owned());
        }
        Ok(Self { spans })
    }

    /// Whether a minute of the day (0 to 1439) is inside one of the spans.
    pub fn contains(&self, minute_of_day: u16) -> bool {
        self.spans.iter().any(|&(first, last)| {
            let (begun, over) = (first <= minute_of_day, minute_of_day > last);
            if first <= last { begun && !over } else { begun || !over }
        })
    }
}

impl fmt::Display for AccessTimes {
    /// As [`AccessTimes::parse`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (first, last)) in self.spans.iter().enumerate() {
            let blank = if n == 0 { "" } else { " " };
            let (h, m, to_h, to_m) = (first / 60, first % 60, last / 60, last % 60);
            write!(f, "{blank}{h:02}:{m:02}-{to_h:02}:{to_m:02}")?;
        }
        Ok(())
    }
}

/// `8:00-18:00`.
fn span(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text
        .split_once('-')
        .ok_or_else(|| format!("`{text}` is not a span of times such as `8:00-18:00`"))?;
    match (time(first)?, time(last)?) {
        (DAY, _) => Err(format!("a span cannot begin at 24:00, as `{text}` does")),
        span => Ok(span),
    }
}

/// `8:00`, in minutes; `24:00` is the end of the day.
fn time(text: &str) -> Result<u16, String> {
    let number = |digits: &str, most: u16| {
        let plain = matches!(digits.len(), 1 | 2) && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse::<u16>().ok().filter(|n| plain && *n <= most)
    };
    text.split_once(':')
        .and_then(|(hour, minute)| Some(number(hour, 24)? * 60 + number(minute, 59)?))
        .filter(|minutes| *minutes <= DAY)
        .ok_or_else(|| format!("`{text}` is not a time from 0:00 to 24:00"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert_eq, proptest};

    fn times(text: &str) -> AccessTimes {
        AccessTimes::parse(text).unwrap()
    }

    #[test]
    fn spans_have_their_first_and_last_minute() {
        let day = times("8:00-12:00 13:00-18:00");
        let inside = [480, 720, 780, 1080].map(|minute| day.contains(minute));
        let outside = [0, 479, 721, 779, 1081, 1439].map(|minute| day.contains(minute));
        assert_eq!((inside, outside), ([true; 4], [false; 6]));
    }

    #[test]
    fn a_span_may_go_over_midnight() {
        let night = times("22:00-6:00");
        let inside = [1320, 1439, 0, 360].map(|minute| night.contains(minute));
        let outside = [361, 720, 1319].map(|minute| night.contains(minute));
        assert_eq!((inside, outside), ([true; 4], [false; 3]));
    }

    #[test]
    fn the_whole_day_can_be_said_in_two_ways() {
        for text in ["0:00-23:59", "00:00-24:00"] {
            assert!((0..DAY).all(|minute| times(text).contains(minute)), "{text}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, message) in [
            ("", "a span of times such as `8:00-18:00` is missing"),
            ("8:00", "`8:00` is not a span of times such as `8:00-18:00`"),
            ("8-18", "`8` is not a time from 0:00 to 24:00"),
            ("8:00-24:01", "`24:01` is not a time from 0:00 to 24:00"),
            ("8:60-9:00", "`8:60` is not a time from 0:00 to 24:00"),
            ("8:00-+9:00", "`+9:00` is not a time from 0:00 to 24:00"),
            ("24:00-1:00", "a span cannot begin at 24:00, as `24:00-1:00` does"),
        ] {
            assert_eq!(AccessTimes::parse(text).unwrap_err(), message);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_printed_spans_read_back(text in "[0-9:. -]{0,20}") {
            if let Ok(read) = AccessTimes::parse(&text) {
                prop_assert_eq!(times(&read.to_string()), read);
            }
        }
    }
}
