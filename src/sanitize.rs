//! How somebody else's text looks in a line of ours.

use std::fmt::{self, Write as _};

/// The most connections or targets that are named one by one, each in a line of its own.
pub const MOST_NAMES: usize = 20;

/// A vendor's text for a log line: control characters escaped, and not longer than people read.
pub struct ForLog<'a>(pub &'a str);

impl fmt::Display for ForLog<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut: String = self.0.chars().take(100).collect();
        write!(
            f,
            "{}{}",
            cut.escape_debug(),
            if cut.len() < self.0.len() { "…" } else { "" }
        )
    }
}

/// A sentence that may quote somebody's file: control characters escaped, so that it stays one line.
pub struct OneLine<'a>(pub &'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            c if c.is_control() => write!(f, "{}", c.escape_debug()),
            c => f.write_char(c),
        })
    }
}

/// Takes a vendor's code or request id if it is harmless: at most 64 of `A-Z a-z 0-9 _ . - =`.
#[must_use]
pub fn harmless(text: &str) -> Option<String> {
    let fits = (1..=64).contains(&text.len());
    let plain = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'='));
    (fits && plain).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_the_log_is_one_line_and_short() {
        assert_eq!(ForLog("a\nb\u{1b}[31m").to_string(), "a\\nb\\u{1b}[31m");
        assert_eq!(OneLine("\"a\"\nb").to_string(), "\"a\"\\nb");
        assert_eq!(ForLog(&"é".repeat(200)).to_string().chars().count(), 101);
    }

    #[test]
    fn only_plain_codes_pass() {
        assert_eq!(
            harmless("InvalidCredentials").as_deref(),
            Some("InvalidCredentials")
        );
        for bad in ["", "two words", "a\nb", "<b>", &"x".repeat(65)] {
            assert_eq!(harmless(bad), None, "{bad:?}");
        }
    }
}
