//! YAML text -> a tree that knows the place of each of its values, so that a problem found later has one.
//!
//! `saphyr-parser` finds the structure, since `serde_yaml` keeps no places; what a scalar means, `serde_yaml` says.

mod syntax;

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};
use serde_yaml::{Mapping, Value};

use super::problems::{ConfigErrors, Position};
pub(crate) use syntax::decode;

/// Lists and mappings in each other. A configuration needs seven.
const DEEPEST: usize = 32;

/// What the aliases of a file may repeat, in bytes. It bounds what a small file can become.
const MOST_REPEATED: usize = 1024 * 1024;

/// What a value takes beside its text, roughly.
const COST: usize = 64;

/// A value, and where it stands. One that an alias repeats stands at its anchor.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(super) at: Position,
    pub(super) kind: NodeKind,
    /// Bytes, and levels, with all that is in it.
    size: usize,
    height: usize,
}

#[derive(Debug, Clone)]
pub(super) enum NodeKind {
    Scalar {
        text: String,
        /// Written without quotes, so that it may be something else than text.
        plain: bool,
    },
    List(Vec<Node>),
    Mapping(Vec<Entry>),
    /// What is no value of ours, and why. Told by who reads it, who knows its path.
    Wrong(&'static str),
}

/// A key with its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) plain: bool,
    pub(super) at: Position,
    pub(super) value: Node,
    /// Where the same key stands again.
    pub(super) again: Vec<Position>,
}

impl Node {
    /// Reads a text. `None` if it has no structure, which was told then.
    pub(crate) fn parse(text: &str, problems: &mut ConfigErrors) -> Option<Self> {
        // A byte order mark is no part of the text.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        build(text)
            .map_err(|(at, what)| problems.add_at(|| Some(at), "", what))
            .ok()
    }

    fn new(at: Position, kind: NodeKind) -> Self {
        let (size, height) = match &kind {
            NodeKind::Scalar { text, .. } => (text.len(), 0),
            NodeKind::Wrong(_) => (0, 0),
            NodeKind::List(list) => sum(list.iter().map(|node| (node.size, node.height))),
            NodeKind::Mapping(entries) => sum(entries
                .iter()
                .map(|entry| (entry.value.size + entry.key.len(), entry.value.height))),
        };
        Self {
            at,
            kind,
            size: size + COST,
            height,
        }
    }

    /// What a scalar means; `None` for a list or a mapping.
    pub(super) fn scalar(&self) -> Option<Value> {
        match &self.kind {
            NodeKind::Scalar { text, plain: true } => Some(resolve(text)),
            NodeKind::Scalar { text, plain: false } => Some(Value::String(text.clone())),
            _ => None,
        }
    }

    /// Whether there is no value.
    pub(super) fn is_null(&self) -> bool {
        matches!(self.scalar(), Some(Value::Null))
    }

    /// Whether nothing is written in place of the value, or empty quotes.
    pub(super) fn is_blank(&self) -> bool {
        matches!(&self.kind, NodeKind::Scalar { text, .. } if text.is_empty())
    }

    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        let NodeKind::Mapping(entries) = &self.kind else {
            return None;
        };
        entries.iter().find(|entry| entry.key == key)
    }

    fn index(&self, index: usize) -> Option<&Self> {
        match &self.kind {
            NodeKind::List(list) => list.get(index),
            NodeKind::Mapping(entries) => entries.get(index).map(|entry| &entry.value),
            _ => None,
        }
    }

    /// What stands under a key, such as `entities`, `entities[2]` or `[2]`.
    pub(crate) fn below(&self, key: &str) -> Option<&Self> {
        if let Some(entry) = self.get(key) {
            return Some(&entry.value);
        }
        let (name, index) = key.strip_suffix(']')?.split_once('[')?;
        let list = match name {
            "" => self,
            name => &self.get(name)?.value,
        };
        list.index(index.parse().ok()?)
    }

    /// Where a problem with a key is shown: at its value; at the key, if nothing is there; at one of the keys that it
    /// can be given by (`{key}_file`); else here.
    pub(super) fn place(&self, key: &str) -> Position {
        let entry = self.get(key).or_else(|| {
            let NodeKind::Mapping(entries) = &self.kind else {
                return None;
            };
            let ways = |entry: &&Entry| {
                let rest = entry.key.strip_prefix(key);
                !key.is_empty() && rest.is_some_and(|rest| rest.starts_with('_'))
            };
            entries.iter().find(ways)
        });
        match entry {
            Some(entry) if entry.value.is_blank() => entry.at,
            Some(entry) => entry.value.at,
            None => self.below(key).unwrap_or(self).at,
        }
    }

    /// The value without its places.
    pub(crate) fn to_value(&self) -> Value {
        match &self.kind {
            NodeKind::Scalar { .. } => self.scalar().unwrap_or_default(),
            NodeKind::List(list) => list.iter().map(Self::to_value).collect(),
            NodeKind::Mapping(entries) => {
                let entries = entries.iter();
                let pairs = entries.map(|entry| (entry.name(), entry.value.to_value()));
                Value::Mapping(pairs.collect::<Mapping>())
            }
            NodeKind::Wrong(_) => Value::Null,
        }
    }
}

