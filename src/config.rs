//! The configuration file, from YAML to a checked [`Config`]; all errors are reported at once.

#[cfg(test)]
pub(crate) mod schema;

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use serde_yaml::Value;

use crate::blocking::files::{self, FileKind, Files, with_files};
use crate::settings::{
    ConfigErrors, Count, Node, Period, Validator, decode, given, given_list, read,
};
use crate::vendors::account::{AccountConfig, MIN_INTERVAL, PollConfig};
use crate::vendors::{AccountSettings, SYSTEMS, zis, zuora};

// The doc comments of the following structures become the JSON Schema and docs/configuration.md.

/// The configuration of connections-exporter.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(title = "Configuration of connections-exporter", deny_unknown_fields, transform = schema::some_account))]
struct RawConfig {
    /// How all targets are polled.
    #[serde(default, deserialize_with = "given")]
    poll: Option<RawPoll>,
    /// Zuora Multi-entity: tenants. A target is an entity.
    #[cfg_attr(test, schemars(with = "Option<Vec<zuora::ZuoraAccount>>"))]
    #[serde(default, deserialize_with = "given_list")]
    zuora: Option<Vec<Option<zuora::ZuoraAccount>>>,
    /// Zendesk Integration Services: subdomains. A target is an integration.
    #[cfg_attr(test, schemars(with = "Option<Vec<zis::ZisAccount>>"))]
    #[serde(default, deserialize_with = "given_list")]
    zis: Option<Vec<Option<zis::ZisAccount>>>,
}

/// How all targets are polled.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(rename = "Poll", deny_unknown_fields)
)]
struct RawPoll {
    /// Interval between polls of each target, at least 1s.
    #[cfg_attr(test, schemars(extend("default" = schema::shown(PollConfig::default().interval))))]
    #[serde(default, deserialize_with = "given")]
    interval: Option<Period>,
    /// Period over which the first polls are spread, by a hash of the target. If it is longer than
    /// the interval, the interval is used. With 0s, all polls start at once.
    #[cfg_attr(test, schemars(extend("default" = schema::shown(PollConfig::default().first_poll_within))))]
    #[serde(default, deserialize_with = "given")]
    first_poll_within: Option<Period>,
    /// Timeout of one HTTP request, headers and body, more than 0s.
    #[cfg_attr(test, schemars(extend("default" = schema::shown(PollConfig::default().request_timeout))))]
    #[serde(default, deserialize_with = "given")]
    request_timeout: Option<Period>,
    /// Age at which a listing is dropped from the page, more than 0s. Default: three intervals of
    /// the target plus the duration of the longest of its last polls.
    #[serde(default, deserialize_with = "given")]
    stale_after: Option<Period>,
    /// Maximum number of connections of one target. A poll that finds more fails with the reason
    /// `too_large`.
    #[cfg_attr(test, schemars(extend("default" = PollConfig::default().max_connections)))]
    #[serde(default, deserialize_with = "given")]
    max_connections: Option<Count>,
}

/// Configuration that passed all checks.
#[derive(Debug, Clone)]
pub struct Config {
    /// Settings for the polls of all targets.
    pub poll: PollConfig,
    /// Accounts of all systems.
    pub accounts: Vec<AccountConfig>,
    /// Secret files that could not be read in time.
    ///
    /// Requests that need such a secret fail until its file can be read.
    pub hanging: ConfigErrors,
}

