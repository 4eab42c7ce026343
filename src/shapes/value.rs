//! Shapes of JSON values: types, keys, lengths and classes of texts, merged over many values.

use std::collections::BTreeMap;

use serde::Serialize;

use super::texts::{self, TextContext};
use super::{Counts, LengthRange, count, vocabulary};
use crate::vendors::json::Value;

/// Depth from which values are only counted.
const MAX_DEPTH: usize = 12;

/// Maximum number of shapes below one call. Further keys are only counted.
const MAX_SHAPES: usize = 1500;

/// What is known of all values at one place.
#[derive(Debug, Default, Serialize)]
#[serde(default)]
pub(super) struct ValueShape {
    /// Number of values.
    seen: u64,
    #[serde(skip_serializing_if = "is_zero")]
    null: u64,
    #[serde(skip_serializing_if = "Counts::is_empty")]
    booleans: Counts<bool>,
    /// Numbers by their form, or by their value if that may be shown.
    #[serde(skip_serializing_if = "Counts::is_empty")]
    numbers: Counts,
    /// Texts by their class, with their lengths in characters.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    texts: BTreeMap<String, TextLengths>,
    /// Texts of a key with documented values.
    #[serde(skip_serializing_if = "Counts::is_empty")]
    values: Counts,
    /// Texts that are lists of scopes.
    #[serde(skip_serializing_if = "Option::is_none")]
    scopes: Option<ScopeTexts>,
    /// Shape of the JSON in texts that hold JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    inside_text: Option<Box<ValueShape>>,
    #[serde(skip_serializing_if = "is_zero")]
    objects: u64,
    /// Shape by key of these objects. How often a key is present is the `seen` of its shape.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    keys: BTreeMap<String, ValueShape>,
    #[serde(skip_serializing_if = "is_zero")]
    repeated_keys: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    arrays: Option<ArrayLengths>,
    #[serde(skip_serializing_if = "Option::is_none")]
    elements: Option<Box<ValueShape>>,
    /// Number of values that were not looked into: too deep, or too many different keys.
    #[serde(skip_serializing_if = "is_zero")]
    not_examined: u64,
}

/// Number of texts of one class, and their lengths in characters.
#[derive(Debug, Serialize)]
struct TextLengths {
    count: u64,
    lengths: Option<LengthRange>,
}

/// Number of arrays, and their lengths.
#[derive(Debug, Default, Serialize)]
struct ArrayLengths {
    count: u64,
    lengths: Option<LengthRange>,
}

/// Texts that are lists of scopes.
#[derive(Debug, Default, Serialize)]
struct ScopeTexts {
    count: u64,
    /// Number of scopes in one text.
    items: Option<LengthRange>,
    classes: Counts,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Adds values to a shape, within limits.
#[derive(Debug)]
pub(super) struct ShapeBuilder<'a> {
    context: TextContext<'a>,
    shapes: &'a mut usize,
}

impl<'a> ShapeBuilder<'a> {
    /// Creates a builder that counts the shapes of its call in `shapes`.
    pub(super) fn new(context: TextContext<'a>, shapes: &'a mut usize) -> Self {
        Self { context, shapes }
    }

    /// Adds a value, whose syntax was checked, to a shape. `key` is the one that it is, or is in an
    /// array, below.
    pub(super) fn add(
        &mut self,
        shape: &mut ValueShape,
        value: Value<'_>,
        key: &str,
        depth: usize,
    ) {
        shape.seen += 1;
        if depth > MAX_DEPTH {
            shape.not_examined += 1;
        } else if value.is_null() {
            shape.null += 1;
        } else if value.is_object() {
            self.add_object(shape, value, depth);
        } else if let Some(items) = value.items() {
            let mut length = 0;
            for item in items {
                length += 1;
                let elements = shape.elements.get_or_insert_default();
                self.add(elements, item, key, depth + 1);
            }
            let arrays = shape.arrays.get_or_insert_default();
            arrays.count += 1;
            LengthRange::add(&mut arrays.lengths, length);
        } else if let Some(text) = value.text() {
            self.add_text(shape, &text.text, key, depth);
        } else if let Some(digits) = value.digits() {
            count(&mut shape.numbers, number(key, digits));
        } else if let Some(flag) = value.flag() {
            *shape.booleans.entry(flag).or_default() += 1;
        } else {
            shape.not_examined += 1;
        }
    }

