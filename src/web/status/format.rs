//! Times, numbers and vendor text, formatted for people.

use std::fmt::{self, Write as _};
use std::time::Duration;

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::clock::until;

/// Text from outside the program, shown in full.
///
/// Characters that are invisible, or that change the direction of surrounding text, are escaped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name<'a>(pub(super) &'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            // Bidirectional marks and overrides, line separators, and zero-width characters.
            '\u{61c}'
            | '\u{200b}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}' => write!(f, "{}", c.escape_unicode()),
            c if c.is_control() => write!(f, "{}", c.escape_debug()),
            c => f.write_char(c),
        })
    }
}

/// Characters of a URL's query that are not percent-encoded.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Value of a parameter in a URL's query, percent-encoded.
#[derive(Debug, Clone, Copy)]
pub(super) struct UrlValue<'a>(pub(super) &'a str);

impl fmt::Display for UrlValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        utf8_percent_encode(self.0, UNRESERVED).fmt(f)
    }
}

/// Duration in its two largest units, such as `3 d 4 h`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span(pub(super) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.0.as_secs();
        let (large, large_unit, small, small_unit) = match all {
            ..60 => return write!(f, "{all} s"),
            60..3600 => (all / 60, "min", all % 60, "s"),
            3600..86_400 => (all / 3600, "h", all % 3600 / 60, "min"),
            _ => (all / 86_400, "d", all % 86_400 / 3600, "h"),
        };
        write!(f, "{large} {large_unit}")?;
        // With 10 or more of the large unit, such as 10 minutes, the small unit does not matter.
        if small > 0 && large < 10 {
            write!(f, " {small} {small_unit}")?;
        }
        Ok(())
    }
}

/// Time relative to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Date {
    pub(super) at: Timestamp,
    pub(super) now: Timestamp,
}

impl Date {
    /// Machine-readable time, in whole seconds.
    pub(super) fn exact(&self) -> Timestamp {
        Timestamp::from_second(self.at.as_second()).unwrap_or(self.at)
    }

    /// Time of day, or date and time if the time is 24 hours or more away.
    pub(super) fn clock(&self) -> String {
        let day = Duration::from_hours(24);
        let format = if self.distance().0 < day {
            "%H:%M:%S UTC"
        } else {
            "%Y-%m-%d %H:%M UTC"
        };
        self.at.strftime(format).to_string()
    }

    /// Date and time of day, in full.
    pub(super) fn full(&self) -> String {
        self.at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
    }

    pub(super) fn is_past(&self) -> bool {
        self.at <= self.now
    }

    /// Time from the date to now, or from now to the date.
    pub(super) fn distance(&self) -> Span {
        Span(until(self.at, self.now).max(until(self.now, self.at)))
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let distance = self.distance();
        if distance.0 < Duration::from_secs(1) {
            f.write_str("now")
        } else if self.is_past() {
            write!(f, "{distance} ago")
        } else {
            write!(f, "in {distance}")
        }
    }
}

/// Integer with a comma as thousands separator.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number(pub(super) u64);

/// For templates, whose expressions are references.
impl From<&usize> for Number {
    fn from(number: &usize) -> Self {
        Self::from(*number)
    }
}

impl From<usize> for Number {
    fn from(number: usize) -> Self {
        Self(number as u64)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                f.write_char(',')?;
            }
            f.write_char(digit)?;
        }
        Ok(())
    }
}

/// Duration of a poll, in seconds with the digits that matter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Took(pub(super) Duration);

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs_f64() {
            ..0.01 => f.write_str("under 10 ms"),
            ..1.0 => write!(f, "{} ms", self.0.as_millis()),
            seconds @ ..10.0 => write!(f, "{seconds:.2} s"),
            seconds @ ..60.0 => write!(f, "{seconds:.1} s"),
            _ => Span(self.0).fmt(f),
        }
    }
}

/// Size in bytes, kB or MB.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes(pub(super) f64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ..1e3 => write!(f, "{:.0} bytes", self.0),
            1e3..1e6 => write!(f, "{:.1} kB", self.0 / 1e3),
            _ => write!(f, "{:.1} MB", self.0 / 1e6),
        }
    }
}

/// Number with a noun whose plural ends in s.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count(pub(super) usize, pub(super) &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} {}{s}", Number(self.0 as u64), self.1)
    }
}

/// Requests per second, formatted as requests per minute.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate(pub(super) f64);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minute = self.0 * 60.0;
        if minute < 10.0 && minute.fract() > 0.05 {
            return write!(f, "{minute:.1}/min");
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate is at most a million"
        )]
        let whole = minute.round() as u64;
        write!(f, "{}/min", Number(whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_at_most_two_units() {
        for (seconds, words) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (125, "2 min 5 s"),
            (725, "12 min"),
            (7500, "2 h 5 min"),
            (3 * 86_400 + 4 * 3600 + 59, "3 d 4 h"),
            (400 * 86_400, "400 d"),
        ] {
            assert_eq!(Span(Duration::from_secs(seconds)).to_string(), words);
        }
    }

    #[test]
    fn a_date_is_told_from_now() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let words = |then| {
            Date {
                at: at(then),
                now: at(1000),
            }
            .to_string()
        };
        assert_eq!(
            [words(940), words(1000), words(8200)],
            ["1 min ago", "now", "in 2 h"]
        );
    }

    #[test]
    fn what_would_not_be_seen_in_a_name_is_made_visible() {
        let name = "a\u{1b}[31m\n\u{202e}b\u{200b} é हिन्दी \"<b>'";
        let shown = "a\\u{1b}[31m\\n\\u{202e}b\\u{200b} é हिन्दी \"<b>'";
        assert_eq!(Name(name).to_string(), shown);
    }

    #[test]
    fn a_value_in_a_url_cannot_end_it() {
        let value = UrlValue("a-1_.~&target=<b>\"é").to_string();
        assert_eq!(value, "a-1_.~%26target%3D%3Cb%3E%22%C3%A9");
    }

    #[test]
    fn numbers_sizes_and_rates_are_short() {
        let words = [
            Number(7).to_string(),
            Number(1_234_567).to_string(),
            Bytes(512.0).to_string(),
            Bytes(12_345.0).to_string(),
            Bytes(3.2e6).to_string(),
            Count(1, "target").to_string(),
            Count(2000, "target").to_string(),
            Took(Duration::from_millis(9)).to_string(),
            Took(Duration::from_millis(120)).to_string(),
            Took(Duration::from_millis(2341)).to_string(),
            Took(Duration::from_millis(12_340)).to_string(),
            Took(Duration::from_secs(90)).to_string(),
            Rate(1.0).to_string(),
            Rate(0.05 / 2.0).to_string(),
        ];
        let expected = [
            "7",
            "1,234,567",
            "512 bytes",
            "12.3 kB",
            "3.2 MB",
            "1 target",
            "2,000 targets",
            "under 10 ms",
            "120 ms",
            "2.34 s",
            "12.3 s",
            "1 min 30 s",
            "60/min",
            "1.5/min",
        ];
        assert_eq!(words, expected);
    }
}