impl Config {
    /// Reads and checks a configuration file; `env` looks up environment variables of secrets.
    ///
    /// A file that hangs is an error, except for the file of a secret: see
    /// [`hanging`](Self::hanging).
    pub async fn load(
        file: &Path,
        env: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Result<Self, ConfigErrors> {
        let mut problems = ConfigErrors::new(file.display().to_string());
        let text = match files::read(FileKind::Configuration, file).await {
            Ok(bytes) => match decode(bytes, &mut problems) {
                Some(text) => text,
                None => return Err(problems),
            },
            Err(error) => {
                problems.add("", format!("the file {error}"));
                return Err(problems);
            }
        };
        let folder = file.parent().unwrap_or(Path::new("")).to_owned();
        let check = move |files: &Files| Self::check(&text, &folder, files, &env, problems.clone());
        with_files(check).await
    }

    /// Checks the text of a configuration that names no files.
    pub fn parse(
        text: &str,
        folder: &Path,
        env: &dyn Fn(&str) -> Option<String>,
        problems: ConfigErrors,
    ) -> Result<Self, ConfigErrors> {
        Self::check(text, folder, &Files::default(), env, problems)
    }

    /// Checks the text of a configuration; relative paths are resolved against `folder`.
    fn check(
        text: &str,
        folder: &Path,
        files: &Files,
        env: &dyn Fn(&str) -> Option<String>,
        mut problems: ConfigErrors,
    ) -> Result<Self, ConfigErrors> {
        let Some(file) = Node::parse(text, &mut problems) else {
            return Err(problems);
        };
        let raw = read::<RawConfig>(&file, &mut problems);
        let mut checker = Validator::new(folder, files, env, &file, &mut problems);
        let poll = poll(raw.poll.unwrap_or_default(), &mut checker.at("poll"));
        let mut accounts = Vec::new();
        accounts.extend(check_accounts(raw.zuora, &file, &poll, &mut checker));
        accounts.extend(check_accounts(raw.zis, &file, &poll, &mut checker));
        if accounts.is_empty() && checker.has_no_errors() {
            let keys: Vec<_> = SYSTEMS
                .iter()
                .map(|system| format!("{}:", system.name))
                .collect();
            let what = format!(
                "nothing to poll: add an account under {}",
                keys.join(" or ")
            );
            checker.problem("", what);
        }
        if problems.is_empty() {
            Ok(Self {
                poll,
                accounts,
                hanging: problems.take_hanging(),
            })
        } else {
            Err(problems.with_hanging())
        }
    }
}

fn poll(raw: RawPoll, here: &mut Validator<'_>) -> PollConfig {
    let defaults = PollConfig::default();
    let poll = PollConfig {
        interval: raw.interval.map_or(defaults.interval, |p| p.0),
        first_poll_within: raw
            .first_poll_within
            .map_or(defaults.first_poll_within, |p| p.0),
        request_timeout: raw
            .request_timeout
            .map_or(defaults.request_timeout, |p| p.0),
        stale_after: raw.stale_after.map(|p| p.0),
        max_connections: raw
            .max_connections
            .map_or(defaults.max_connections, |c| c.0),
    };
    if poll.interval < MIN_INTERVAL {
        here.problem("interval", "must be at least 1s");
    }
    if poll.request_timeout.is_zero() {
        here.problem("request_timeout", "must be more than 0s");
    }
    if poll.stale_after.is_some_and(|stale| stale.is_zero()) {
        here.problem("stale_after", "must be more than 0s");
    }
    poll
}

/// Checks the accounts of one system.
fn check_accounts<S: AccountSettings>(
    raw: Option<Vec<Option<S>>>,
    file: &Node,
    poll: &PollConfig,
    checker: &mut Validator<'_>,
) -> Vec<AccountConfig> {
    let mut names = BTreeSet::new();
    let mut accounts = Vec::new();
    for (index, settings) in raw.unwrap_or_default().into_iter().enumerate() {
        let place = format!("{}[{index}]", S::SYSTEM.name);
        let mut here = checker.at(&place);
        let account = here
            .entry(settings)
            .and_then(|settings| settings.check(&mut here, poll));
        let Some(mut account) = account else { continue };
        account.written.entry = entry(file.below(&place));
        if !names.insert(account.name.clone()) {
            here.problem(
                "account",
                "is the name of an earlier account: each needs its own",
            );
        }
        accounts.push(account);
    }
    accounts
}

/// Returns an account's entry in the file, without the keys that do not affect its source.
fn entry(written: Option<&Node>) -> Value {
    let mut entry = written.map(Node::to_value).unwrap_or_default();
    if let Some(keys) = entry.as_mapping_mut() {
        keys.remove("requests_per_minute");
        keys.remove("interval");
        let lists = keys.values_mut().filter_map(Value::as_sequence_mut);
        for target in lists.flatten().filter_map(Value::as_mapping_mut) {
            target.remove("expect");
        }
    }
    entry
}

#[cfg(test)]
mod tests;
