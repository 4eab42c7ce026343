//! Interned texts of a listing: each distinct text is stored once.

use std::collections::HashMap;

/// Id of a text in one [`Texts`]; 0 is the empty text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct TextId(u32);

/// Distinct texts, stored one after another.
#[derive(Debug, Clone, Default)]
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

/// Copies the used texts in the order of their first use.
///
/// Texts that are read one after another are then adjacent, and the processor prefetches them.
pub(super) struct Reorder<'a> {
    from: &'a Texts,
    /// New id of each used text, by its old id.
    numbers: Vec<TextId>,
    all: String,
    ends: Vec<usize>,
}

impl<'a> Reorder<'a> {
    /// Starts without any used text.
    pub(super) fn new(from: &'a Texts) -> Self {
        Self {
            from,
            numbers: vec![TextId::default(); from.ends.len() + 1],
            all: String::with_capacity(from.all.len()),
            ends: Vec::with_capacity(from.ends.len()),
        }
    }

    /// Returns the new id of a text, which is the next free id at its first use.
    pub(super) fn number(&mut self, text: TextId) -> TextId {
        let number = &mut self.numbers[text.0 as usize];
        if *number == TextId::default() && text != TextId::default() {
            self.all.push_str(self.from.get(text));
            self.ends.push(self.all.len());
            *number =
                TextId(u32::try_from(self.ends.len()).expect("there are no more than before"));
        }
        *number
    }

    /// Returns the used texts in that order.
    pub(super) fn finish(self) -> Texts {
        Texts {
            all: self.all.into(),
            ends: self.ends.into(),
        }
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
            let mut backwards = Reorder::new(&held);
            let renumbered: Vec<_> = numbers.iter().rev().map(|number| backwards.number(*number)).collect();
            let reordered = backwards.finish();
            let numbers = numbers.iter().zip(renumbered.iter().rev());
            for (text, (number, renumbered)) in texts.iter().zip(numbers) {
                prop_assert_eq!(held.get(*number), text);
                prop_assert_eq!(reordered.get(*renumbered), text);
            }
            prop_assert_eq!(held.all.len(), reordered.all.len());
            let distinct: std::collections::BTreeSet<_> = texts.iter().collect();
            prop_assert_eq!(held.all.len(), distinct.into_iter().map(String::len).sum::<usize>());
        }
    }
}
