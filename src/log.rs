//! How somebody else's text looks in a line of ours.

use std::fmt::{self, Write as _};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_the_log_is_one_line_and_short() {
        assert_eq!(ForLog("a\nb\u{1b}[31m").to_string(), "a\\nb\\u{1b}[31m");
        assert_eq!(OneLine("\"a\"\nb").to_string(), "\"a\"\\nb");
        assert_eq!(ForLog(&"é".repeat(200)).to_string().chars().count(), 101);
    }
}
