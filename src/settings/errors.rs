//! Configuration errors: each has a position and is one line.

use std::collections::HashSet;
use std::fmt;

use crate::sanitize::OneLine;

/// Maximum number of errors shown; of the others only the number is shown. With so many, the fault
/// is probably in the program that wrote the file.
const MAX_SHOWN: usize = 100;

/// Position in a text: line and column, both counted from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

impl Position {
    /// Position of the first character.
    pub(crate) const START: Self = Self { line: 1, column: 1 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One error in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Position of the error; `None` if the file could not be read at all.
    pub at: Option<Position>,
    /// Path of the key, such as `zuora[0].entities[2].id`; empty for the whole file.
    pub path: String,
    /// What is wrong, and what is allowed. It never quotes a value that may be a secret.
    pub what: String,
}

/// All errors of a configuration file, one per line, in the order of the file.
///
/// The alternate form (`{:#}`) has colours for a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    file: String,
    list: Vec<ConfigError>,
    /// Number of errors that are not in the list.
    more: usize,
    /// Paths with a reported error, so that errors that only follow from it are not reported.
    told: HashSet<String>,
    /// Errors of another file.
    others: Option<Box<ConfigErrors>>,
    /// Errors that do not prevent use of the file: secret files that could not be read in time.
    hanging: Option<Box<ConfigErrors>>,
}

impl ConfigErrors {
    /// Creates an empty list of errors for the file of this name.
    #[must_use]
    pub fn new(file: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            list: Vec::new(),
            more: 0,
            told: HashSet::new(),
            others: None,
            hanging: None,
        }
    }

    /// Adds an error that does not prevent use of the file.
    pub(super) fn add_hanging(
        &mut self,
        at: impl FnOnce() -> Option<Position>,
        path: &str,
        what: String,
    ) {
        let none = || Box::new(Self::new(self.file.clone()));
        let hanging = self.hanging.get_or_insert_with(none);
        hanging.add_at(at, path, what);
    }

    /// Removes and returns the errors that do not prevent use of the file.
    pub(crate) fn take_hanging(&mut self) -> Self {
        let hanging = self.hanging.take().map(|hanging| *hanging);
        hanging.unwrap_or_else(|| Self::new(self.file.clone()))
    }

    /// Merges all errors into one list, for a file that cannot be used anyway.
    pub(crate) fn with_hanging(mut self) -> Self {
        let hanging = self.take_hanging();
        self.more += hanging.more;
        self.list.extend(hanging.list);
        self
    }

    /// Adds an error without a position.
    pub fn add(&mut self, path: &str, what: impl Into<String>) {
        self.add_at(|| None, path, what);
    }

    /// Adds an error. `at` is called only if the error will be shown.
    pub(crate) fn add_at(
        &mut self,
        at: impl FnOnce() -> Option<Position>,
        path: &str,
        what: impl Into<String>,
    ) {
        self.told.insert(path.to_owned());
        if self.list.len() == MAX_SHOWN {
            self.more += 1;
            return;
        }
        self.list.push(ConfigError {
            at: at(),
            path: path.to_owned(),
            what: what.into(),
        });
    }

    /// Adds the errors of another file.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.others = Some(Box::new(others));
        self
    }

    /// Returns whether there are no errors that prevent use of the file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Marks a path as explained by an error of another path, so that it is not reported as
    /// missing.
    pub(super) fn explain(&mut self, path: String) {
        self.told.insert(path);
    }

    /// Returns whether an error of this path was reported or is explained.
    pub(super) fn has(&self, path: &str) -> bool {
        self.told.contains(path)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bold, key, plain) = if f.alternate() {
            ("\u{1b}[1m", "\u{1b}[36m", "\u{1b}[0m")
        } else {
            ("", "", "")
        };
        let mut list: Vec<_> = self.list.iter().collect();
        list.sort_by_key(|problem| problem.at);
        for (n, problem) in list.into_iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            write!(f, "{bold}{}", OneLine(&self.file))?;
            if let Some(at) = problem.at {
                write!(f, ":{at}")?;
            }
            write!(f, ":{plain} ")?;
            if !problem.path.is_empty() {
                write!(f, "{key}{}{plain}: ", OneLine(&problem.path))?;
            }
            write!(f, "{}", OneLine(&problem.what))?;
        }
        if self.more > 0 {
            write!(
                f,
                "\n{}: and {} more problems",
                OneLine(&self.file),
                self.more
            )?;
        }
        if let Some(others) = &self.others {
            writeln!(f)?;
            others.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_shown_in_the_order_of_the_file_and_colours_only_where_asked_for() {
        let mut problems = ConfigErrors::new("c");
        for line in [2, 1] {
            let at = Position { line, column: 3 };
            problems.add_at(|| Some(at), "a.b", "is\nwrong");
        }
        assert_eq!(
            problems.to_string(),
            "c:1:3: a.b: is\\nwrong\nc:2:3: a.b: is\\nwrong"
        );
        let coloured = format!("{problems:#}");
        assert!(coloured.starts_with("\u{1b}[1mc:1:3:\u{1b}[0m \u{1b}[36ma.b\u{1b}[0m: is"));
    }

    #[test]
    fn of_more_than_a_hundred_problems_the_rest_is_counted() {
        let mut problems = ConfigErrors::new("c");
        for n in 0..2_000 {
            problems.add(&format!("a[{n}]"), "is wrong");
        }
        let said = problems.to_string();
        assert_eq!(said.lines().count(), 101);
        assert!(said.ends_with("\nc: and 1900 more problems"));
        assert!(problems.has("a[1999]"));
    }
}