impl Entry {
    /// What the key means.
    pub(super) fn name(&self) -> Value {
        if self.plain {
            resolve(&self.key)
        } else {
            Value::String(self.key.clone())
        }
    }
}

fn sum(below: impl Iterator<Item = (usize, usize)>) -> (usize, usize) {
    below.fold((0, 1), |(size, height), (more, below)| {
        (size + more, height.max(below + 1))
    })
}

/// What `serde_yaml` takes a plain scalar for.
fn resolve(text: &str) -> Value {
    let begins = text.starts_with(|c: char| c.is_ascii_digit() || "+-.~nNtTfF".contains(c));
    if text.is_empty() {
        return Value::Null;
    }
    // Only these begin what is not text, and `---` alone would be read as a document.
    if !begins || text.starts_with("--") || text.len() > 400 {
        return Value::String(text.to_owned());
    }
    match serde_yaml::from_str(text) {
        Ok(value @ (Value::Null | Value::Bool(_) | Value::Number(_))) => value,
        // An integer that is too large for serde_yaml is a number all the same.
        Err(_) => text.parse::<f64>().map_or_else(
            |_| Value::String(text.to_owned()),
            |number| Value::Number(number.into()),
        ),
        Ok(_) => Value::String(text.to_owned()),
    }
}

/// A list or a mapping of which the end was not seen yet.
struct Open {
    at: Position,
    anchor: usize,
    children: Children,
}

enum Children {
    List(Vec<Node>),
    /// The entries, and the key whose value comes next.
    Mapping(Vec<Entry>, Option<(Position, String, bool)>),
    Wrong(&'static str),
}

const TAG: &str = "a tag, which begins with !, means nothing here: remove it, or put quotes around a value that begins so";
const KEY: &str = "a key must be text: put quotes around a value that begins with { or [, or fill in the template";

/// What ends the reading: where, and why.
type Fatal = (Position, String);

fn position(mark: &Marker) -> Position {
    Position {
        line: mark.line(),
        column: mark.col() + 1,
    }
}

fn build(text: &str) -> Result<Node, Fatal> {
    syntax::printable(text)?;
    let mut root = None;
    let mut open: Vec<Open> = Vec::new();
    let mut anchors: HashMap<usize, Node> = HashMap::new();
    let mut repeated = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| syntax::explain(text, &error))?;
        let at = position(&span.start);
        let too_deep = || (at, syntax::too_deep());
        let (node, anchor) = match event {
            Event::DocumentStart(_) if root.is_some() => {
                return Err((at, syntax::ANOTHER_DOCUMENT.to_owned()));
            }
            Event::Scalar(text, style, anchor, tag) => {
                (scalar(at, &text, style, tag.as_deref()), anchor)
            }
            Event::Alias(anchor) => {
                let node = anchors.get(&anchor).cloned();
                let node = node.unwrap_or_else(|| {
                    Node::new(
                        at,
                        NodeKind::Wrong("an alias cannot stand inside what it repeats"),
                    )
                });
                repeated += node.size;
                if repeated > MOST_REPEATED {
                    return Err((at, syntax::TOO_OFTEN.to_owned()));
                }
                if open.len() + node.height > DEEPEST {
                    return Err(too_deep());
                }
                (node, 0)
            }
            Event::SequenceStart(anchor, tag) => {
                let children = Children::new(Children::List(Vec::new()), tag.as_deref(), "seq");
                open.push(Open {
                    at,
                    anchor,
                    children,
                });
                if open.len() > DEEPEST {
                    return Err(too_deep());
                }
                continue;
            }
            Event::MappingStart(anchor, tag) => {
                let mapping = Children::Mapping(Vec::new(), None);
                let children = Children::new(mapping, tag.as_deref(), "map");
                open.push(Open {
                    at,
                    anchor,
                    children,
                });
                if open.len() > DEEPEST {
                    return Err(too_deep());
                }
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(open) => (Node::new(open.at, open.children.close()), open.anchor),
                None => continue,
            },
            _ => continue,
        };
        if anchor > 0 {
            anchors.insert(anchor, node.clone());
        }
        match open.last_mut() {
            Some(parent) => parent.children.add(node),
            None => root = Some(node),
        }
    }
    let nothing = || scalar(Position::START, "", ScalarStyle::Plain, None);
    Ok(root.unwrap_or_else(nothing))
}

