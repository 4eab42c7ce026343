//! JSON values of the shapes in a report.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{OWN_HOST, Rejected, ReplayedResponse, characters};

/// Maximum number of values and characters in all bodies of a report.
const MAX_MADE: u64 = 20_000_000;

/// Shape of all values at one place, as the report has it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ReplayedShape {
    seen: u64,
    null: u64,
    booleans: BTreeMap<String, u64>,
    numbers: BTreeMap<String, u64>,
    texts: BTreeMap<String, ReplayedTexts>,
    values: BTreeMap<String, u64>,
    scopes: Option<ReplayedScopes>,
    inside_text: Option<Box<ReplayedShape>>,
    objects: u64,
    keys: BTreeMap<String, ReplayedShape>,
    arrays: Option<ReplayedArrays>,
    elements: Option<Box<ReplayedShape>>,
    /// Number of values of this place that were made, and of them objects and arrays.
    #[serde(skip)]
    made: Cell<u64>,
    #[serde(skip)]
    made_arrays: Cell<u64>,
}

#[derive(Debug, Deserialize)]
struct ReplayedTexts {
    count: u64,
    lengths: Option<[u64; 2]>,
}

#[derive(Debug, Deserialize)]
struct ReplayedArrays {
    count: u64,
    lengths: Option<[u64; 2]>,
}

#[derive(Debug, Deserialize)]
struct ReplayedScopes {
    count: u64,
    classes: BTreeMap<String, u64>,
}

/// Where in a body a value is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    response: &'a ReplayedResponse,
    key: &'a str,
    /// Key of the array that it is in, and its index there.
    array: &'a str,
    index: u64,
    depth: usize,
}

impl<'a> Place<'a> {
    /// Returns the place of a whole body.
    pub(super) fn new(response: &'a ReplayedResponse) -> Self {
        Self {
            response,
            key: "",
            array: "",
            index: 0,
            depth: 0,
        }
    }
}

/// Makes the bodies of one report.
#[derive(Debug)]
pub(super) struct BodyMaker {
    now: Timestamp,
    made: u64,
    /// Number of entities that the account has.
    pub(super) entities: u64,
    /// Number of OAuth clients of an integration.
    pub(super) clients: u64,
}

/// Returns the id of entity `n`, from 1. They are in the order of their numbers.
pub(super) fn entity(n: u64) -> String {
    format!("{n:08x}55a3c7a10155b466736c5c3f")
}

/// Returns the name of integration `n`, from 1. They are in the order of their numbers.
pub(super) fn integration(n: u64) -> String {
    format!("integration_{n:04}")
}

/// Returns the number of an entity or an integration.
pub(super) fn number_of(target: &str) -> Option<usize> {
    match target.strip_prefix("integration_") {
        Some(number) => number.parse().ok(),
        None => usize::from_str_radix(target.get(..8)?, 16).ok(),
    }
}

fn uuid(n: u64) -> String {
    format!("{n:08x}-0c43-45f8-b221-9e085ce90418")
}

fn hyphenated(id: &str) -> String {
    let parts = [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]];
    parts.join("-")
}

