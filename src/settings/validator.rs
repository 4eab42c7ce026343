//! Checks of configuration values, and reports of errors with their position.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::secret::from_file;
use super::tree::Node;
use super::{ConfigErrors, EnvName, FileName, Secret, Text};
use crate::blocking::files::{FileError, FileKind, Files};
use crate::invalid::Invalid;

/// Checks the values at one path of the configuration.
pub struct Validator<'a> {
    folder: &'a Path,
    files: &'a Files,
    env: &'a dyn Fn(&str) -> Option<String>,
    path: String,
    /// Node at this path, or the nearest node above it.
    node: &'a Node,
    problems: &'a mut ConfigErrors,
}

impl<'a> Validator<'a> {
    pub(crate) fn new(
        folder: &'a Path,
        files: &'a Files,
        env: &'a dyn Fn(&str) -> Option<String>,
        node: &'a Node,
        problems: &'a mut ConfigErrors,
    ) -> Self {
        Self {
            folder,
            files,
            env,
            path: String::new(),
            node,
            problems,
        }
    }

    /// Returns a validator for a path below this one, under a key such as `entities[2]`.
    pub fn at(&mut self, key: impl AsRef<str>) -> Validator<'_> {
        let path = self.path_of(key.as_ref());
        Validator {
            folder: self.folder,
            files: self.files,
            env: self.env,
            path,
            node: self.node.below(key.as_ref()).unwrap_or(self.node),
            problems: self.problems,
        }
    }

    fn path_of(&self, key: &str) -> String {
        match (self.path.as_str(), key) {
            ("", key) => key.to_owned(),
            (path, "") => path.to_owned(),
            (path, index) if index.starts_with('[') => format!("{path}{index}"),
            (path, key) => format!("{path}.{key}"),
        }
    }

    /// Reports an error of a key at this path; the empty key is the path itself.
    pub fn problem(&mut self, key: &str, what: impl Into<String>) {
        let path = self.path_of(key);
        let node = self.node;
        let at = || Some(node.position(key));
        self.problems.add_at(at, &path, what);
    }

    /// Returns whether the file has no errors so far.
    pub(crate) fn has_no_errors(&self) -> bool {
        self.problems.is_empty()
    }

    /// Returns the entry of a list, and reports an empty one.
    pub fn entry<T>(&mut self, entry: Option<T>) -> Option<T> {
        if entry.is_none() && !self.problems.has(&self.path) {
            self.problem("", "an empty entry: remove it, or fill it in");
        }
        entry
    }

    /// Returns the value of a required key, and reports a missing one.
    pub fn required<T>(&mut self, key: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.missing(&[key], "");
        }
        value
    }

    /// Reports that the first of these keys is missing; `how` describes how to set it.
    ///
    /// Nothing is reported if one of the keys has a wrong value, because that was reported when it
    /// was read. A null value is reported as such.
    pub fn missing(&mut self, keys: &[&str], how: &str) {
        if keys.iter().any(|key| self.problems.has(&self.path_of(key))) {
            return;
        }
        // A key that is written, but was read as nothing, is an explicit null.
        let null = |key: &&&str| {
            self.node
                .get(key)
                .is_some_and(|entry| !entry.value.is_blank())
        };
        if let Some(key) = keys.iter().find(null) {
            self.problem(
                key,
                "null is not a value: put quotes around it if it is meant as text",
            );
        } else {
            self.problem(keys[0], format!("is missing{how}"));
        }
    }

    /// Returns the secret given by exactly one of `{key}_file` and `{key}_env`.
    ///
    /// The secret must be readable now. The exception is a file that hangs: it may be readable
    /// later.
    pub fn secret(
        &mut self,
        key: &str,
        file: Option<FileName>,
        env: Option<EnvName>,
    ) -> Option<Secret> {
        let (file_key, env_key) = (format!("{key}_file"), format!("{key}_env"));
        match (file, env) {
            (Some(FileName(name)), None) => {
                let path = self.folder.join(&name);
                let content = self.files.read(FileKind::Secret, &path);
                let hangs = content == Err(FileError::TimedOut);
                let value = from_file(content).map_err(|error| {
                    let what = format!("{} {error}", self.printable(&name));
                    if hangs {
                        let path = self.path_of(&file_key);
                        let node = self.node;
                        let at = || Some(node.position(&file_key));
                        self.problems.add_hanging(at, &path, what);
                    } else {
                        self.problem(&file_key, what);
                    }
                });
                // A name that is not printable belongs to a file that hangs, or its error was
                // reported.
                let location = if hangs && self.printable(&name) != name {
                    self.printable(&name).to_owned()
                } else {
                    format!("the file {}", path.display())
                };
                Some(Secret::in_file(path, location, value.ok(), hangs))
            }
            (None, Some(EnvName(name))) => {
                let value = (self.env)(&name);
                // As in a file, one trailing newline is not part of the value. `echo` writes it,
                // and Kubernetes passes it on.
                let value = value.as_deref().map(|text| {
                    let text = text.strip_suffix('\n').unwrap_or(text);
                    text.strip_suffix('\r').unwrap_or(text)
                });
                match value.map(Secret::from_value) {
                    Some(Ok(secret)) => Some(secret),
                    Some(Err(error)) => {
                        self.problem(
                            &env_key,
                            format!("the environment variable named here {error}"),
                        );
                        None
                    }
                    None => {
                        self.problem(
                            &env_key,
                            "there is no environment variable of this name (not \
                            shown: a secret may have been put here)",
                        );
                        None
                    }
                }
            }
            (Some(_), Some(_)) => {
                self.problem(key, format!("give {file_key} or {env_key}, not both"));
                None
            }
            (None, None) => {
                self.missing(
                    &[key, &file_key, &env_key],
                    &format!(": give {file_key} or {env_key}"),
                );
                None
            }
        }
    }

    /// Returns a client id, which is not secret and may also be in the configuration file itself.
    pub fn client_id(
        &mut self,
        id: Option<Text>,
        file: Option<FileName>,
        env: Option<EnvName>,
    ) -> Option<Secret> {
        match id {
            Some(Text(id)) if file.is_none() && env.is_none() => Some(Secret::Value(id.into())),
            Some(_) => {
                self.problem(
                    "client_id",
                    "give client_id, client_id_file or client_id_env, and only one of them",
                );
                None
            }
            None if file.is_none() && env.is_none() => {
                self.missing(
                    &["client_id", "client_id_file", "client_id_env"],
                    ": give client_id, client_id_file or client_id_env",
                );
                None
            }
            None => self.secret("client_id", file, env),
        }
    }

    /// Reads a file with `parse`; its name is relative to the directory of the configuration.
    ///
    /// Returns `None` if the file cannot be used, which is reported.
    pub fn file<T>(
        &mut self,
        key: &str,
        kind: FileKind,
        FileName(name): &FileName,
        parse: impl FnOnce(Vec<u8>) -> Result<T, Invalid>,
    ) -> Option<T> {
        let read = self.files.read(kind, &self.folder.join(name));
        let parsed = read
            .map_err(|error| error.to_string().into())
            .and_then(parse);
        parsed
            .map_err(|error| self.problem(key, format!("{} {error}", self.printable(name))))
            .ok()
    }

    /// Returns the path of a file that the configuration names.
    #[must_use]
    pub fn path(&self, FileName(name): &FileName) -> PathBuf {
        self.folder.join(name)
    }

    /// Returns the name of a file for messages, or a substitute if it could be a secret.
    ///
    /// A user may have entered the secret itself in place of the path. A name is shown only if its
    /// first component exists.
    pub(crate) fn printable<'n>(&self, name: &'n str) -> &'n str {
        // This includes absolute paths, because a secret may begin with a slash.
        let (root, path) = match name.strip_prefix('/') {
            Some(path) => (Path::new("/"), path),
            None => (self.folder, name),
        };
        let first = path.split('/').find(|part| !part.is_empty());
        if first.is_some_and(|first| self.files.exists(&root.join(first))) {
            name
        } else {
            "the file named here (not shown: a secret may have been put in its place)"
        }
    }

    /// Returns the values of a list, sorted, and reports invalid entries and duplicates.
    ///
    /// `read` returns the value of an entry, or the text that says what is allowed.
    pub(crate) fn unique(
        &mut self,
        key: &str,
        list: Option<Vec<Option<Text>>>,
        read: impl Fn(&str) -> Result<String, &'static str>,
    ) -> Vec<String> {
        let mut known = BTreeSet::new();
        for (index, entry) in list.unwrap_or_default().into_iter().enumerate() {
            let mut here = self.at(format!("{key}[{index}]"));
            let Some(Text(text)) = here.entry(entry) else {
                continue;
            };
            match read(&text).map(|value| known.insert(value)) {
                Err(allowed) => here.problem("", allowed),
                Ok(false) => here.problem("", "is there twice"),
                Ok(true) => {}
            }
        }
        known.into_iter().collect()
    }
}