fn scalar(at: Position, text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Node {
    let unquoted = style == ScalarStyle::Plain;
    let plain = match tag {
        None => Some(unquoted),
        Some(tag) if tag.is_yaml_core_schema() => match tag.suffix.as_str() {
            "str" => Some(false),
            "null" | "bool" | "int" | "float" => Some(unquoted),
            _ => None,
        },
        Some(_) => None,
    };
    let kind = plain.map_or(NodeKind::Wrong(TAG), |plain| NodeKind::Scalar {
        text: text.to_owned(),
        plain,
    });
    Node::new(at, kind)
}

impl Children {
    fn new(none: Self, tag: Option<&Tag>, own: &str) -> Self {
        match tag {
            Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == own) => Self::Wrong(TAG),
            _ => none,
        }
    }

    fn add(&mut self, node: Node) {
        match self {
            Self::List(list) => list.push(node),
            Self::Mapping(entries, next) => match (next.take(), node.kind) {
                (Some((at, key, plain)), kind) => entries.push(Entry {
                    key,
                    plain,
                    at,
                    value: Node { kind, ..node },
                    again: Vec::new(),
                }),
                (None, NodeKind::Scalar { text, plain }) => *next = Some((node.at, text, plain)),
                (None, _) => *self = Self::Wrong(KEY),
            },
            Self::Wrong(_) => {}
        }
    }

    fn close(self) -> NodeKind {
        match self {
            Self::List(list) => NodeKind::List(list),
            Self::Mapping(entries, _) => {
                merged(distinct(entries)).map_or_else(NodeKind::Wrong, NodeKind::Mapping)
            }
            Self::Wrong(why) => NodeKind::Wrong(why),
        }
    }
}

/// Each key once: the first holds.
fn distinct(entries: Vec<Entry>) -> Vec<Entry> {
    let mut places: HashMap<String, usize> = HashMap::with_capacity(entries.len());
    let mut distinct: Vec<Entry> = Vec::with_capacity(entries.len());
    for entry in entries {
        if let Some(first) = places.get(&entry.key) {
            distinct[*first].again.push(entry.at);
        } else {
            places.insert(entry.key.clone(), distinct.len());
            distinct.push(entry);
        }
    }
    distinct
}

/// With the keys of the mappings under the merge key `<<`, as far as the mapping has not its own: those of an earlier
/// one before those of a later one.
fn merged(mut entries: Vec<Entry>) -> Result<Vec<Entry>, &'static str> {
    let merge = |entry: &Entry| entry.plain && entry.key == "<<";
    let Some(place) = entries.iter().position(merge) else {
        return Ok(entries);
    };
    let sources = match entries.remove(place).value.kind {
        NodeKind::List(list) => list.into_iter().map(|node| node.kind).collect(),
        kind => vec![kind],
    };
    for source in sources {
        let NodeKind::Mapping(more) = source else {
            return Err("<< takes an alias of a mapping, or a list of such aliases");
        };
        let own: HashSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
        entries.extend(more.into_iter().filter(|entry| !own.contains(&entry.key)));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests;
