//! Interned texts of a listing: each distinct text is stored once.

use std::collections::HashMap;

/// Id of a text in one [`Texts`]; 0 is the empty text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct TextId(u32);

/// Distinct texts, stored one after another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Texts {
    all: Box<str>,
    /// End offset of each text except the empty one.
    ends: Box<[usize]>,
}

impl Texts {
    /// Returns the text with this id.
    pub(super) fn get(&self, TextId(number): TextId) -> &str {
        let end = |number: usize| number.checked_sub(1).map_or(0, |at| self.ends[at]);
        let number = number as usize;
        &self.all[end(number.saturating_sub(1))..end(number)]
    }
}

/// Assigns ids to distinct texts.
#[derive(Debug, Default)]
pub(super) struct Interner(HashMap<Box<str>, TextId>);

impl Interner {
    /// Returns the id of this text.
    pub(super) fn intern(&mut self, text: &str) -> TextId {
        if text.is_empty() {
            return TextId::default();
        }
        if let Some(known) = self.0.get(text) {
            return *known;
        }
        let new = u32::try_from(self.0.len() + 1).expect("memory ends before four billion texts");
        self.0.insert(text.into(), TextId(new));
        TextId(new)
    }

    /// Returns all texts; their ids stay valid.
    pub(super) fn finish(self) -> Texts {
        let mut known: Vec<_> = self.0.into_iter().collect();
        known.sort_unstable_by_key(|(_, number)| number.0);
        let mut all = String::with_capacity(known.iter().map(|(text, _)| text.len()).sum());
        let mut ends = Vec::with_capacity(known.len());
        for (text, _) in known {
            all.push_str(&text);
            ends.push(all.len());
        }
        Texts {
            all: all.into(),
            ends: ends.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_text_comes_back_and_stands_once(texts in prop::collection::vec("\\PC{0,3}", 0..50)) {
            let mut interner = Interner::default();
            let numbers: Vec<_> = texts.iter().map(|text| interner.intern(text)).collect();
            let held = interner.finish();
            for (text, number) in texts.iter().zip(numbers) {
                prop_assert_eq!(held.get(number), text);
            }
            let distinct: std::collections::BTreeSet<_> = texts.iter().collect();
            prop_assert_eq!(held.all.len(), distinct.into_iter().map(String::len).sum::<usize>());
        }
    }
}
