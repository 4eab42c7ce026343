//! JSON of a vendor, read from slices of the body.
//!
//! A value is a slice of the body until its text is needed, so the vendor does not decide how much
//! memory is allocated.
//!
//! Facts are lenient: a value of an undocumented type is read as far as possible and counted, and
//! has no other effect. Identities are strict: names, ids and paging fields have the documented
//! type, or the response is rejected.

use std::borrow::Cow;
use std::fmt::Write as _;

use memchr::{memchr, memchr2};
use serde_json::value::RawValue;

use crate::model::error::PollError;
use crate::model::listing::{LossyText, UnknownValues};

/// Maximum number of invalid UTF-8 bytes in a body; a body with more is not text.
const MAX_REPLACED: usize = 100_000;

/// Approximate length up to which a text with escapes is unescaped, in bytes.
///
/// Longer texts are cut much earlier wherever they are exported.
const MAX_UNESCAPED: usize = 1 << 20;

/// Text of a [`Misfit::Shape`] for a value that is not an object.
pub(crate) const NO_OBJECT: &str = "something else than an object";

/// Text of a [`Misfit::Shape`] for an object with two values of one key.
///
/// No document defines which of the two is valid.
pub(crate) const KEY_TWICE: &str = "one key twice in an object";

/// Values of the requested keys, in their order.
pub(crate) type Fields<'a, const N: usize> = Result<[Option<Value<'a>>; N], Misfit>;

/// Error of a response that is JSON but cannot be used.
#[derive(Debug)]
pub enum Misfit {
    /// What the response has or lacks: the end of a sentence that begins with "the answer has".
    Shape(&'static str),
    /// A complete error.
    Error(PollError),
}

impl From<&'static str> for Misfit {
    fn from(what: &'static str) -> Self {
        Self::Shape(what)
    }
}

impl From<PollError> for Misfit {
    fn from(error: PollError) -> Self {
        Self::Error(error)
    }
}

/// Returns the body as text; `None` if it is not text.
///
/// A byte that is not UTF-8 becomes the escape of a lone surrogate (`\udce9`, as in Python's
/// `surrogateescape`). Texts that differ only in such bytes stay different until they are exported.
#[must_use]
pub(crate) fn as_text(body: &[u8]) -> Option<Cow<'_, str>> {
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    if let Ok(text) = std::str::from_utf8(body) {
        return Some(text.into());
    }
    let odd: usize = body.utf8_chunks().map(|chunk| chunk.invalid().len()).sum();
    if odd > MAX_REPLACED {
        return None;
    }
    let mut text = String::with_capacity(body.len() + odd * r"\udcff".len());
    for chunk in body.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a `String` cannot fail.
            let _ = write!(text, r"\udc{byte:02x}");
        }
    }
    Some(text.into())
}

/// A JSON value as a slice of the body, whose type has not been checked.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a>(&'a str);

impl<'a> Value<'a> {
    /// Checks the syntax of a text that is one JSON value.
    pub fn parse(text: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str::<&RawValue>(text).map(|value| Self(value.get()))
    }

    /// Takes the value at the start of a text, which may be cut off before the value ends.
    ///
    /// The syntax is not checked.
    #[must_use]
    pub(crate) fn cut_off(text: &'a str) -> Self {
        Self(text.trim_ascii())
    }