    fn add_object(&mut self, shape: &mut ValueShape, value: Value<'_>, depth: usize) {
        shape.objects += 1;
        let Some(mut members) = value.members() else {
            return;
        };
        let mut shown = Vec::new();
        while let (Some(key), Some(value)) = (members.next(), members.next()) {
            let text = key.text();
            let text = text.as_ref().map_or("", |text| &text.text);
            let known = vocabulary::key(text);
            let name = known.map_or_else(|| texts::hidden_key(text), str::to_owned);
            if let Some(known) = known {
                shape.repeated_keys += u64::from(shown.contains(&known));
                shown.push(known);
            }
            if !shape.keys.contains_key(&name) {
                if *self.shapes >= MAX_SHAPES {
                    shape.not_examined += 1;
                    continue;
                }
                *self.shapes += 1;
            }
            let below = shape.keys.entry(name).or_default();
            self.add(below, value, known.unwrap_or_default(), depth + 1);
        }
    }

    fn add_text(&mut self, shape: &mut ValueShape, text: &str, key: &str, depth: usize) {
        if vocabulary::SCOPES.contains(&key) {
            let scopes = shape.scopes.get_or_insert_default();
            scopes.count += 1;
            let mut items = 0;
            for class in texts::scopes(text) {
                items += 1;
                count(&mut scopes.classes, class);
            }
            LengthRange::add(&mut scopes.items, items);
            return;
        }
        if let Some(value) = vocabulary::value(key, text) {
            return count(&mut shape.values, value);
        }
        let inside = text.starts_with(['{', '[']).then(|| Value::parse(text));
        let class = if let Some(Ok(inside)) = inside {
            let shape = shape.inside_text.get_or_insert_default();
            self.add(shape, inside, key, depth + 1);
            "JSON as text".to_owned()
        } else {
            texts::class(text, self.context)
        };
        let lengths = shape.texts.entry(class).or_insert(TextLengths {
            count: 0,
            lengths: None,
        });
        lengths.count += 1;
        LengthRange::add(&mut lengths.lengths, text.chars().count());
    }
}

