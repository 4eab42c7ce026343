//! What the configuration says of a subdomain.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::{Access, ZIS};
use crate::config::{
    Account, BaseUrl, Checker, Common, Discovery, EnvName, FileName, Period, Rate, Secret, Target,
    Text, base_url,
};
use crate::upstream::{Settings, System};

/// An account under `zis:` in the configuration.
#[derive(Debug, Deserialize)]
pub struct AccountSettings {
    account: Option<Text>,
    subdomain: Option<Text>,
    base_url: Option<BaseUrl>,
    requests_per_minute: Option<Rate>,
    interval: Option<Period>,
    ca_file: Option<FileName>,
    integrations: Option<Vec<Option<IntegrationSettings>>>,
}

#[derive(Debug, Deserialize)]
struct IntegrationSettings {
    name: Option<Text>,
    token_file: Option<FileName>,
    token_env: Option<EnvName>,
    expect: Option<Vec<Option<Text>>>,
}

impl Settings for AccountSettings {
    const SYSTEM: &'static System = &ZIS;

    fn check(self, check: &mut Checker<'_>) -> Option<Account> {
        let base_url = match (self.subdomain, self.base_url) {
            (Some(Text(subdomain)), None) if is_subdomain(&subdomain) => {
                base_url(&format!("https://{subdomain}.zendesk.com")).ok()
            }
            (Some(_), None) => {
                check.problem(
                    "subdomain",
                    "expected the part before .zendesk.com: a-z, 0-9 and -, not beginning with -",
                );
                None
            }
            (None, Some(BaseUrl(url))) => Some(url),
            (Some(_), Some(_)) => {
                check.problem("subdomain", "give subdomain or base_url, not both");
                None
            }
            (None, None) => check.required("subdomain", None),
        };
        let mut targets: Vec<Target> = Vec::new();
        let mut tokens = BTreeMap::new();
        let listed = check.required("integrations", self.integrations);
        let none = listed.as_ref().is_some_and(Vec::is_empty);
        for (index, integration) in listed.unwrap_or_default().into_iter().enumerate() {
            let mut here = check.at(format!("integrations[{index}]"));
            let checked = here
                .entry(integration)
                .and_then(|integration| integration.check(&mut here));
            let Some((target, token)) = checked else {
                continue;
            };
            if tokens.insert(target.id.clone(), token).is_some() {
                here.problem(
                    "name",
                    "is the name of an earlier integration: each is polled once",
                );
            }
            targets.push(target);
        }
        if none {
            check.problem("integrations", "is empty: name at least one");
        }
        let common = Common {
            account: self.account,
            requests_per_minute: self.requests_per_minute,
            interval: self.interval,
            ca_file: self.ca_file,
        };
        check.account(
            &ZIS,
            common,
            base_url,
            (targets, Discovery::Never),
            Some(Arc::new(Access { tokens })),
        )
    }
}

impl IntegrationSettings {
    fn check(self, check: &mut Checker<'_>) -> Option<(Target, Secret)> {
        let token = check.secret("token", self.token_file, self.token_env);
        let expect = check.unique("expect", self.expect, |text| Ok(text.to_owned()));
        let Text(name) = check.required("name", self.name)?;
        if !is_integration(&name) {
            check.problem(
                "name",
                "expected the name of an integration: 1 to 64 of a-z, 0-9, _ and -",
            );
        }
        Some((
            Target {
                id: name,
                name: None,
                expect,
            },
            token?,
        ))
    }
}

/// Anything else, such as `evil.test/`, would send the bearer to another host.
fn is_subdomain(text: &str) -> bool {
    let plain = text
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    plain && !text.is_empty() && !text.starts_with('-')
}

fn is_integration(name: &str) -> bool {
    let plain = name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'));
    plain && (1..=64).contains(&name.len())
}
