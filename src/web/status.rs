//! The status page: the inventory as one HTML page for people, without external resources.

mod format;
mod lists;
mod view;

use std::sync::LazyLock;

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::inventory::{AccountSnapshot, Inventory};
use crate::metrics::LastReload;
use format::{Bytes, Count, Date, Number};
use lists::{Issue, MAX_ROWS, TokenRow, Truncated, tokens, worries};
use view::{AccountRow, Health, TargetRow, accounts, targets};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const REVISION: &str = env!("BUILD_REVISION");
const STYLE: &str = include_str!("status/page.css");
const SCRIPT: &str = include_str!("status/page.js");

/// The page's `Content-Security-Policy`.
///
/// It allows the page's one style and one script by their hashes. Text that became markup by
/// mistake could neither run nor load anything.
pub(crate) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; \
            base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
});

/// Facts on the page that are not in the inventory.
#[derive(Debug)]
pub struct About {
    /// Path of the metrics page.
    pub telemetry_path: String,
    /// Configuration file; `None` if the configuration comes from no file.
    pub config_file: Option<String>,
}

#[derive(Template)]
#[template(path = "page.html", config = "src/web/status/askama.toml")]
struct StatusPage<'a> {
    about: &'a About,
    now: Date,
    summary: Summary,
    targets: Vec<TargetRow<'a>>,
    accounts: Vec<AccountRow<'a>>,
    tokens: Truncated<TokenRow<'a>>,
    worries: Truncated<Issue<'a>>,
    own: Own<'a>,
}

/// Counts over all targets.
struct Summary {
    targets: usize,
    /// Number of targets in each state that occurs, best state first.
    by_health: Vec<(Health, Number)>,
    /// Accounts whose targets are not discovered yet.
    unknown: usize,
    /// Targets without a listing, or with one that is too old.
    unlisted: usize,
    missing: usize,
    not_connected: usize,
}

/// State of the exporter itself.
struct Own<'a> {
    standby: bool,
    started: Date,
    config_file: Option<format::Name<'a>>,
    reload: LastReload,
    web_config_loaded: bool,
    loaded_at: Date,
    series: Option<Number>,
    /// Size of the last whole metrics page in each encoding.
    bytes: Vec<(&'static str, Bytes)>,
}

/// Renders the page as of now.
///
/// Accounts and targets come from one snapshot of the inventory, which is rendered afterwards.
pub(crate) fn render(inventory: &Inventory, about: &About) -> askama::Result<String> {
    let now = inventory.date();
    let seen = inventory.snapshot();
    StatusPage::new(&seen, inventory, about, now).render()
}

impl<'a> StatusPage<'a> {
    fn new(
        seen: &'a [AccountSnapshot],
        inventory: &Inventory,
        about: &'a About,
        now: Timestamp,
    ) -> Self {
        let targets = targets(seen, now);
        let accounts = accounts(seen, now);
        let worries = worries(&targets);
        Self {
            about,
            now: Date { at: now, now },
            summary: Summary::of(&targets, &accounts, worries.total),
            tokens: tokens(&targets, now),
            worries,
            own: Own::of(inventory, about, now),
            targets,
            accounts,
        }
    }
}

impl Summary {
    /// Counts the rows. `worries` is the number of connections that are missing or not connected.
    fn of(targets: &[TargetRow<'_>], accounts: &[AccountRow<'_>], worries: usize) -> Self {
        let count = |health| targets.iter().filter(|row| row.health == health).count();
        let by_health = Health::ALL
            .into_iter()
            .rev()
            .map(|health| (health, count(health)));
        let tallies = targets.iter().filter_map(|row| row.connections.as_ref());
        let missing = tallies.map(|tally| tally.missing).sum();
        Self {
            targets: targets.len(),
            by_health: by_health
                .filter(|(_, count)| *count > 0)
                .map(|(health, count)| (health, Number(count as u64)))
                .collect(),
            unknown: accounts.iter().filter(|row| row.targets.is_none()).count(),
            unlisted: targets
                .iter()
                .filter(|row| row.connections.is_none())
                .count(),
            missing,
            not_connected: worries - missing,
        }
    }

    fn targets(&self) -> Count {
        Count(self.targets, "target")
    }

    fn unknown(&self) -> Count {
        Count(self.unknown, "account")
    }

    fn unlisted(&self) -> Count {
        Count(self.unlisted, "target")
    }

    fn missing(&self) -> Count {
        Count(self.missing, "expected connection")
    }

    fn not_connected(&self) -> Count {
        Count(self.not_connected, "connection")
    }

    /// Title of the page, which shows the state in a background tab.
    fn title(&self) -> String {
        let up = self
            .by_health
            .iter()
            .find(|(health, _)| *health == Health::Up);
        let up = up.map_or(Number(0), |up| up.1);
        format!("{up} of {} up", Number(self.targets as u64))
    }
}

impl<'a> Own<'a> {
    fn of(inventory: &Inventory, about: &'a About, now: Timestamp) -> Self {
        let own = inventory.exporter_metrics();
        let (series, mut bytes) = own.page();
        let reload = own.last_reload();
        let encodings = [("plain", "identity"), ("gzip", "gzip")];
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it was counted as a u64"
        )]
        let series = series.map(|series| Number(series as u64));
        Self {
            standby: own.is_standby(),
            started: Date {
                at: own.started(),
                now,
            },
            config_file: about.config_file.as_deref().map(format::Name),
            loaded_at: Date {
                at: reload.loaded_at,
                now,
            },
            reload,
            web_config_loaded: own.is_web_config_loaded(),
            series,
            bytes: encodings
                .into_iter()
                .filter_map(|(name, encoding)| Some((name, Bytes(bytes.remove(encoding)?))))
                .collect(),
        }
    }

    /// Whether the configuration in use is still the one read at start.
    fn is_first(&self) -> bool {
        self.reload.loaded_at == self.started.at
    }
}
