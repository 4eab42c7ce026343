//! Configuration of a subdomain.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

use super::admin::AdminClient;
use super::{Tokens, ZIS, ZisConnector};
use crate::settings::{
    BaseUrl, Each, EnvName, FileName, Period, Rate, Secret, Text, Validator, base_url, entries,
    given, given_list, text_or,
};
use crate::vendors::account::{
    AccountConfig, CommonSettings, DiscoveryMode, PollConfig, TargetConfig,
};
use crate::vendors::{AccountSettings, System};

#[cfg(test)]
use crate::settings::schema::exactly_one;
#[cfg(test)]
mod schema;

/// A subdomain of Zendesk's.
#[derive(Debug, Deserialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(
        rename = "ZisAccount",
        deny_unknown_fields,
        transform = exactly_one(&["subdomain", "base_url"]),
        transform = schema::tokens_or_admin_client
    )
)]
pub struct ZisAccount {
    /// The `account` label; unique within zis.
    #[cfg_attr(test, schemars(required, !default))]
    #[serde(default, deserialize_with = "given")]
    account: Option<Text>,
    /// Part of the host name before `.zendesk.com`: a-z, 0-9 and -, not beginning with -.
    #[cfg_attr(test, schemars(extend("pattern" = "^[a-z0-9][a-z0-9-]*$")))]
    #[serde(default, deserialize_with = "given")]
    subdomain: Option<Text>,
    /// URL of a gateway in front of Zendesk, instead of the subdomain: https:// (http:// for
    /// loopback only), without a path.
    #[serde(default, deserialize_with = "given")]
    base_url: Option<BaseUrl>,
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
    /// Confidential OAuth client of an administrator, instead of a token for each integration. The
    /// exporter creates and renews the tokens.
    #[serde(default, deserialize_with = "given")]
    admin_client: Option<AdminClientSettings>,
    /// Integrations to poll. With an `admin_client` an entry can be just a name, and `all` polls
    /// every integration in the registry.
    #[cfg_attr(test, schemars(required, !default))]
    #[serde(default, deserialize_with = "given")]
    integrations: Option<Integrations>,
}

/// A confidential OAuth client of an administrator's.
#[derive(Debug, Deserialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(
        rename = "ZisAdminClient",
        deny_unknown_fields,
        transform = exactly_one(&["client_id", "client_id_file", "client_id_env"]),
        transform = exactly_one(&["client_secret_file", "client_secret_env"])
    )
)]
struct AdminClientSettings {
    /// Unique identifier of the client. It is not a secret.
    #[serde(default, deserialize_with = "given")]
    client_id: Option<Text>,
    /// File with the client's identifier.
    #[serde(default, deserialize_with = "given")]
    client_id_file: Option<FileName>,
    /// Environment variable with the client's identifier.
    #[serde(default, deserialize_with = "given")]
    client_id_env: Option<EnvName>,
    /// File with the client's secret. It is read at each use.
    #[serde(default, deserialize_with = "given")]
    client_secret_file: Option<FileName>,
    /// Environment variable with the client's secret.
    #[serde(default, deserialize_with = "given")]
    client_secret_env: Option<EnvName>,
    /// Scope of the tokens.
    #[cfg_attr(test, schemars(extend("default" = DEFAULT_SCOPE)))]
    #[serde(default, deserialize_with = "given")]
    scope: Option<Text>,
}

/// Scope of the tokens, unless configured; whether less is enough is unknown.
const DEFAULT_SCOPE: &str = "read write";

#[derive(Debug)]
enum Integrations {
    /// All integrations in the registry.
    All,
    Listed(Vec<Option<IntegrationSettings>>),
}

#[derive(Debug)]
struct IntegrationSettings(Keys);

/// An integration to poll.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(rename = "ZisIntegration", deny_unknown_fields)
)]
struct Keys {
    /// Name of the integration in Zendesk, and the `target` label: 1 to 64 of a-z, 0-9, _ and -.
    #[cfg_attr(test, schemars(required, !default, extend("pattern" = schema::INTEGRATION)))]
    #[serde(default, deserialize_with = "given")]
    name: Option<Text>,
    /// File with a ZIS OAuth access token of this integration. It is read at each use. Give this or
    /// `token_env`, or neither with an `admin_client`.
    #[serde(default, deserialize_with = "given")]
    token_file: Option<FileName>,
    /// Environment variable with the token.
    #[serde(default, deserialize_with = "given")]
    token_env: Option<EnvName>,
    /// Names of connections that must exist.
    #[cfg_attr(test, schemars(with = "Option<Vec<Text>>", extend("uniqueItems" = true)))]
    #[serde(default, deserialize_with = "given_list")]
    expect: Option<Vec<Option<Text>>>,
}

impl AccountSettings for ZisAccount {
    const SYSTEM: &'static System = &ZIS;

