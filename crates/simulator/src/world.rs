//! Contents of the simulated APIs: drawn from a seed, with token expiry dates that move with time.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::form::Form;

/// Number of objects of each kind in a simulated world.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Number of Zuora entities. All are provisioned except the fifth.
    pub entities: usize,
    /// Number of Zuora connections, assigned round-robin to the pairs of entities.
    pub entity_connections: usize,
    /// Number of ZIS integrations.
    pub integrations: usize,
    /// Number of connections of each ZIS integration, assigned round-robin to the four types.
    pub integration_connections: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            entities: 5,
            entity_connections: 14,
            integrations: 3,
            integration_connections: 10,
        }
    }
}

/// Contents of both simulated APIs.
#[derive(Debug)]
pub struct World {
    /// The Zuora tenant.
    pub tenant: Tenant,
    /// The ZIS integrations.
    pub integrations: Vec<Integration>,
    /// Marker in the fields with secrets or personal data, and in error messages of faults.
    ///
    /// If a test finds it in any output of the exporter, data has leaked.
    pub planted: String,
    /// Client id and client secret of the ZIS administrator client.
    pub admin: (String, String),
    /// Form of the responses.
    pub form: Form,
}

/// A Zuora tenant.
#[derive(Debug)]
#[expect(missing_docs, reason = "each field is what the vendor calls it")]
pub struct Tenant {
    pub client_id: String,
    pub client_secret: String,
    pub entities: Vec<Entity>,
    pub connections: Vec<Edge>,
    /// Marker in the error message of the fault `refuse`.
    pub planted: String,
    /// Number of entities that a token has access to.
    pub reach: usize,
    /// Lifetime of a token, in seconds.
    pub expires_in: f64,
}

/// An entity of a tenant.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "each field is what the vendor calls it")]
pub struct Entity {
    pub id: String,
    pub name: String,
    pub provisioned: bool,
}

/// A connection between two entities.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "each field is what the vendor calls it")]
pub struct Edge {
    pub id: String,
    pub source: String,
    pub target: String,
    pub status: String,
}

/// A ZIS integration.
#[derive(Debug)]
pub struct Integration {
    /// Name of the integration.
    pub name: String,
    /// Static token that may list the connections of this integration only.
    pub token: String,
    /// Expiry date of that token; `None` if the vendor sends no date.
    pub token_expires_at: Option<Timestamp>,
    /// Connections that the integration stores.
    pub connections: Vec<StoredConnection>,
}

/// A connection that an integration stores.
#[derive(Debug, Clone)]
pub struct StoredConnection {
    /// Name of the connection.
    pub name: String,
    /// Type of the connection: the array of the response that contains it.
    pub kind: &'static str,
    /// Value of `token_expiry`. Only `oauth` connections have that field.
    pub expiry: Expiry,
    /// Whether a refresh token is stored.
    pub refresh_token: bool,
    /// Grant of the OAuth client, with which the tokens are obtained.
    pub grant_type: &'static str,
    /// Creation date.
    pub created: Timestamp,
}

/// The grants of OAuth clients.
pub(super) const GRANTS: [&str; 2] = ["authorization_code", "client_credentials"];

/// Expiry of a stored access token.
#[derive(Debug, Clone)]
pub enum Expiry {
    /// The field is absent.
    Absent,
    /// The field has this value, which is not a date.
    Odd(Value),
    /// The token expires at this date and is not renewed.
    At(Timestamp),
    /// The token expires at this date, and is renewed for this duration.
    ///
    /// The renewal happens five seconds after each expiry, when the token is used.
    Renewed(Timestamp, Duration),
}

/// Time between the expiry of a renewable token and its next use by the simulated flow.
const USED_AFTER: Duration = Duration::from_secs(5);

impl StoredConnection {
    /// Returns an `oauth` connection without an expiry date and without a refresh token.
    #[must_use]
    pub fn new(name: &str, created: Timestamp) -> Self {
        Self {
            name: name.to_owned(),
            kind: "oauth",
            expiry: Expiry::Absent,
            refresh_token: false,
            grant_type: GRANTS[0],
            created,
        }
    }

    /// Returns the JSON value of `token_expiry` at `now`; `None` if the field is absent.
    #[must_use]
    pub fn token_expiry(&self, now: Timestamp) -> Option<Value> {
        match &self.expiry {
            Expiry::Absent => None,
            Expiry::Odd(value) => Some(value.clone()),
            Expiry::At(date) => Some(json!(date.to_string())),
            Expiry::Renewed(date, life) => {
                let over = now.duration_since(*date + USED_AFTER);
                let lifetime = if over.is_negative() {
                    0
                } else {
                    over.as_secs() / life.as_secs().cast_signed() + 1
                };
                let date =
                    *date + SignedDuration::from_secs(lifetime * life.as_secs().cast_signed());
                Some(json!(date.to_string()))
            }
        }
    }
}

