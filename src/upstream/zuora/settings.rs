//! What the configuration says of a tenant.

use std::sync::Arc;

use serde::Deserialize;

use super::{Access, ZUORA, entity_id};
use crate::config::{
    Account, BaseUrl, Checker, Common, Discovery, EnvName, FileName, Period, Rate, Target, Text,
};
use crate::upstream::{Connect, Settings, System};

/// An account under `zuora:` in the configuration.
#[derive(Debug, Deserialize)]
pub struct AccountSettings {
    account: Option<Text>,
    base_url: Option<BaseUrl>,
    client_id: Option<Text>,
    client_id_file: Option<FileName>,
    client_id_env: Option<EnvName>,
    client_secret_file: Option<FileName>,
    client_secret_env: Option<EnvName>,
    requests_per_minute: Option<Rate>,
    interval: Option<Period>,
    ca_file: Option<FileName>,
    entities: Option<Vec<Option<EntitySettings>>>,
}

#[derive(Debug, Deserialize)]
struct EntitySettings {
    id: Option<Text>,
    name: Option<Text>,
    expect: Option<Vec<Option<Text>>>,
}

impl Settings for AccountSettings {
    const SYSTEM: &'static System = &ZUORA;

    fn check(self, check: &mut Checker<'_>) -> Option<Account> {
        let client_id = check.client_id(self.client_id, self.client_id_file, self.client_id_env);
        let client_secret = check.secret(
            "client_secret",
            self.client_secret_file,
            self.client_secret_env,
        );
        let base_url = check.required("base_url", self.base_url).map(|url| url.0);
        let follow = self.entities.is_none();
        let none = self.entities.as_ref().is_some_and(Vec::is_empty);
        let mut targets: Vec<Target> = Vec::new();
        for (index, entity) in self.entities.unwrap_or_default().into_iter().enumerate() {
            let mut here = check.at(format!("entities[{index}]"));
            let checked = here
                .entry(entity)
                .and_then(|entity| entity.check(&mut here));
            let Some(target) = checked else { continue };
            if targets.iter().any(|other| other.id == target.id) {
                here.problem("id", "is the id of an earlier entity: each is polled once");
            }
            if target.name.is_some() && targets.iter().any(|other| other.name == target.name) {
                here.problem(
                    "name",
                    "is the name of an earlier entity: each needs its own",
                );
            }
            targets.push(target);
        }
        if none {
            check.problem("entities", "is empty: name at least one, or leave the key out to follow every entity of the tenant");
        }
        // Names are asked for even where all are configured: they are those of the other sides, too.
        let discovery = if follow {
            Discovery::Targets
        } else {
            Discovery::Names
        };
        let connect = client_id.zip(client_secret).zip(base_url.clone()).map(
            |((client_id, client_secret), base_url)| {
                let names = targets
                    .iter()
                    .filter_map(|target| Some((target.id.clone(), target.name.clone()?)))
                    .collect();
                Arc::new(Access {
                    client_id,
                    client_secret,
                    follow,
                    names,
                    only: (targets.len() == 1).then(|| targets[0].id.clone()),
                    host: base_url.host_str().unwrap_or_default().to_owned(),
                }) as Arc<dyn Connect>
            },
        );
        let common = Common {
            account: self.account,
            requests_per_minute: self.requests_per_minute,
            interval: self.interval,
            ca_file: self.ca_file,
        };
        check.account(&ZUORA, common, base_url, (targets, discovery), connect)
    }
}

impl EntitySettings {
    fn check(self, check: &mut Checker<'_>) -> Option<Target> {
        let allowed = "expected an entity id: 32 hexadecimal digits, with or without hyphens";
        let id = check.required("id", self.id).and_then(|Text(id)| {
            let id = entity_id(&id);
            if id.is_none() {
                check.problem("id", allowed);
            }
            id
        });
        let expect = check.unique("expect", self.expect, |text| entity_id(text).ok_or(allowed));
        Some(Target {
            id: id?,
            name: self.name.map(|name| name.0),
            expect,
        })
    }
}
