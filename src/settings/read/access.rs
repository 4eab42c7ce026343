//! Access to the entries of lists and mappings.

use serde::de::{self, DeserializeSeed, IntoDeserializer as _, MapAccess, SeqAccess};
use serde_yaml::Value;

use super::{Mismatch, Path, Reader};
use crate::settings::tree::{Entry, Node};

/// Sequence of the one value, or empty if the value is absent or wrong. A wrong one is reported.
pub(super) struct Tried<'a, 'p>(pub(super) Option<Reader<'a, 'p>>);

impl<'de> SeqAccess<'de> for Tried<'_, '_> {
    type Error = Mismatch;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Mismatch> {
        let Some(reader) = self.0.take() else {
            return Ok(None);
        };
        match reader.seed(seed) {
            Ok(value) => Ok(Some(value)),
            Err(Mismatch { what, at }) => {
                let (at, path) = at.unwrap_or_else(|| (reader.node.at, reader.path.to_string()));
                reader.tell(at, &path, what);
                Ok(None)
            }
        }
    }
}

/// Access to the entries of a list.
pub(super) struct EntryAccess<'a, 'p> {
    pub(super) reader: Reader<'a, 'p>,
    pub(super) entries: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
}

impl<'de> SeqAccess<'de> for EntryAccess<'_, '_> {
    type Error = Mismatch;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Mismatch> {
        let Some((index, node)) = self.entries.next() else {
            return Ok(None);
        };
        let path = &Path::Index(self.reader.path, index);
        let reader = Reader {
            node,
            path,
            ..self.reader
        };
        reader.seed(seed).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
    }
}

/// Access to the entries of a mapping; those of a structure are limited to its known keys.
pub(super) struct KeyAccess<'a, 'p> {
    pub(super) reader: Reader<'a, 'p>,
    pub(super) entries: std::iter::Enumerate<std::slice::Iter<'a, Entry>>,
    pub(super) known: Option<&'static [&'static str]>,
    pub(super) next: Option<(usize, &'a Entry)>,
    /// The last key, if it has no value.
    pub(super) empty: Option<&'a str>,
}

impl<'de> MapAccess<'de> for KeyAccess<'_, '_> {
    type Error = Mismatch;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Mismatch> {
        for (index, entry) in self.entries.by_ref() {
            match self.known {
                Some(known) if !known.contains(&entry.key.as_str()) => {
                    self.reader.tell_unknown(entry, known, self.empty);
                }
                known => {
                    self.empty = entry.value.is_blank().then_some(&entry.key);
                    self.next = Some((index, entry));
                    let key = match known {
                        Some(_) => Value::String(entry.key.clone()),
                        // Without a structure, the key `1` differs from the key `"1"`.
                        None => entry.name(),
                    };
                    let key = seed.deserialize(key.into_deserializer());
                    return key
                        .map(Some)
                        .map_err(|_: serde_yaml::Error| de::Error::custom("expected another key"));
                }
            }
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Mismatch> {
        let Some((index, entry)) = self.next.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        let path = match self.known {
            Some(_) => Path::Key(self.reader.path, &entry.key),
            None => Path::Index(self.reader.path, index),
        };
        let reader = Reader {
            node: &entry.value,
            path: &path,
            ..self.reader
        };
        reader.seed(seed)
    }
}
