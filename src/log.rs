//! How a vendor's text looks in a log line.

use std::fmt;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_the_log_is_one_line_and_short() {
        assert_eq!(ForLog("a\nb\u{1b}[31m").to_string(), "a\\nb\\u{1b}[31m");
        assert_eq!(ForLog(&"é".repeat(200)).to_string().chars().count(), 101);
    }
}
