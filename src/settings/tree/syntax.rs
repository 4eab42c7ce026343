//! Decoding of bytes to text, and messages for invalid YAML.
//!
//! The messages do not quote the text, because it may contain a secret.

use saphyr_parser::ScanError;

use super::{DEEPEST, Fatal, position};
use crate::settings::errors::{ConfigErrors, Position};

pub(super) const ANOTHER_DOCUMENT: &str =
    "a second document begins here: one file holds one, so remove the line --- or ...";

pub(super) const TOO_OFTEN: &str =
    "the aliases of this file repeat more than 1 MiB: write out what they stand for";

pub(super) fn too_deep() -> String {
    format!("lists and mappings are nested deeper than {DEEPEST} levels, which no configuration is")
}

/// Returns the text of a file. Returns `None` if it is not UTF-8, which is reported.
pub(crate) fn decode(bytes: Vec<u8>, problems: &mut ConfigErrors) -> Option<String> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        problems.add_at(
            || Some(Position::START),
            "",
            "the file is UTF-16: save it as UTF-8",
        );
        return None;
    }
    String::from_utf8(bytes)
        .map_err(|error| {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let at = end(&String::from_utf8_lossy(good));
            let what = "the file is not text in UTF-8: here is a byte that is no character";
            problems.add_at(|| Some(at), "", what);
        })
        .ok()
}

/// Returns the position after the end of a text.
fn end(text: &str) -> Position {
    let last = text.rsplit('\n').next().unwrap_or_default();
    Position {
        line: text.matches('\n').count() + 1,
        column: last.chars().count() + 1,
    }
}

/// Refuses control characters that YAML does not allow. A binary file is refused here.
pub(super) fn printable(text: &str) -> Result<(), Fatal> {
    let control = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    match text.find(control) {
        Some(at) => {
            let number = u32::from(text[at..].chars().next().unwrap_or_default());
            let what = format!(
                "the control character U+{number:04X} cannot stand in YAML: remove it, or save the \
                    file as text in UTF-8"
            );
            Err((end(&text[..at]), what))
        }
        None => Ok(()),
    }
}

/// Returns the position and the message of a parser error.
///
/// The parser's own text describes its internal state, and most of these mistakes have another
/// cause.
pub(super) fn explain(text: &str, error: &ScanError) -> Fatal {
    let at = position(error.marker());
    let lines: Vec<&str> = text.lines().collect();
    if let Some(at) = tab(&lines, at.line) {
        return (at, "tabs cannot indent YAML: use spaces".to_owned());
    }
    let here = lines.get(at.line - 1).copied().unwrap_or_default();
    let info = error.info();
    let says = |part: &str| info.contains(part);
    let before: String = here.chars().take(at.column - 1).collect();
    let indented = || Position {
        line: at.line,
        column: here.chars().take_while(|c| *c == ' ').count() + 1,
    };
    if says("recursion limit") {
        return (at, too_deep());
    }
    if says("mapping values are not allowed") && before.contains(": ") {
        return (
            at,
            "a value that holds a colon and a space needs quotes".to_owned(),
        );
    }
    let (start, written) = line_before(&lines, at);
    let joined = written.contains([':', '=']) && !written.contains(": ") && !written.ends_with(':');
    if says("simple key expect") || (says("mapping values are not allowed") && joined) {
        let what = "expected a key, a colon and a space, such as interval: 5m";
        return (start, what.to_owned());
    }
    if says("quoted") && (says("unexpected end of stream") || says("indentation")) {
        let what = "these quotes are not closed, or their next line is not indented";
        return (at, what.to_owned());
    }
    if says("trailing content after double-quoted") {
        let what = "nothing can follow closing quotes: put the whole value in quotes";
        return (at, what.to_owned());
    }
    if says("unexpected character") {
        let what = "a value that begins with this character needs quotes";
        return (at, what.to_owned());
    }
    if says("unknown anchor") {
        let what = "this alias has no anchor before it: name one, or put quotes around a value \
            that begins with *";
        return (at, what.to_owned());
    }
    if says("flow sequence") || says("flow mapping") || says("flow construct") {
        let what = "expected a comma, or the bracket that closes this list or mapping";
        return (at, what.to_owned());
    }
    if says("did not find expected node content") {
        let what = "expected a value, or the bracket that closes the list or mapping before";
        return (at, what.to_owned());
    }
    let misplaced = [
        "mapping values are not allowed",
        "did not find expected key",
        "did not find expected '-'",
        "block sequence entries are not allowed",
        "indent",
        "mapping keys are not allowed",
    ];
    if misplaced.into_iter().any(says) && before.trim().is_empty() || says("mapping values") {
        let what =
            "check the indentation: this line does not stand under the line that it belongs to";
        return (indented(), what.to_owned());
    }
    if says("did not find expected key") || says("did not find expected '-'") {
        let what = "expected the end of the line: put quotes around the whole value";
        return (at, what.to_owned());
    }
    if info.contains(['"', '`']) {
        return (at, "not YAML that can be read".to_owned());
    }
    (at, format!("not YAML that can be read: {info}"))
}

/// Finds the first tab that indents the line with the error or the next line that is not blank.
///
/// The parser stops at either of these lines.
fn tab(lines: &[&str], error: usize) -> Option<Position> {
    for (index, line) in lines.iter().enumerate().skip(error - 1) {
        let spaces = line.chars().take_while(|c| *c == ' ').count();
        let blank = line.trim().is_empty();
        if !blank && line[spaces..].starts_with('\t') {
            return Some(Position {
                line: index + 1,
                column: spaces + 1,
            });
        }
        if !blank && index + 1 > error {
            break;
        }
    }
    None
}

/// Returns the last line before a position that is neither blank nor a comment, and its start.
///
/// The indentation is removed. The parser reports a key without its colon only on the next line.
fn line_before<'a>(lines: &[&'a str], at: Position) -> (Position, &'a str) {
    let before = lines.iter().enumerate().take(at.line - 1).rev();
    let mut written =
        before.map(|(index, line)| (index, line, line.trim_start_matches([' ', '-'])));
    let written = written.find(|(_, _, text)| !text.trim().is_empty() && !text.starts_with('#'));
    written.map_or((at, ""), |(index, line, text)| {
        let column = line.chars().count() - text.chars().count() + 1;
        let line = index + 1;
        (Position { line, column }, text.trim_end())
    })
}
