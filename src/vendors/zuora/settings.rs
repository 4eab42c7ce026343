//! Configuration of a tenant.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;

use super::{ZUORA, ZuoraConnector, entity_id};
use crate::settings::{
    BaseUrl, EnvName, FileName, Period, Rate, Text, Validator, given, given_list,
};
use crate::vendors::account::{
    AccountConfig, CommonSettings, DiscoveryMode, PollConfig, TargetConfig,
};
use crate::vendors::{AccountSettings, Connect, System};

#[cfg(test)]
use crate::settings::schema::exactly_one;

/// A tenant of Zuora's.
#[derive(Debug, Deserialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(
        rename = "ZuoraAccount",
        deny_unknown_fields,
        transform = exactly_one(&["client_id", "client_id_file", "client_id_env"]),
        transform = exactly_one(&["client_secret_file", "client_secret_env"])
    )
)]
pub struct ZuoraAccount {
    /// The `account` label; unique within zuora.
    #[cfg_attr(test, schemars(required, !default))]
    #[serde(default, deserialize_with = "given")]
    account: Option<Text>,
    /// URL of the tenant: https:// (http:// for loopback only), without a path.
    #[cfg_attr(test, schemars(required, !default))]
    #[serde(default, deserialize_with = "given")]
    base_url: Option<BaseUrl>,
    /// Id of an OAuth client whose user may read the entities. It is not a secret.
    #[serde(default, deserialize_with = "given")]
    client_id: Option<Text>,
    /// File with the client's id.
    #[serde(default, deserialize_with = "given")]
    client_id_file: Option<FileName>,
    /// Environment variable with the client's id.
    #[serde(default, deserialize_with = "given")]
    client_id_env: Option<EnvName>,
    /// File with the client's secret. It is read at each use.
    #[serde(default, deserialize_with = "given")]
    client_secret_file: Option<FileName>,
    /// Environment variable with the client's secret.
    #[serde(default, deserialize_with = "given")]
    client_secret_env: Option<EnvName>,
    /// Rate limit of the account in requests per minute, including those for tokens and pages.
    #[cfg_attr(test, schemars(extend("default" = crate::vendors::account::DEFAULT_REQUESTS_PER_MINUTE)))]
    #[serde(default, deserialize_with = "given")]
    requests_per_minute: Option<Rate>,
    /// Interval between polls of each target, at least 1s. Default: `poll.interval`.
    #[serde(default, deserialize_with = "given")]
    interval: Option<Period>,
    /// File with CA certificates, in PEM format, to trust in addition to the machine's. It is read
    /// again when it changes.
    #[serde(default, deserialize_with = "given")]
    ca_file: Option<FileName>,
    /// Entities to poll. Default: every provisioned entity that the tenant lists and the token can
    /// read.
    #[cfg_attr(test, schemars(with = "Option<Vec<EntitySettings>>", length(min = 1)))]
    #[serde(default, deserialize_with = "given_list")]
    entities: Option<Vec<Option<EntitySettings>>>,
}

/// An entity to poll.
#[derive(Debug, Deserialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(rename = "ZuoraEntity", deny_unknown_fields)
)]
struct EntitySettings {
    /// The entity's id: 32 hexadecimal digits, with hyphens or without.
    #[cfg_attr(test, schemars(required, !default, extend("pattern" = ENTITY_ID)))]
    #[serde(default, deserialize_with = "given")]
    id: Option<Text>,
    /// The `target` label. Without it: what the tenant calls the entity, else its id.
    #[serde(default, deserialize_with = "given")]
    name: Option<Text>,
    /// Ids of entities that must be connected with this entity, in either direction.
    #[cfg_attr(test, schemars(with = "Option<Vec<Text>>", inner(regex(pattern = ENTITY_ID)), extend("uniqueItems" = true)))]
    #[serde(default, deserialize_with = "given_list")]
    expect: Option<Vec<Option<Text>>>,
}

/// Pattern that [`entity_id`] accepts, for editors.
#[cfg(test)]
const ENTITY_ID: &str = "^(-*[0-9A-Fa-f]){32}-*$";

impl AccountSettings for ZuoraAccount {
    const SYSTEM: &'static System = &ZUORA;

    fn check(self, check: &mut Validator<'_>, poll: &PollConfig) -> Option<AccountConfig> {
        let client_id = check.client_id(self.client_id, self.client_id_file, self.client_id_env);
        let client_secret = check.secret(
            "client_secret",
            self.client_secret_file,
            self.client_secret_env,
        );
        let base_url = check.required("base_url", self.base_url).map(|url| url.0);
        let follow = self.entities.is_none();
        let none = self.entities.as_ref().is_some_and(Vec::is_empty);
        let mut targets: Vec<TargetConfig> = Vec::new();
        let (mut ids, mut labels) = (BTreeSet::new(), BTreeSet::new());
        for (index, entity) in self.entities.unwrap_or_default().into_iter().enumerate() {
            let mut here = check.at(format!("entities[{index}]"));
            let checked = here
                .entry(entity)
                .and_then(|entity| entity.check(&mut here));
            let Some(target) = checked else { continue };
            if !ids.insert(target.id.clone()) {
                here.problem("id", "is the id of an earlier entity: each is polled once");
            }
            if target.name.is_some() && !labels.insert(target.name.clone()) {
                here.problem(
                    "name",
                    "is the name of an earlier entity: each needs its own",
                );
            }
            targets.push(target);
        }
        if none {
            check.problem(
                "entities",
                "is empty: name at least one, or leave the key out to follow \
                every entity of the tenant",
            );
        }
        // Names are requested even if all targets have configured ones, because they also name the
        // entities on the other side of a connection.
        let discovery = if follow {
            DiscoveryMode::Targets
        } else {
            DiscoveryMode::Names
        };
        let connect = client_id.zip(client_secret).zip(base_url.clone()).map(
            |((client_id, client_secret), base_url)| {
                let names = targets
                    .iter()
                    .filter_map(|target| Some((target.id.clone(), target.name.clone()?)))
                    .collect();
                Arc::new(ZuoraConnector {
                    client_id,
                    client_secret,
                    follow,
                    names,
                    only: (targets.len() == 1).then(|| targets[0].id.clone()),
                    host: base_url.host_str().unwrap_or_default().to_owned(),
                }) as Arc<dyn Connect>
            },
        );
        let common = CommonSettings {
            account: self.account,
            requests_per_minute: self.requests_per_minute,
            interval: self.interval,
            ca_file: self.ca_file,
        };
        common.account(check, poll, &ZUORA, base_url, (targets, discovery), connect)
    }
}

impl EntitySettings {
    fn check(self, check: &mut Validator<'_>) -> Option<TargetConfig> {
        let allowed = "expected an entity id: 32 hexadecimal digits, with or without hyphens";
        let id = check.required("id", self.id).and_then(|Text(id)| {
            let id = entity_id(&id);
            if id.is_none() {
                check.problem("id", allowed);
            }
            id
        });
        let expect = check.unique("expect", self.expect, |text| entity_id(text).ok_or(allowed));
        Some(TargetConfig {
            id: id?,
            name: self.name.map(|name| name.0),
            expect,
        })
    }
}