    /// Returns whether it is `null`, which is the same as a missing value.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.0.len() == 4 && self.0 == "null"
    }

    /// Returns whether it is an object.
    #[must_use]
    pub fn is_object(self) -> bool {
        self.0.starts_with('{')
    }

    /// Returns whether it is a text that is not empty, without reading it.
    #[must_use]
    pub(crate) fn is_some_text(self) -> bool {
        self.0.starts_with('"') && self.0.len() > 2
    }

    /// Returns the values of an array; `None` if it is not an array.
    ///
    /// For a text that was cut off, these are the values before the cut.
    #[must_use]
    pub(crate) fn items(self) -> Option<Values<'a>> {
        Values::after('[', self.0)
    }

    /// Returns the keys and values of an object, alternating; `None` if it is not an object.
    #[must_use]
    pub(crate) fn members(self) -> Option<Values<'a>> {
        Values::after('{', self.0)
    }

    /// Returns the values of these keys; `null` counts as missing.
    ///
    /// An object with two values of one of the keys is rejected, because it is undefined which is
    /// valid.
    pub fn fields<const N: usize>(self, keys: [&str; N]) -> Fields<'a, N> {
        let fields = Values {
            text: self.0,
            at: 0,
        }
        .fields(keys);
        fields.unwrap_or(Err(NO_OBJECT.into()))
    }

    /// Returns whether it is this text.
    #[must_use]
    pub fn is(self, text: &str) -> bool {
        self.position(&[text]).is_some()
    }

    /// Returns the index of the text that it is equal to.
    #[must_use]
    pub fn position(self, texts: &[&str]) -> Option<usize> {
        let raw = self.raw_text()?.as_bytes();
        let mut at = 0;
        while at < texts.len() {
            if raw.len() == texts[at].len() && raw == texts[at].as_bytes() {
                return Some(at);
            }
            at += 1;
        }
        memchr(b'\\', raw)?;
        let text = self.text()?.text;
        texts.iter().position(|known| *known == text)
    }

    /// Returns the digits of a number; `None` if the value is not a number.
    #[must_use]
    pub(crate) fn digits(self) -> Option<&'a str> {
        let is_number = self.0.starts_with(|c: char| c == '-' || c.is_ascii_digit());
        is_number.then_some(self.0)
    }

    /// Returns what is between the quotation marks of a text, with its escapes.
    fn raw_text(self) -> Option<&'a str> {
        let bytes = self.0.as_bytes();
        let quoted = bytes.len() >= 2 && bytes[0] == b'"' && bytes[bytes.len() - 1] == b'"';
        if !quoted {
            return None;
        }
        Some(&self.0[1..bytes.len() - 1])
    }

    /// Returns the text; `None` if the value is not a text.
    #[must_use]
    pub fn text(self) -> Option<LossyText<'a>> {
        let raw = self.raw_text()?;
        if memchr(b'\\', raw.as_bytes()).is_some() {
            return unescape(raw);
        }
        Some(LossyText {
            text: raw.into(),
            replaced: None,
        })
    }

    /// Returns a fact as text.
    ///
    /// A value of another type is counted, and converted to the closest text.
    pub(crate) fn fact(self, field: &'static str, unknown: &mut UnknownValues) -> Cow<'a, str> {
        if let Some(text) = self.text() {
            return text.into_text(field, unknown);
        }
        *unknown.entry(field).or_default() += 1;
        self.nearest()
    }

    /// Returns the closest text: the digits of a number, `true`, the texts of an array.
    fn nearest(self) -> Cow<'a, str> {
        let Some(items) = self.items() else {
            return if self.is_object() { "" } else { self.0 }.into();
        };
        let mut words = String::new();
        for text in items.filter_map(Value::text) {
            if words.len() + text.text.len() > MAX_UNESCAPED {
                break;
            }
            if !words.is_empty() {
                words.push(' ');
            }
            words.push_str(&text.text);
        }
        words.into()
    }

    /// Returns a fact that is a number.
    ///
    /// A number in quotation marks is counted, and read all the same.
    pub fn number<T: std::str::FromStr>(
        self,
        field: &'static str,
        unknown: &mut UnknownValues,
    ) -> Option<T> {
        let number = self.0.parse().ok();
        if number.is_some() {
            return number;
        }
        *unknown.entry(field).or_default() += 1;
        self.text()?.text.trim().parse().ok()
    }

    /// Returns a boolean, with or without quotation marks; `None` for anything else.
    #[must_use]
    pub fn flag(self) -> Option<bool> {
        match self.0.trim_matches('"') {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }
}

/// Iterator over consecutive values, up to the end of their array or object.
#[derive(Debug)]
pub(crate) struct Values<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Values<'a> {
    /// Starts after the bracket that a text begins with; `None` if it begins otherwise.
    fn after(bracket: char, text: &'a str) -> Option<Self> {
        text.starts_with(bracket).then_some(Self { text, at: 1 })
    }

    /// Returns these keys' values in the next value and moves past it; `None` after the last value.
    ///
    /// Rows are read by this. It finds the end of an object while it reads it, whereas
    /// [`next`](Self::next) would search for the end first.
    pub(crate) fn fields<const N: usize>(&mut self, keys: [&str; N]) -> Option<Fields<'a, N>> {
        self.skip_separators();
        if self.text.as_bytes().get(self.at) != Some(&b'{') {
            return self.next().map(|_| Err(NO_OBJECT.into()));
        }
        self.at += 1;
        let (mut fields, mut seen) = ([None; N], [false; N]);
        while let (Some(key), Some(value)) = (self.next(), self.next()) {
            let Some(at) = key.position(&keys) else {
                continue;
            };
            if seen[at] {
                return Some(Err(KEY_TWICE.into()));
            }
            seen[at] = true;
            if !value.is_null() {
                fields[at] = Some(value);
            }
        }
        self.leave();
        Some(Ok(fields))
    }

    /// Continues inside the next value if that is an array, until [`leave`](Self::leave).
    ///
    /// Returns whether it is one.
    pub(crate) fn enter_list(&mut self) -> bool {
        self.skip_separators();
        let is_list = self.text.as_bytes().get(self.at) == Some(&b'[');
        self.at += usize::from(is_list);
        is_list
    }

    /// Moves past the bracket that ends the current array or object.
    pub(crate) fn leave(&mut self) {
        self.at += 1;
    }

    /// Moves past what separates two values, if the syntax is valid.
    fn skip_separators(&mut self) {
        let bytes = self.text.as_bytes();
        while let Some(b',' | b':' | b' ' | b'\n' | b'\r' | b'\t') = bytes.get(self.at) {
            self.at += 1;
        }
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        self.skip_separators();
        let end = end_of_value(self.text.as_bytes(), self.at)?;
        let value = Value(&self.text[self.at..end]);
        self.at = end;
        Some(value)
    }
}