impl BodyMaker {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            now,
            made: 0,
            entities: 1,
            clients: 1,
        }
    }

    fn spend(&mut self, number: u64) -> Result<(), Rejected> {
        self.made = self.made.saturating_add(number);
        if self.made > MAX_MADE {
            return Err("describes more values than a simulator should hold".into());
        }
        Ok(())
    }

    /// Makes the next value of a shape.
    pub(super) fn make(
        &mut self,
        shape: &ReplayedShape,
        place: Place<'_>,
    ) -> Result<Value, Rejected> {
        self.spend(1)?;
        let made = shape.made.replace(shape.made.get() + 1);
        if let Some(told) = paging(place) {
            return self.paging_value(told, made, place);
        }
        let mut at = made % shape.seen.max(1);
        if is_next(&mut at, shape.null) {
            return Ok(Value::Null);
        }
        for (flag, count) in &shape.booleans {
            if is_next(&mut at, *count) {
                return Ok(json!(flag == "true"));
            }
        }
        for (form, count) in &shape.numbers {
            if is_next(&mut at, *count) {
                return Ok(number(form, made));
            }
        }
        for (class, texts) in &shape.texts {
            let first = at == 0;
            if is_next(&mut at, texts.count) {
                if let (true, Some(inside)) = (class == "JSON as text", &shape.inside_text) {
                    let depth = place.depth + 1;
                    let inside = self.make(inside, Place { depth, ..place })?;
                    return Ok(json!(inside.to_string()));
                }
                let [shortest, longest] = texts.lengths.unwrap_or_default();
                let length = if first { shortest } else { longest };
                return Ok(json!(self.text(class, length, made, place)?));
            }
        }
        for (value, count) in &shape.values {
            if is_next(&mut at, *count) {
                return Ok(json!(enumerated(value)));
            }
        }
        if let Some(scopes) = &shape.scopes {
            let number = at;
            if is_next(&mut at, scopes.count) {
                return self.scopes(scopes, number);
            }
        }
        if is_next(&mut at, shape.objects) {
            return self.object(shape, place);
        }
        match &shape.arrays {
            Some(arrays) => self.array(shape, arrays, place),
            None => Ok(Value::Null),
        }
    }

    fn object(&mut self, shape: &ReplayedShape, place: Place<'_>) -> Result<Value, Rejected> {
        let mut object = Map::new();
        let is_top = place.depth == 0;
        for (key, below) in &shape.keys {
            let here = Place {
                key,
                depth: place.depth + 1,
                ..place
            };
            let is_array = is_top && below.arrays.is_some();
            let is_present = match (is_paging(here), is_array) {
                (true, _) => paging(here).is_some(),
                (_, true) => place.response.arrays.contains_key(key),
                _ => below.made.get() < below.seen,
            };
            // Several keys of one description are one place of the shape.
            let described = key.starts_with('(');
            let times = if described {
                below.seen.div_ceil(shape.objects.max(1)).min(1000)
            } else {
                1
            };
            for n in 0..times {
                if is_present && (n == 0 || below.made.get() < below.seen) {
                    let value = self.make(below, here)?;
                    let name = if described {
                        hidden_key(key, n)
                    } else {
                        key.clone()
                    };
                    object.insert(name, value);
                }
            }
        }
        Ok(Value::Object(object))
    }

    fn array(
        &mut self,
        shape: &ReplayedShape,
        arrays: &ReplayedArrays,
        place: Place<'_>,
    ) -> Result<Value, Rejected> {
        let made = shape.made_arrays.replace(shape.made_arrays.get() + 1);
        let told = (place.depth == 1).then(|| place.response.arrays.get(place.key));
        let [shortest, longest] = arrays.lengths.unwrap_or_default();
        let length = match (told.flatten(), made % arrays.count.max(1)) {
            (Some(length), _) => *length,
            (None, 0) => shortest,
            (None, 1) => longest,
            // The others share what is left.
            (None, at) => {
                let all = shape.elements.as_ref().map_or(0, |elements| elements.seen);
                let left = all.saturating_sub(shortest).saturating_sub(longest);
                let others = arrays.count.saturating_sub(2).max(1);
                let part = left / others;
                let last = at + 1 == arrays.count;
                (if last {
                    left - part * (others - 1)
                } else {
                    part
                })
                .min(longest)
            }
        };
        let Some(elements) = &shape.elements else {
            return Ok(json!([]));
        };
        let mut values = Vec::new();
        for index in 0..length {
            values.push(self.make(
                elements,
                Place {
                    array: place.key,
                    index,
                    depth: place.depth + 1,
                    ..place
                },
            )?);
        }
        Ok(Value::Array(values))
    }

    fn paging_value(&mut self, told: &str, made: u64, place: Place<'_>) -> Result<Value, Rejected> {
        Ok(match told {
            "true" | "false" => json!(told == "true"),
            "null" | "absent or null" => Value::Null,
            "of another type" => json!([]),
            class => json!(self.text(class, 60, made, place)?),
        })
    }

    /// Returns the text number `n` of a place, of this class and length.
    fn text(
        &mut self,
        class: &str,
        length: u64,
        n: u64,
        place: Place<'_>,
    ) -> Result<String, Rejected> {
        let length = length.min(100_000);
        self.spend(length)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let asked = place.response.target.unwrap_or(1) as u64;
        // Another entity than the one that was asked for.
        let other = asked % self.entities.max(2) + 1;
        let id = match (place.array, place.key) {
            ("entities", "id") => Some(entity(place.index + 1)),
            ("entities", "parentId") => Some(entity(1)),
            ("entityConnections", "sourceEntityId") => {
                Some(entity(if place.index.is_multiple_of(2) {
                    asked
                } else {
                    other
                }))
            }
            ("entityConnections", "targetEntityId") => {
                Some(entity(if place.index.is_multiple_of(2) {
                    other
                } else {
                    asked
                }))
            }
            _ => None,
        };
        let n = match (place.array, place.key) {
            ("clients", "uuid") | (_, "oauth_client_uuid") => place.index % self.clients.max(1),
            ("entities", "tenantId") => 0,
            _ => n,
        };
        if (place.array, place.key) == ("integrations", "name") {
            return Ok(integration(place.index + 1));
        }
        let pad = |start: String| {
            let mut text: String = start.chars().take(length).collect();
            text.extend(std::iter::repeat_n('-', length - text.chars().count()));
            text
        };
        Ok(match class {
            "empty" => String::new(),
            "masked" => "*".repeat(length),
            "UUID with hyphens" => id.map_or_else(|| uuid(n + 1), |id| hyphenated(&id)),
            "32 hexadecimal digits" => id.unwrap_or_else(|| format!("{:032x}", n + 0x8a80)),
            "integer as text" => {
                let digits = (n + 1).to_string();
                format!("{digits:0>length$}")
            }
            "boolean as text" => (if length == 5 { "false" } else { "true" }).to_owned(),
            "JSON as text" => "{}".to_owned(),
            "other date" => pad("2021-10-01".to_owned()),
            "URL on the same host" => format!("http://{OWN_HOST}/page/{n}"),
            "URL on localhost" => pad(format!("http://localhost:8080/page/{n}/")),
            "URL on another host" => pad(format!("https://vendor.example.test/{n}/")),
            "like an e-mail address" => {
                let end = "@e.test";
                let start = pad(format!("u{n}"));
                let start: String = start
                    .chars()
                    .take(length.saturating_sub(end.len()))
                    .collect();
                format!("{}{end}", if start.is_empty() { "u" } else { &start })
            }
            _ if class.starts_with("RFC 3339") => self.date(class),
            "other text" => {
                let text = pad(format!("é{n}"));
                if text.is_empty() {
                    "é".to_owned()
                } else {
                    text
                }
            }
            // The letter keeps a number apart from an integer.
            _ => pad(if length < 3 {
                char::from(b'a' + u8::try_from(n % 20).unwrap_or(0)).to_string()
            } else {
                format!("t{n}")
            }),
        })
    }

    /// Returns a date of this class.
    fn date(&self, class: &str) -> String {
        let month = Duration::from_hours(24 * 30);
        let at = if class.ends_with("future") {
            self.now + month
        } else {
            self.now - month
        };
        let day = match class {
            _ if class.ends_with("read as none") => "0001-01-01T00:00:00".to_owned(),
            _ if class.ends_with("not read") && !class.contains("no zone") => {
                "2026-13-01T00:00:00".to_owned()
            }
            _ => at.strftime("%Y-%m-%dT%H:%M:%S").to_string(),
        };
        let fraction = class.split_once("fraction of ").and_then(|(_, rest)| {
            let digits = rest.split(' ').next()?.parse::<usize>().ok()?;
            Some(format!(".{}", "5".repeat(digits.clamp(1, 9))))
        });
        let zone = match class {
            _ if class.contains(", offset without") => "+0000",
            _ if class.contains(", offset") => "+00:00",
            _ if class.contains("no zone") => "",
            _ => "Z",
        };
        format!("{day}{}{zone}", fraction.unwrap_or_default())
    }

    /// Returns list number `n` of scopes. All lists together have each class as often as counted.
    fn scopes(&mut self, scopes: &ReplayedScopes, n: u64) -> Result<Value, Rejected> {
        let lists = scopes.count.max(1);
        let all = scopes
            .classes
            .values()
            .fold(0_u64, |sum, n| sum.saturating_add(*n));
        let (mut words, mut entities, mut before) = (Vec::new(), 0, 0);
        for (class, count) in &scopes.classes {
            let here = if all == lists {
                // One in each list.
                u64::from((before..before + count).contains(&n))
            } else {
                count / lists + u64::from(n < count % lists)
            };
            before += count;
            self.spend(here.saturating_mul(40))?;
            for _ in 0..here {
                let Some((prefix, rest)) = class.split_once('<') else {
                    words.push(characters(class).map_or(class.clone(), |n| "o".repeat(n)));
                    continue;
                };
                entities += u64::from(prefix == "entity.");
                let rest = match rest.trim_end_matches('>') {
                    "UUID with hyphens" => hyphenated(&entity(entities.max(1))),
                    "32 hexadecimal digits" => entity(entities.max(1)),
                    "hexadecimal digits" => "8ad08f01".to_owned(),
                    "number" => "19".to_owned(),
                    "words" => "replayed".to_owned(),
                    "nothing" => String::new(),
                    _ => "a/b".to_owned(),
                };
                words.push(format!("{prefix}{rest}"));
            }
        }
        Ok(json!(words.join(" ")))
    }
}

