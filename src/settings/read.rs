//! Deserializes a tree of nodes in one pass, and reports every mismatch and unknown key.
//!
//! serde stops at its first error. Therefore a field read by [`given`], and a list entry read by
//! [`given_list`], reports its own error and then counts as absent.

mod access;

use std::cell::RefCell;
use std::fmt::{self, Display};
use std::marker::PhantomData;

use serde::de::{
    self, Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, SeqAccess, Unexpected,
    Visitor,
};
use serde::forward_to_deserialize_any;
use serde_yaml::Value;

use super::errors::{ConfigErrors, Position};
use super::near::{is_invisible, nearest, visible};
use super::tree::{Entry, Node, NodeKind};
use access::{EntryAccess, KeyAccess, Tried};

/// Reads `T`. A wrong value is reported and counts as absent.
pub(crate) fn read<T: DeserializeOwned + Default>(tree: &Node, problems: &mut ConfigErrors) -> T {
    let told = RefCell::new(problems);
    let reader = Reader {
        node: tree,
        path: &Path::Root,
        problems: &told,
    };
    // The errors were reported by then.
    given(reader).ok().flatten().unwrap_or_default()
}

/// Reads an optional field; a wrong value is reported and counts as absent.
///
/// Use it as `deserialize_with` of an `Option`.
pub(crate) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    deserializer.deserialize_newtype_struct(GIVEN, Caught(PhantomData))
}

/// Like [`given`], but an empty string also counts as absent.
pub(crate) fn filled<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    deserializer.deserialize_newtype_struct(FILLED, Caught(PhantomData))
}

/// Like [`given`], for a list of which each entry may be empty or wrong.
pub(crate) fn given_list<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<Option<T>>>, D::Error> {
    Ok(given(deserializer)?.map(entries))
}

/// Returns the entries of a list, in which `None` is an empty or wrong one.
pub(crate) fn entries<T>(list: Vec<Each<T>>) -> Vec<Option<T>> {
    list.into_iter().map(|Each(entry)| entry).collect()
}

/// Entry of a list; `None` if it is empty or wrong.
pub(crate) struct Each<T>(Option<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Each<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        given(deserializer).map(Self)
    }
}

/// Reads text with `from_text`, or a mapping as `T`.
pub(crate) fn text_or<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
    expected: &'static str,
    from_text: fn(String) -> T,
) -> Result<T, D::Error> {
    struct TextOr<T> {
        expected: &'static str,
        from_text: fn(String) -> T,
    }
    impl<'de, T: Deserialize<'de>> Visitor<'de> for TextOr<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.expected)
        }

        fn visit_str<E>(self, text: &str) -> Result<T, E> {
            Ok((self.from_text)(text.to_owned()))
        }

        fn visit_newtype_struct<D: Deserializer<'de>>(self, mapping: D) -> Result<T, D::Error> {
            T::deserialize(mapping)
        }
    }
    let visitor = TextOr {
        expected,
        from_text,
    };
    deserializer.deserialize_newtype_struct(TEXT_OR, visitor)
}

// `Reader` recognizes the functions above by these names.
const GIVEN: &str = "connections_exporter::given";
const FILLED: &str = "connections_exporter::filled";
const TEXT_OR: &str = "connections_exporter::text_or";

/// Visitor of a sequence of one value or none.
struct Caught<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Caught<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of a configuration")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Option<T>, A::Error> {
        list.next_element()
    }
}

/// Reason why a value cannot be read. It never quotes the value.
#[derive(Debug)]
struct Mismatch {
    what: String,
    /// Position and path, once they are known.
    at: Option<(Position, String)>,
}

impl Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Mismatch {}

impl de::Error for Mismatch {
    fn custom<T: Display>(what: T) -> Self {
        Self {
            what: what.to_string(),
            at: None,
        }
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format_args!("expected {}", in_words(&expected.to_string())))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }
}

/// Returns the wording for users of what serde's own types expect.
fn in_words(expected: &str) -> &str {
    match expected {
        "a sequence" => "a list",
        "a boolean" => "true or false",
        "a string" => "text",
        "u32" => "a whole number",
        structure if structure.starts_with("struct ") => "a mapping of keys to values",
        other => other,
    }
}

/// Keys and indices that lead to a value.
///
/// An unknown key may be a secret, so it is represented by its index.
#[derive(Clone, Copy)]
enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(Self::Root, key) => f.write_str(key),
            Self::Key(parent, key) => write!(f, "{parent}.{key}"),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// Deserializer of one node of the tree.
#[derive(Clone, Copy)]
struct Reader<'a, 'p> {
    node: &'a Node,
    path: &'a Path<'a>,
    problems: &'p RefCell<&'p mut ConfigErrors>,
}