const ENTITY_NAMES: [&str; 6] = ["Global", "Germany", "Japan", "Brazil", "Canada", "France"];
const INTEGRATION_NAMES: [&str; 5] = [
    "acme_slack",
    "acme_shopify",
    "acme_billing",
    "acme_crm",
    "acme_survey",
];
const STATUSES: [&str; 7] = [
    "Connected",
    "Connected",
    "Connected",
    "Pending",
    "Connected",
    "Disconnected",
    "Connected",
];
const KINDS: [&str; 5] = ["oauth", "api_key", "oauth", "basic_auth", "bearer_token"];

impl World {
    /// Returns the names of the integrations, then the ids of the entities.
    pub(super) fn targets(&self) -> impl Iterator<Item = &str> {
        let integrations = self.integrations.iter();
        let entities = self.tenant.entities.iter();
        let integrations = integrations.map(|integration| integration.name.as_str());
        integrations.chain(entities.map(|entity| entity.id.as_str()))
    }

    /// Generates a world from a seed. Its dates are relative to `now`.
    #[must_use]
    pub fn new(sizes: Sizes, seed: u64, now: Timestamp) -> Self {
        let mut rng = Rng::with_seed(seed);
        // The vendors send these dates in whole seconds.
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let entities: Vec<_> = (0..sizes.entities)
            .map(|n| Entity {
                id: hex(&mut rng, 32),
                name: named(&ENTITY_NAMES, n),
                provisioned: n != 4,
            })
            .collect();
        let pairs: Vec<_> = (0..entities.len())
            .flat_map(|a| {
                (0..entities.len())
                    .filter(move |b| *b != a)
                    .map(move |b| (a, b))
            })
            .collect();
        let connections = (0..sizes.entity_connections)
            .zip(pairs.iter().cycle())
            .map(|(n, (source, target))| Edge {
                id: hex(&mut rng, 32),
                source: entities[*source].id.clone(),
                target: entities[*target].id.clone(),
                status: STATUSES[n % STATUSES.len()].to_owned(),
            })
            .collect();
        let integrations = (0..sizes.integrations)
            .map(|n| Integration {
                name: named(&INTEGRATION_NAMES, n),
                token: hex(&mut rng, 64),
                token_expires_at: None,
                connections: (0..sizes.integration_connections)
                    .map(|n| stored(&mut rng, n, now))
                    .collect(),
            })
            .collect();
        let planted = format!("planted{}", hex(&mut rng, 32));
        let client_id = hex(&mut rng, 36);
        let tenant = Tenant {
            client_id,
            client_secret: hex(&mut rng, 40),
            entities,
            connections,
            planted: planted.clone(),
            reach: usize::MAX,
            expires_in: 3599.0,
        };
        let admin = ("connections_exporter".to_owned(), hex(&mut rng, 40));
        Self {
            tenant,
            integrations,
            planted,
            admin,
            form: Form::default(),
        }
    }

    /// Replaces the first `tokens` connections of each integration by OAuth connections.
    ///
    /// Their tokens expire in 30 days. The other connections become API keys, which have no expiry.
    /// It is for benchmarks: the cost of a page depends on the number of tokens that it counts
    /// down.
    pub fn deal_tokens(&mut self, tokens: usize, now: Timestamp) {
        // The vendors send these dates in whole seconds.
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let expiry = Expiry::At(now + Duration::from_hours(24 * 30));
        for integration in &mut self.integrations {
            for (n, stored) in integration.connections.iter_mut().enumerate() {
                let kind = if n < tokens { "oauth" } else { "api_key" };
                *stored = StoredConnection {
                    name: format!("{kind}_{n}"),
                    kind,
                    expiry: expiry.clone(),
                    refresh_token: true,
                    grant_type: GRANTS[0],
                    created: stored.created,
                };
            }
        }
    }