/// Returns the form of a number, or its value if that may be shown.
fn number(key: &str, text: &str) -> String {
    let code = || {
        (key == "code")
            .then(|| vocabulary::error_code(text))
            .flatten()
    };
    if let Some(shown) = vocabulary::lifetime(key, text).or_else(code) {
        return shown;
    }
    let sign = if text.starts_with('-') {
        "negative "
    } else {
        ""
    };
    let digits = text.trim_start_matches('-');
    let whole = digits.bytes().take_while(u8::is_ascii_digit).count();
    match &digits[whole..] {
        "" => format!("{sign}integer, digits: {whole}"),
        rest if rest.contains(['e', 'E']) => format!("{sign}number with an exponent"),
        _ => format!("{sign}fraction, digits before the point: {whole}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn shape(values: &[&str]) -> serde_json::Value {
        let (mut shape, mut shapes) = (ValueShape::default(), 0);
        let context = TextContext {
            host: "acme.example.test",
            now: jiff::Timestamp::UNIX_EPOCH,
        };
        for value in values {
            let value = Value::parse(value).unwrap();
            ShapeBuilder::new(context, &mut shapes).add(&mut shape, value, "", 0);
        }
        serde_json::to_value(shape).unwrap()
    }

    #[test]
    fn values_of_one_place_are_merged() {
        let merged = shape(&[
            r#"{"name": "a", "status": "Connected", "acme": 1, "expires_in": 3599}"#,
            r#"{"name": "bcd", "status": "acme", "id": null, "id": [1, 2.5, -3]}"#,
        ]);
        let text = |count, lengths: [u64; 2]| json!({"count": count, "lengths": lengths});
        let expected = json!({
            "seen": 2, "objects": 2, "repeated_keys": 1, "keys": {
                "name": {"seen": 2, "texts": {"ASCII text": text(2, [1, 3])}},
                "status": {"seen": 2, "values": {"Connected": 1, "other (4 characters)": 1}},
                "(other key of 4 characters, lower case)":
                    {"seen": 1, "numbers": {"integer, digits: 1": 1}},
                "expires_in": {"seen": 1, "numbers": {"3599": 1}},
                "id": {"seen": 2, "null": 1, "arrays": text(1, [3, 3]), "elements": {
                    "seen": 3, "numbers": {
                        "integer, digits: 1": 1, "fraction, digits before the point: 1": 1,
                        "negative integer, digits: 1": 1,
                    },
                }},
            },
        });
        assert_eq!(merged, expected);
    }

    #[test]
    fn json_in_a_text_is_looked_into() {
        let inside = shape(&[r#"{"body": "{\"expires_in\": 60}"}"#]);
        let keys = &inside["keys"]["body"]["inside_text"]["keys"];
        assert_eq!(keys["expires_in"]["numbers"], json!({"60": 1}));
    }

    #[test]
    fn depth_and_number_of_keys_are_limited() {
        let deep = shape(&[&format!("{}{}", "[".repeat(500), "]".repeat(500))]);
        assert!(deep.to_string().contains("not_examined"));
        let keys: Vec<_> = (0..3000)
            .map(|n| format!("\"{}\": 1", "k".repeat(n)))
            .collect();
        let many = shape(&[&format!("{{{}}}", keys.join(","))]);
        assert!(many["keys"].as_object().unwrap().len() <= MAX_SHAPES);
        assert_eq!(many["not_examined"], json!(3000 - MAX_SHAPES));
    }

    /// Texts of which no six characters are in any word of the program, in the forms that are
    /// recognized as something.
    fn foreign() -> impl Strategy<Value = String> {
        prop_oneof![
            "[qxzjkvwQXZ]{6,12}",
            "[1-9]{9,40}",
            "(read|entity|tenant|zis|other)[.:][qxzjkvw]{6,9}",
            "[qxzjkvw]{6}@[qxzjkvw]{6}",
            "https?://[qxzjkvw]{6}[.]test/[qxzjkvw]{6}",
            "2026-01-02T03:04:05[.][1-9]{6,9}(Z|[+]02:00)",
            "[1-9]{8}-[1-9]{4}-[1-9]{4}-[1-9]{4}-[1-9]{12}",
            "[1-9]{32}",
            "[qxzjkvw]{6}[ _.-][qxzjkvw]{6}",
            "[{]\"[qxzjkvw]{6}\": \"[qxzjkvw]{6}\"[}]",
        ]
    }

    fn foreign_key() -> impl Strategy<Value = String> {
        let known = [
            "status",
            "code",
            "scope",
            "expires_in",
            "error",
            "title",
            "name",
            "meta",
        ];
        prop_oneof![
            foreign(),
            proptest::sample::select(known.to_vec()).prop_map(str::to_owned)
        ]
    }

    proptest! {
        #[test]
        fn no_piece_of_a_foreign_text_or_number_is_in_a_shape(
            value in prop_oneof![
                foreign().prop_map(|text| json!(text)),
                (100_000_000_u64..).prop_map(|number| json!(number)),
                any::<bool>().prop_map(|flag| json!(flag)),
            ]
            .prop_recursive(6, 60, 8, |inner| prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(|items| json!(items)),
                prop::collection::btree_map(foreign_key(), inner, 0..8)
                    .prop_map(|members| json!(members)),
            ])
        ) {
            let text = shape(&[&value.to_string()]).to_string();
            let run = |is: fn(char) -> bool| {
                let runs = text.split(|c| !is(c)).map(|run| run.chars().count());
                runs.max().unwrap_or(0)
            };
            prop_assert!(run(|c| "qxzjkvwQXZJKVW".contains(c)) < 6, "{}", text);
            prop_assert!(run(|c| c.is_ascii_digit()) < 6, "{}", text);
        }
    }
}
