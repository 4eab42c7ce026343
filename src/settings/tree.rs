//! YAML text to a tree of nodes with positions, so that later errors can be located.
//!
//! `saphyr-parser` finds the structure, since `serde_yaml` keeps no positions. `serde_yaml`
//! interprets the scalars.

mod syntax;

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};
use serde_yaml::{Mapping, Value};

use super::errors::{ConfigErrors, Position};
pub(crate) use syntax::decode;

/// Maximum depth of nested lists and mappings. A configuration needs seven.
const DEEPEST: usize = 32;

/// Maximum size of what the aliases of a file repeat, in bytes. It limits the expansion of a small
/// file.
const MAX_REPEATED: usize = 1024 * 1024;

/// Approximate size of a value without its text, in bytes.
const COST: usize = 64;

/// Value with its position. A value repeated by an alias has the position of its anchor.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(super) at: Position,
    pub(super) kind: NodeKind,
    /// Size in bytes and height in levels, including all nodes below.
    size: usize,
    height: usize,
}

#[derive(Debug, Clone)]
pub(super) enum NodeKind {
    Scalar {
        text: String,
        /// Whether it is written without quotes, so that it may be a value other than text.
        plain: bool,
    },
    List(Vec<Node>),
    Mapping(Vec<Entry>),
    /// Unusable value, with the reason. The reader reports it, because only the reader knows its
    /// path.
    Wrong(&'static str),
}

/// Key with its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) plain: bool,
    pub(super) at: Position,
    pub(super) value: Node,
    /// Positions at which the same key occurs again.
    pub(super) again: Vec<Position>,
}

impl Node {
    /// Parses a text. Returns `None` if it is not valid YAML, which is reported.
    pub(crate) fn parse(text: &str, problems: &mut ConfigErrors) -> Option<Self> {
        // A byte order mark is not part of the text.
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

    /// Returns the value of a scalar; `None` for a list or a mapping.
    pub(super) fn scalar(&self) -> Option<Value> {
        match &self.kind {
            NodeKind::Scalar { text, plain: true } => Some(resolve(text)),
            NodeKind::Scalar { text, plain: false } => Some(Value::String(text.clone())),
            _ => None,
        }
    }

    /// Returns whether the value is null.
    pub(super) fn is_null(&self) -> bool {
        matches!(self.scalar(), Some(Value::Null))
    }

    /// Returns whether the value is not written at all, or is an empty string.
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

    /// Returns the node under a key such as `entities`, `entities[2]` or `[2]`.
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

    /// Returns the position that is shown for an error of a key.
    ///
    /// It is the first of these that exists:
    ///
    /// - the value of the key, or the key itself if its value is blank
    /// - the same of a key that begins with `{key}_`, such as `{key}_file`
    /// - the entry of a list that the key names
    /// - this node
    pub(super) fn position(&self, key: &str) -> Position {
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

    /// Returns the value without its positions.
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
    /// Returns the key as a value: a plain key `7` is a number.
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

/// Interprets a plain scalar as `serde_yaml` does.
fn resolve(text: &str) -> Value {
    let begins = text.starts_with(|c: char| c.is_ascii_digit() || "+-.~nNtTfF".contains(c));
    if text.is_empty() {
        return Value::Null;
    }
    // A scalar that begins otherwise is text. `---` alone would be read as a document.
    if !begins || text.starts_with("--") || text.len() > 400 {
        return Value::String(text.to_owned());
    }
    match serde_yaml::from_str(text) {
        Ok(value @ (Value::Null | Value::Bool(_) | Value::Number(_))) => value,
        // An integer that is too large for serde_yaml is still a number.
        Err(_) => text.parse::<f64>().map_or_else(
            |_| Value::String(text.to_owned()),
            |number| Value::Number(number.into()),
        ),
        Ok(_) => Value::String(text.to_owned()),
    }
}

/// List or mapping whose end was not read yet.
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

const TAG: &str = "a tag, which begins with !, means nothing here: remove it, or put quotes around \
    a value that begins so";
const KEY: &str = "a key must be text: put quotes around a value that begins with { or [, or fill in the template";

/// Error that ends parsing: its position and its text.
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
                if repeated > MAX_REPEATED {
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

/// Keeps the first of several equal keys.
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

/// Adds the keys of the mappings under the merge key `<<`.
///
/// Own keys take precedence over merged ones, and those of an earlier mapping over those of a later
/// one.
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