impl<'a> Reader<'a, '_> {
    fn tell(&self, at: Position, path: &str, what: String) {
        self.problems.borrow_mut().add_at(|| Some(at), path, what);
    }

    /// Adds the position of this node to a mismatch that has no more precise one.
    fn locate(&self, mut mismatch: Mismatch) -> Mismatch {
        mismatch
            .at
            .get_or_insert_with(|| (self.node.at, self.path.to_string()));
        mismatch
    }

    /// Reads the value with `seed`.
    fn seed<'de, S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Mismatch> {
        seed.deserialize(self)
            .map_err(|mismatch| self.locate(mismatch))
    }

    fn mapping<'de, V: Visitor<'de>>(
        self,
        entries: &'a [Entry],
        known: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        for entry in entries {
            self.tell_again(entry, known);
        }
        visitor.visit_map(KeyAccess {
            reader: self,
            entries: entries.iter().enumerate(),
            known,
            next: None,
            empty: None,
        })
    }

    /// Reports a key that occurs more than once. An unknown key is not named, since it may be a
    /// secret.
    fn tell_again(&self, entry: &Entry, known: Option<&'static [&'static str]>) {
        let known = known.is_some_and(|known| known.contains(&entry.key.as_str()));
        let path = if known {
            Path::Key(self.path, &entry.key)
        } else {
            *self.path
        };
        for again in &entry.again {
            let what = if known { "is" } else { "a key is" };
            let what = format!(
                "{what} there twice, first on line {}: remove one",
                entry.at.line
            );
            self.tell(*again, &path.to_string(), what);
        }
    }

    /// Reports an unknown key. `empty` is the key before it, if that key has no value.
    fn tell_unknown(&self, entry: &Entry, known: &'static [&'static str], empty: Option<&str>) {
        let typed = entry.key.as_str();
        // The space after the colon may be missing, or another character may be in place of the
        // colon.
        let (key, joined) = match typed.split_once([':', '=', ' ']) {
            Some((key, _)) => (key.trim(), true),
            None => (typed, false),
        };
        // A secret is given by a file or an environment variable, never in the configuration
        // itself.
        let secrets = known.iter().filter_map(|key| key.strip_suffix("_file"));
        let secrets: Vec<_> = secrets
            .filter(|key| {
                !known.contains(key)
                    && known
                        .iter()
                        .any(|other| other.strip_suffix("_env") == Some(key))
            })
            .collect();
        let meant: Vec<&str> = known
            .iter()
            .copied()
            .chain(secrets.iter().copied())
            .collect();
        let Some(meant) = nearest(key, &meant) else {
            let hint = empty.map_or_else(String::new, |empty| {
                format!("; if it belongs to {empty}, check the indentation")
            });
            let what = format!("an unknown key: expected {}{hint}", one_of(known));
            return self.tell(entry.at, &self.path.to_string(), what);
        };
        let path = |key: &str| Path::Key(self.path, key).to_string();
        if secrets.contains(&meant) {
            let what =
                format!("a secret never stands in this file: use {meant}_file or {meant}_env");
            return self.tell(entry.at, &path(meant), what);
        }
        self.problems.borrow_mut().explain(path(meant));
        if joined {
            let what = format!("expected a colon and a space after {meant}");
            return self.tell(entry.at, &path(meant), what);
        }
        let hidden = if key.contains(is_invisible) {
            ", with a character that cannot be seen"
        } else {
            ""
        };
        let what = format!("unknown key{hidden}: did you mean {meant}?");
        self.tell(entry.at, &path(&visible(key)), what);
    }
}

/// `a, b or c`.
pub(super) fn one_of(names: &[&str]) -> String {
    match names {
        [] => "none".to_owned(),
        [one] => (*one).to_owned(),
        [some @ .., last] => format!("{} or {last}", some.join(", ")),
    }
}

impl<'de> Deserializer<'de> for Reader<'_, '_> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match &self.node.kind {
            NodeKind::Scalar { .. } => match self.node.scalar().unwrap_or_default() {
                Value::Null => visitor.visit_unit(),
                Value::Bool(value) => visitor.visit_bool(value),
                Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                    (Some(number), _) => visitor.visit_u64(number),
                    (None, Some(number)) => visitor.visit_i64(number),
                    (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
                },
                Value::String(text) => visitor.visit_string(text),
                _ => Err(de::Error::custom("expected a scalar")),
            },
            NodeKind::List(list) => visitor.visit_seq(EntryAccess {
                reader: self,
                entries: list.iter().enumerate(),
            }),
            NodeKind::Mapping(entries) => self.mapping(entries, None, visitor),
            NodeKind::Wrong(why) => Err(de::Error::custom(why)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        if self.node.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    /// Reads any scalar as it is written.
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match &self.node.kind {
            NodeKind::Scalar { text, .. } if !self.node.is_null() => visitor.visit_str(text),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_string(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        match &self.node.kind {
            NodeKind::Mapping(entries) => self.mapping(entries, Some(known), visitor),
            NodeKind::Wrong(_) => self.deserialize_any(visitor),
            _ => Err(de::Error::invalid_type(
                Unexpected::Other("value"),
                &visitor,
            )),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        match (name, &self.node.kind) {
            (GIVEN | FILLED, _) => {
                let blank = name == FILLED && self.node.is_blank();
                let there = !self.node.is_null() && !blank;
                visitor.visit_seq(Tried(there.then_some(self)))
            }
            (TEXT_OR, NodeKind::Scalar { .. }) => self.deserialize_any(visitor),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct seq tuple
        tuple_struct map enum identifier ignored_any
    }
}
