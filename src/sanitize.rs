//! Escaping and shortening of foreign text for logs and messages.

use std::fmt::{self, Write as _};

/// Maximum number of connections or targets that are logged by name, one per line.
pub(crate) const MAX_NAMES: usize = 20;

/// Vendor text for a log line: control characters are escaped, at most 100 characters are kept.
pub(crate) struct ForLog<'a>(pub &'a str);

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

/// Message that may quote a file. Control characters are escaped, so that it stays on one line.
pub(crate) struct OneLine<'a>(pub &'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            c if c.is_control() => write!(f, "{}", c.escape_debug()),
            c => f.write_char(c),
        })
    }
}

/// Returns a vendor's code or request id if it consists of 1 to 64 of `A-Z a-z 0-9 _ . - =`.
#[must_use]
pub(crate) fn harmless(text: &str) -> Option<String> {
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
