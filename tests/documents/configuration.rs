//! `docs/config.schema.json`, and `docs/configuration.md`, which is generated from it.

use std::fmt::Write as _;

use serde_json::Value;

use super::{GENERATED, code, hold, table};
use crate::config::schema::schema;

const BEGINNING: &str = "
# Configuration

The configuration is one YAML file, named by `--config.file`.
[`config.example.yaml`](../config.example.yaml) shows every key in its place.

## Checking a file

    connections-exporter --config.check --config.file=config.yaml

reports all errors in one run, each with its file, line and column:

    config.yaml:6:5: zuora[0].intervall: unknown key: did you mean interval?
    config.yaml:8:13: zuora[0].entities[0].id: expected text: put quotes around a number

If there are no errors, it prints an estimate of the requests that the configuration causes. A
reload that fails reports the same lines in the log and in the response of `/-/reload`.

At most 100 errors are printed; further errors are counted. Because a mistyped file may have a
secret in any place, a message names an unknown key only if it resembles a known one, and a path
only if its first folder exists.

## Editing with a schema

[`config.schema.json`](config.schema.json) is the JSON Schema of the file. Editors with a YAML
language server use it if the first line of the file names a copy by path or URL:

    # yaml-language-server: $schema=config.schema.json

The schema does not check everything: it does not see files, environment variables or duplicate
names. `--config.check` does.

## Values

- **duration**: a number with a unit: `30s`, `5m`, `1h30m`, `1d`, `2w`. A day has 24 hours. At most
  one year.
- **file**: a path. A relative path starts at the folder of the configuration file. `~` and
  variables are not expanded.
- **variable**: the name of an environment variable of the exporter.
- Secrets are never in this file. They are read from files or environment variables. One line end
  after a secret is removed.
- A secret file is read at each use, so rotating the file needs no restart. An environment variable
  needs one. So does the packaged systemd unit, which copies the secrets when it starts.
- Unknown keys are errors. A key without a value counts as absent.
- Where text is expected, numbers, `true`, `false` and `null` need quotes.
- Anchors, aliases and merge keys (`<<`) are supported, so that accounts can share keys.
- The file is one YAML document in UTF-8, indented with spaces. A byte order mark is accepted.
";

/// Returns the type of a schema node in words.
fn kind(node: &Value, name: &str) -> String {
    if let Some(list) = node.get("oneOf") {
        return format!("`{}`, or a list", list[0]["const"].as_str().unwrap());
    }
    let of = match &node["type"] {
        Value::Array(types) => types[0].as_str(),
        word => word.as_str(),
    };
    match of {
        Some("integer") => format!("{} to {}", node["minimum"], node["maximum"]),
        Some("array") if node["items"].get("$ref").is_none() => "list of texts".to_owned(),
        Some("array") => "list".to_owned(),
        Some("string") if name.ends_with("_file") => "file".to_owned(),
        Some("string") if name.ends_with("_env") => "variable".to_owned(),
        Some("string") if name.ends_with("url") => "URL".to_owned(),
        Some("string") if node.get("minLength").is_some() => "duration".to_owned(),
        Some("string") => "text".to_owned(),
        _ => "keys".to_owned(),
    }
}

/// Returns the definition that a node refers to, through optional values, or else the node itself.
fn definition<'a>(root: &'a Value, node: &'a Value) -> &'a Value {
    let referred = ["allOf", "anyOf"]
        .iter()
        .find_map(|key| node.get(key)?.get(0));
    let node = referred.unwrap_or(node);
    match node.get("$ref").and_then(Value::as_str) {
        Some(reference) => root.pointer(&reference[1..]).unwrap(),
        None => node,
    }
}

/// Returns the groups of keys of which a mapping needs exactly one.
fn rules(node: &Value) -> Vec<Vec<&str>> {
    let rules = node["allOf"].as_array().into_iter().flatten();
    let choices = rules.filter_map(|rule| rule["oneOf"].as_array());
    let keys = choices.map(|choices| {
        choices
            .iter()
            .filter_map(|one| one["required"][0].as_str())
            .collect()
    });
    keys.collect()
}

/// Appends the section of a mapping, and those of the mappings below it.
fn section(root: &Value, node: &Value, path: &str, text: &mut String) {
    let required: Vec<_> = node["required"].as_array().into_iter().flatten().collect();
    let mut below = Vec::new();
    let mut rows = Vec::new();
    let mut properties: Vec<_> = node["properties"].as_object().unwrap().iter().collect();
    properties.sort_by_key(|(name, _)| !required.iter().any(|key| key == name));
    for (name, property) in properties {
        let meant = definition(root, property);
        let description = property.get("description").or(meant.get("description"));
        let default = match &property["default"] {
            Value::Null if required.iter().any(|key| *key == name) => "required".to_owned(),
            Value::Null => String::new(),
            Value::String(text) => code([text.as_str()]),
            number => code([number.to_string().as_str()]),
        };
        let description = description.and_then(Value::as_str).unwrap_or_default();
        rows.push([
            code([name.as_str()]),
            kind(meant, name),
            default,
            description.to_owned(),
        ]);
        let list = meant.get("oneOf").map_or(meant, |choices| &choices[1]);
        let (one, path) = match list.get("items") {
            Some(items) => (definition(root, items), format!("{name}[]")),
            None => (meant, name.clone()),
        };
        // An entry of a list may be a name or a mapping.
        let one = match one.get("anyOf") {
            Some(choices) => definition(root, &choices[1]),
            None => one,
        };
        if one.get("properties").is_some() {
            below.push((one, path));
        }
    }
    let heading = if path.is_empty() { "The file" } else { path };
    let _ = write!(
        text,
        "\n## {heading}\n\n{}",
        table(["key", "type", "default", "meaning"], rows)
    );
    for keys in rules(node) {
        let _ = write!(text, "\nRequired: exactly one of {}.\n", code(keys));
    }
    for (one, name) in below {
        let path = if path.is_empty() {
            name
        } else {
            format!("{path}.{name}")
        };
        section(root, one, &path, text);
    }
}

#[test]
fn the_schema_and_the_page_of_the_configuration_are_what_the_code_says() {
    let schema = schema();
    hold(
        "docs/config.schema.json",
        &format!("{}\n", serde_json::to_string_pretty(&schema).unwrap()),
    );
    let mut text = format!("{GENERATED}{BEGINNING}");
    section(&schema, &schema, "", &mut text);
    hold("docs/configuration.md", &text);
}
