//! YAML text -> raw structures, with every mismatch and every unknown key reported by its path.

use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment, Track};
use serde_yaml::Value;

use super::Problems;

/// Reads `T` from the text. serde stops at the first mismatch; so each is noted, taken out of the tree, and
/// the tree is read again. `None` only if there is no tree. Who typed an unknown key is sent to `reference`.
pub(crate) fn read<T: DeserializeOwned + Default>(
    text: &str,
    reference: &str,
    problems: &mut Problems,
) -> Option<T> {
    let mut tree = match serde_yaml::from_str(text) {
        Ok(Value::Null) => return Some(T::default()),
        Ok(tree) => tree,
        Err(error) => {
            problems.add("", not_yaml(&error));
            return None;
        }
    };
    loop {
        let mut unknown = Vec::new();
        let mut track = Track::new();
        let deserializer = serde_path_to_error::Deserializer::new(tree.clone(), &mut track);
        match serde_ignored::deserialize(deserializer, |path| unknown.push(ignored_path(&path))) {
            Ok(value) => {
                for path in unknown {
                    problems.add(&path, unknown_key(&path, reference));
                }
                return Some(value);
            }
            Err(error) => {
                let path = track.path();
                problems.add(&shown(&path), sentence(&error));
                take_out(&mut tree, &path)?;
            }
        }
    }
}

/// The parser's message for a broken document. Those of its scanner quote nothing; a message that quotes
/// a key or a value is cut before the quote, since it could be a secret.
fn not_yaml(error: &serde_yaml::Error) -> String {
    let message = error.to_string();
    let what = message
        .split(['"', '`'])
        .next()
        .unwrap_or_default()
        .trim_end();
    match error.location() {
        Some(at) if what.len() < message.len() => {
            format!(
                "line {}, column {}: not YAML that can be read: {what} (not quoted here)",
                at.line(),
                at.column()
            )
        }
        Some(at) => format!(
            "line {}, column {}: not YAML that can be read: {what}",
            at.line(),
            at.column()
        ),
        None => format!("not YAML that can be read: {what}"),
    }
}

/// Our sentence for serde's message. Its own form, "invalid type: string "…", expected …", quotes the
/// value, which could be a secret; only what was expected is kept.
fn sentence(error: &serde_yaml::Error) -> String {
    let message = error.to_string();
    let Some((_, expected)) = message.rsplit_once(", expected ") else {
        return message;
    };
    match expected {
        "a sequence" => "expected a list".to_owned(),
        structure if structure.starts_with("struct ") => {
            "expected a mapping of keys to values".to_owned()
        }
        other => format!("expected {other}"),
    }
}

fn unknown_key(path: &str, reference: &str) -> String {
    let key = path.rsplit('.').next().unwrap_or_default();
    match key {
        "client_secret" | "token" => {
            format!("a secret never stands in this file: use {key}_file or {key}_env")
        }
        _ => format!("unknown key: see {reference} for every key there is"),
    }
}

fn shown(path: &Path) -> String {
    let mut text = String::new();
    for segment in path {
        text = match segment {
            Segment::Seq { index } => format!("{text}[{index}]"),
            Segment::Map { key } if text.is_empty() => key.clone(),
            Segment::Map { key } => format!("{text}.{key}"),
            Segment::Enum { .. } | Segment::Unknown => text,
        };
    }
    text
}

fn ignored_path(path: &serde_ignored::Path<'_>) -> String {
    match path {
        serde_ignored::Path::Root => String::new(),
        serde_ignored::Path::Seq { parent, index } => format!("{}[{index}]", ignored_path(parent)),
        serde_ignored::Path::Map { parent, key } => match ignored_path(parent) {
            parent if parent.is_empty() => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        serde_ignored::Path::Some { parent }
        | serde_ignored::Path::NewtypeStruct { parent }
        | serde_ignored::Path::NewtypeVariant { parent } => ignored_path(parent),
    }
}

/// Makes the value at the path null, which every field of the raw structures takes for "not given".
/// `None` if that changes nothing.
fn take_out(tree: &mut Value, path: &Path) -> Option<()> {
    let mut here = tree;
    for segment in path {
        here = match segment {
            Segment::Seq { index } => here.get_mut(*index)?,
            Segment::Map { key } => here.get_mut(key.as_str())?,
            Segment::Enum { .. } | Segment::Unknown => return None,
        };
    }
    if here.is_null() {
        return None;
    }
    *here = Value::Null;
    Some(())
}