    fn check(self, check: &mut Validator<'_>, poll: &PollConfig) -> Option<AccountConfig> {
        let base_url = match (self.subdomain, self.base_url) {
            (Some(Text(subdomain)), None) if is_subdomain(&subdomain) => {
                base_url(&format!("https://{subdomain}.zendesk.com")).ok()
            }
            (Some(_), None) => {
                let allowed =
                    "expected the part before .zendesk.com: a-z, 0-9 and -, not beginning with -";
                check.problem("subdomain", allowed);
                None
            }
            (None, Some(BaseUrl(url))) => Some(url),
            (Some(_), Some(_)) => {
                check.problem("subdomain", "give subdomain or base_url, not both");
                None
            }
            (None, None) => {
                check.missing(&["subdomain", "base_url"], ": give subdomain or base_url");
                None
            }
        };
        let has_admin = self.admin_client.is_some();
        let admin = self
            .admin_client
            .and_then(|admin| admin.check(&mut check.at("admin_client")));
        let (targets, tokens, discovery) = match self.integrations {
            Some(Integrations::All) if !has_admin => {
                check.problem(
                    "integrations",
                    "all needs an admin_client, which may read the list of them",
                );
                (Vec::new(), BTreeMap::new(), DiscoveryMode::Targets)
            }
            Some(Integrations::All) => (Vec::new(), BTreeMap::new(), DiscoveryMode::Targets),
            Some(Integrations::Listed(list)) => {
                let (targets, tokens) = listed(list, has_admin, check);
                (targets, tokens, DiscoveryMode::Never)
            }
            None => {
                check.missing(
                    &["integrations"],
                    ": list them, or say all, with an admin_client",
                );
                (Vec::new(), BTreeMap::new(), DiscoveryMode::Never)
            }
        };
        let tokens = if has_admin {
            admin.map(Tokens::Minted)
        } else {
            Some(Tokens::Stored(tokens))
        };
        let common = CommonSettings {
            account: self.account,
            requests_per_minute: self.requests_per_minute,
            interval: self.interval,
            ca_file: self.ca_file,
        };
        let connect = tokens.map(|tokens| {
            Arc::new(ZisConnector {
                tokens,
                targets: targets.len().max(1),
            }) as _
        });
        common.account(check, poll, &ZIS, base_url, (targets, discovery), connect)
    }
}

impl AdminClientSettings {
    fn check(self, check: &mut Validator<'_>) -> Option<AdminClient> {
        let id = check.client_id(self.client_id, self.client_id_file, self.client_id_env);
        let secret = check.secret(
            "client_secret",
            self.client_secret_file,
            self.client_secret_env,
        );
        let scope = self
            .scope
            .map_or_else(|| DEFAULT_SCOPE.to_owned(), |scope| scope.0);
        Some(AdminClient {
            id: id?,
            secret: secret?,
            scope,
        })
    }
}

fn listed(
    list: Vec<Option<IntegrationSettings>>,
    has_admin: bool,
    check: &mut Validator<'_>,
) -> (Vec<TargetConfig>, BTreeMap<String, Secret>) {
    let mut targets = Vec::new();
    let (mut names, mut tokens) = (BTreeSet::new(), BTreeMap::new());
    if list.is_empty() {
        check.problem("integrations", "is empty: name at least one");
    }
    for (index, integration) in list.into_iter().enumerate() {
        let mut here = check.at(format!("integrations[{index}]"));
        let checked = here
            .entry(integration)
            .and_then(|integration| integration.0.check(has_admin, &mut here));
        let Some((target, token)) = checked else {
            continue;
        };
        if !names.insert(target.id.clone()) {
            here.problem(
                "name",
                "is the name of an earlier integration: each is polled once",
            );
        }
        tokens.extend(token.map(|token| (target.id.clone(), token)));
        targets.push(target);
    }
    (targets, tokens)
}

impl Keys {
    fn check(
        self,
        has_admin: bool,
        check: &mut Validator<'_>,
    ) -> Option<(TargetConfig, Option<Secret>)> {
        let token = match (has_admin, &self.token_file, &self.token_env) {
            (true, None, None) => None,
            (true, ..) => {
                check.problem(
                    "token",
                    "give a token here or an admin_client for all, not both",
                );
                None
            }
            (false, ..) => check.secret("token", self.token_file, self.token_env),
        };
        let expect = check.unique("expect", self.expect, |text| Ok(text.to_owned()));
        let Text(name) = check.required("name", self.name)?;
        if !is_integration(&name) {
            check.problem(
                "name",
                "expected the name of an integration: 1 to 64 of a-z, 0-9, _ and -",
            );
        }
        Some((
            TargetConfig {
                id: name,
                name: None,
                expect,
            },
            token,
        ))
    }
}

/// Returns whether a text is a subdomain.
///
/// Anything else, such as `evil.test/`, would send the bearer token to another host.
fn is_subdomain(text: &str) -> bool {
    let plain = text
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    plain && !text.is_empty() && !text.starts_with('-')
}

/// Returns whether a text is the name of an integration (Zendesk's reference).
///
/// Nothing else is put into a path.
pub(super) fn is_integration(name: &str) -> bool {
    let plain = name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'));
    plain && (1..=64).contains(&name.len())
}

impl<'de> Deserialize<'de> for Integrations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AllOrList;
        impl<'de> Visitor<'de> for AllOrList {
            type Value = Integrations;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("all, or a list of integrations")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Integrations, E> {
                if text == "all" {
                    Ok(Integrations::All)
                } else {
                    Err(E::invalid_type(de::Unexpected::Other("text"), &self))
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Integrations, A::Error> {
                let list = Vec::<Each<_>>::deserialize(SeqAccessDeserializer::new(list))?;
                Ok(Integrations::Listed(entries(list)))
            }
        }
        deserializer.deserialize_any(AllOrList)
    }
}

impl<'de> Deserialize<'de> for IntegrationSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "the name of an integration, or a mapping of keys to values";
        let named = |name| Keys {
            name: Some(Text(name)),
            ..Keys::default()
        };
        text_or(deserializer, expected, named).map(Self)
    }
}