    /// Returns the contents as JSON, without the secrets.
    pub(super) fn describe(&self, now: Timestamp) -> Value {
        let entity = |entity: &Entity| json!({"id": entity.id, "name": entity.name, "provisioned": entity.provisioned});
        let edge = |edge: &Edge| json!({"id": edge.id, "source": edge.source, "target": edge.target, "status": edge.status});
        let stored = |stored: &StoredConnection| json!({"name": stored.name, "type": stored.kind, "token_expiry": stored.token_expiry(now), "refresh_token": stored.refresh_token, "grant_type": stored.grant_type});
        let integration = |integration: &Integration| json!({"name": integration.name, "connections": integration.connections.iter().map(stored).collect::<Vec<_>>()});
        json!({
            "entities": self.tenant.entities.iter().map(entity).collect::<Vec<_>>(),
            "entity_connections": self.tenant.connections.iter().map(edge).collect::<Vec<_>>(),
            "integrations": self.integrations.iter().map(integration).collect::<Vec<_>>(),
        })
    }

    /// Returns a configuration that polls this world, and the environment with its secrets.
    pub(super) fn configuration(
        &self,
        address: SocketAddr,
        poll: &str,
    ) -> (String, BTreeMap<String, String>) {
        let mut text = format!("poll:\n{poll}");
        let mut env = BTreeMap::new();
        if !self.tenant.entities.is_empty() {
            let _ = write!(
                text,
                "zuora:\n  - account: production\n    base_url: http://{address}\n    client_id: \
                    {}\n    client_secret_env: ZUORA_SECRET\n    requests_per_minute: 60000\n",
                self.tenant.client_id
            );
            env.insert("ZUORA_SECRET".to_owned(), self.tenant.client_secret.clone());
        }
        if !self.integrations.is_empty() {
            let _ = write!(
                text,
                "zis:\n  - account: acme\n    base_url: http://{address}\n    requests_per_minute: \
                    60000\n    integrations:\n"
            );
        }
        for (n, integration) in self.integrations.iter().enumerate() {
            let _ = write!(
                text,
                "      - name: {}\n        token_env: ZIS_TOKEN_{n}\n",
                integration.name
            );
            // The first integration expects a connection that exists and one that does not.
            if n == 0
                && let Some(stored) = integration.connections.first()
                && is_word(&stored.name)
            {
                let _ = writeln!(text, "        expect: [{}, zendesk]", stored.name);
            }
            env.insert(format!("ZIS_TOKEN_{n}"), integration.token.clone());
        }
        (text, env)
    }
}

/// Returns whether a text needs no quotes in YAML. Some tests use names that need them.
fn is_word(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.bytes().all(word)
}

/// Returns connection number `n`. Successive connections cycle through all kinds of expiry.
fn stored(rng: &mut Rng, n: usize, now: Timestamp) -> StoredConnection {
    let kind = KINDS[n % KINDS.len()];
    let after = |seconds: u64| now + Duration::from_secs(seconds);
    let whole_days = |days: u64| Duration::from_hours(24 * days);
    let (name, expiry, refresh_token) = match (kind, n / 5 * 2 + usize::from(n % 5 == 2)) {
        // Here `n` numbers the `oauth` connections only.
        ("oauth", n) => match n % 8 {
            0 => (
                "slack",
                Expiry::Renewed(after(20), Duration::from_mins(1)),
                true,
            ),
            1 => ("shopify", Expiry::At(after(90)), false),
            2 => (
                "warehouse",
                Expiry::Renewed(after(40), Duration::from_mins(2)),
                false,
            ),
            3 => ("calendar", Expiry::At(after(12 * 3600)), false),
            4 => ("survey", Expiry::At(now + whole_days(30)), true),
            5 => ("legacy", Expiry::Odd(json!("0001-01-01T00:00:00Z")), false),
            6 => ("forever", Expiry::Absent, false),
            _ => (
                "unset",
                Expiry::Odd([json!(null), json!("")][rng.usize(..2)].clone()),
                false,
            ),
        },
        ("api_key", _) => ("search", Expiry::Absent, false),
        ("basic_auth", _) => ("erp", Expiry::Absent, false),
        _ => ("status_page", Expiry::Absent, false),
    };
    let name = if n < KINDS.len() {
        name.to_owned()
    } else {
        format!("{name}_{n}")
    };
    // Without a refresh token, only client_credentials renews a token.
    let renewed = matches!(expiry, Expiry::Renewed(..));
    let grant_type = GRANTS[usize::from(renewed && !refresh_token)];
    let created = now - Duration::from_secs(rng.u64(86_400..40_000_000));
    StoredConnection {
        name,
        kind,
        expiry,
        refresh_token,
        grant_type,
        created,
    }
}

fn named(names: &[&str], n: usize) -> String {
    names.get(n).map_or_else(
        || format!("{}_{n}", names[n % names.len()]),
        |name| (*name).to_owned(),
    )
}

fn hex(rng: &mut Rng, digits: usize) -> String {
    (0..digits).map(|_| rng.digit(16)).collect()
}