/// Returns the offset after the value at `begin`; `None` if it is cut off or missing.
///
/// [`Value::parse`] checks the syntax of the whole body once. Here, only the end of a value is
/// searched for, because each level of a response passes over the levels below it.
fn end_of_value(bytes: &[u8], begin: usize) -> Option<usize> {
    match bytes.get(begin)? {
        b'"' => end_of_text(bytes, begin),
        b'{' | b'[' => end_of_nested(bytes, begin),
        _ => {
            let ends = |byte: &u8| b",:]} \t\r\n".contains(byte);
            let length = bytes[begin..].iter().position(ends);
            let end = length.map_or(bytes.len(), |length| begin + length);
            Some(end).filter(|end| *end > begin)
        }
    }
}

/// Returns the offset after the closing quotation mark of the text at `begin`.
fn end_of_text(bytes: &[u8], begin: usize) -> Option<usize> {
    let mut at = begin + 1;
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        // An escaped character ends nothing.
        at += 2;
    }
}

/// Returns the offset after the array or object at `begin`.
fn end_of_nested(bytes: &[u8], begin: usize) -> Option<usize> {
    let (mut at, mut depth) = (begin, 0_usize);
    loop {
        match bytes.get(at)? {
            b'"' => {
                at = end_of_text(bytes, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

/// Returns the text between two quotation marks without its escapes.
fn unescape(raw: &str) -> Option<LossyText<'_>> {
    let mut kept = String::from('"');
    let mut rest = raw;
    let mut replaced = false;
    while let Some(at) = rest.find('\\').filter(|_| kept.len() < MAX_UNESCAPED) {
        let (plain, escape) = rest.split_at(at);
        kept.push_str(plain);
        let unit =
            |escape: &str| u16::from_str_radix(escape.strip_prefix(r"\u")?.get(..4)?, 16).ok();
        let next = || unit(escape.get(6..)?);
        let (length, is_character) = match unit(escape) {
            Some(0xd800..=0xdbff) if matches!(next(), Some(0xdc00..=0xdfff)) => (12, true),
            Some(0xd800..=0xdfff) => (6, false),
            Some(_) => (6, true),
            None => (2, true),
        };
        let (escape, after) = escape.split_at_checked(length)?;
        kept.push_str(if is_character { escape } else { r"\ufffd" });
        replaced |= !is_character;
        rest = after;
    }
    let all = rest.len().min(MAX_UNESCAPED.saturating_sub(kept.len()));
    let all = rest.floor_char_boundary(all);
    kept.push_str(&rest[..all]);
    if all < rest.len() {
        // Two texts that are cut stay different.
        let _ = write!(kept, "{:08x}", crc32fast::hash(raw.as_bytes()));
    }
    kept.push('"');
    Some(LossyText {
        text: serde_json::from_str::<String>(&kept).ok()?.into(),
        replaced: replaced.then(|| crc32fast::hash(raw.as_bytes())),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(text: &str) -> Value<'_> {
        Value::parse(text).unwrap()
    }

    fn fact(text: &str) -> (String, u64) {
        let mut unknown = UnknownValues::new();
        let fact = value(text).fact("f", &mut unknown).into_owned();
        (fact, unknown.get("f").copied().unwrap_or_default())
    }

    #[test]
    fn a_fact_of_another_type_is_read_as_what_comes_closest_and_counted() {
        for (text, expected, counted) in [
            (r#""plain""#, "plain", 0),
            (r#""""#, "", 0),
            (r#""caf\u00e9 \ud83d\ude00 \"\\""#, "café 😀 \"\\", 0),
            ("7", "7", 1),
            ("-1.5e999", "-1.5e999", 1),
            ("true", "true", 1),
            (r#"["read", 3, "write", ["x"]]"#, "read write", 1),
            (r#"{"a": "b"}"#, "", 1),
            (r#""caf\ud83d""#, "caf\u{fffd}", 1),
            (r#""\ud83d\ud83d\ude00\udc00x""#, "\u{fffd}😀\u{fffd}x", 1),
        ] {
            assert_eq!(fact(text), (expected.to_owned(), counted), "{text}");
        }
    }

    #[test]
    fn a_number_in_quotes_is_read_and_counted_and_one_that_is_none_is_counted() {
        for (text, expected, counted) in [
            ("3599", Some(3599.0), 0),
            ("3599.9", Some(3599.9), 0),
            (r#""3599""#, Some(3599.0), 1),
            (r#"" 3599 ""#, Some(3599.0), 1),
            (r#""soon""#, None, 1),
            ("[3599]", None, 1),
        ] {
            let mut unknown = UnknownValues::new();
            let number = value(text).number::<f64>("f", &mut unknown);
            let count = unknown.get("f").copied().unwrap_or_default();
            assert_eq!((number, count), (expected, counted), "{text}");
        }
    }

    #[test]
    fn bytes_that_are_no_utf_8_cost_themselves_and_leave_texts_different() {
        let (one, other) = (b"\xef\xbb\xbf[\"Zo\xe9\"]", b"[\"Zo\xe8\"]");
        let [one, other] = [&one[..], &other[..]].map(|body| as_text(body).unwrap().into_owned());
        let [one, other] =
            [&one, &other].map(|body| value(body).items().unwrap().next().unwrap().text().unwrap());
        assert_eq!((&*one.text, &*other.text), ("Zo\u{fffd}", "Zo\u{fffd}"));
        assert_ne!(one.replaced, other.replaced);
        assert!(as_text(&vec![0xff; MAX_REPLACED]).is_some());
        assert!(as_text(&vec![0xff; MAX_REPLACED + 1]).is_none());
    }

    #[test]
    fn a_key_that_comes_twice_is_refused_only_where_it_is_read() {
        let object = value(r#"{"a": 1, "b": null, "x": 1, "x": 2, "a": 3}"#);
        assert!(
            object
                .fields(["b", "c"])
                .unwrap()
                .iter()
                .all(Option::is_none)
        );
        assert!(matches!(object.fields(["a"]), Err(Misfit::Shape(_))));
    }

    #[test]
    fn a_long_text_with_escapes_is_cut_and_two_stay_two() {
        let text = |end: &str| format!(r#""{}{end}""#, r"\u00e9".repeat(MAX_UNESCAPED));
        let [a, b] = ["a", "b"].map(text);
        let [a, b] = [&a, &b].map(|text| value(text).text().unwrap().text);
        assert!(a.len() < MAX_UNESCAPED && a.starts_with("éé"));
        assert_ne!(a, b);
    }

    proptest! {
        #[test]
        fn what_serde_json_writes_is_read_as_it_was(texts in prop::collection::vec(("\\PC{0,9}", any::<String>()), 0..9)) {
            let list: Vec<_> = texts.iter().flat_map(|(a, b)| [a, b]).collect();
            let written = serde_json::to_string_pretty(&serde_json::json!({"list": list, "n": [1.5, -2, {}]})).unwrap();
            let [list, numbers] = value(&written).fields(["list", "n"]).unwrap();
            let read: Vec<_> = list.unwrap().items().unwrap().map(|item| item.text().unwrap().text).collect();
            prop_assert_eq!(read.len(), texts.len() * 2);
            for (read, written) in read.iter().zip(texts.iter().flat_map(|(a, b)| [a, b])) {
                prop_assert_eq!(read, written);
            }
            prop_assert_eq!(numbers.unwrap().items().unwrap().count(), 3);
        }

        #[test]
        fn no_body_is_too_odd_to_be_looked_at(body in prop::collection::vec(any::<u8>(), 0..200), quoted in any::<bool>()) {
            let body = if quoted { [&b"{\"a\":\""[..], &body, b"\"}"].concat() } else { body };
            let text = as_text(&body).unwrap();
            for start in [Some(Value::cut_off(&text)), Value::parse(&text).ok()].into_iter().flatten() {
                for value in start.members().into_iter().flatten() {
                    let _ = value.fact("f", &mut UnknownValues::new());
                }
                let _ = start.items().into_iter().flatten().count();
            }
        }
    }
}