/// Takes one of `count` places, and returns whether it was the one at `at`.
fn is_next(at: &mut u64, count: u64) -> bool {
    let next = *at < count;
    *at = at.saturating_sub(count);
    next
}

/// Returns whether a field tells whether there is another page.
fn is_paging(place: Place<'_>) -> bool {
    match place.key {
        "nextPage" | "next_page" => place.depth == 1,
        "has_more" | "after" | "before" => place.depth == 2 && place.array.is_empty(),
        _ => false,
    }
}

/// Returns what such a field was in this response; `None` if it was absent.
fn paging(place: Place<'_>) -> Option<&str> {
    let told = place.response.paging.get(place.key).map(String::as_str);
    told.filter(|told| is_paging(place) && *told != "absent or null")
}

fn enumerated(shown: &str) -> String {
    if let Some(code) = shown.strip_prefix("code ") {
        let digits = code.replace("other", "12").replace(' ', "");
        return format!("{digits:0>8}");
    }
    match characters(shown) {
        Some(length) if shown.starts_with("other (") => "o".repeat(length),
        _ => shown.to_owned(),
    }
}

/// Returns the number `n` of a place, of this form.
fn number(form: &str, n: u64) -> Value {
    if let Ok(value) = form.parse::<u64>() {
        return json!(value);
    }
    if form.starts_with("code ") {
        let digits = enumerated(form).parse::<u64>().unwrap_or_default();
        return json!(digits);
    }
    let digits = form
        .rsplit_once(": ")
        .and_then(|(_, digits)| digits.parse::<u32>().ok());
    let digits = digits.unwrap_or(1).clamp(1, 18);
    let least = if digits == 1 {
        0
    } else {
        10_u64.pow(digits - 1)
    };
    let span = 10_u64.pow(digits) - least;
    let whole = (least + n % span).cast_signed();
    let whole = if form.starts_with("negative") {
        -whole
    } else {
        whole
    };
    if form.contains("exponent") {
        return serde_json::from_str("1e30").unwrap_or_default();
    }
    if form.contains("fraction") {
        return json!(whole as f64 + 0.5);
    }
    json!(whole)
}

/// Returns the `n`th key of this description.
fn hidden_key(described: &str, n: u64) -> String {
    let length = characters(described).unwrap_or(8);
    let style = described.split_once(", ").map_or("", |(_, style)| style);
    let style = style.trim_end_matches(')');
    let mut key = match style {
        "UUID with hyphens" => return uuid(n + 1),
        "hexadecimal digits" => return format!("{:032x}", n + 0x8a80),
        "digits" => format!("{:0>length$}", n + 1),
        "camel case" => format!("qQ{n}"),
        "beginning with a capital" => format!("Q{n}"),
        "lower snake case" => format!("q_{n}"),
        "lower kebab case" => format!("q-{n}"),
        "lower case" => format!("q{n}"),
        _ => format!(" {n}"),
    };
    while key.len() < length {
        key.push('q');
    }
    key.truncate(length);
    key
}
