//! The status page: the inventory as HTML for people, without external resources.
//!
//! `page.html` shows all targets, `target.html` shows one.

mod accounts;
mod detail;
mod format;
mod health;
mod issues;
mod natural;
mod poll_bars;
mod problems;
mod runbooks;
mod targets;
mod tokens;

use std::sync::LazyLock;

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::inventory::{AccountSnapshot, Inventory};
use crate::metrics::LastReload;
use accounts::{AccountRow, accounts};
pub(crate) use detail::{render_target, render_unknown_target};
use format::{Bytes, Count, Date, Number};
use health::{Health, StateFilter, TargetFilter};
use issues::{Issues, MAX_ROWS, Truncated, issues};
use problems::{OwnProblem, Problem, VISIBLE_PROBLEMS, own_problems, problems};
use targets::{AccountTargets, TargetRow, targets};
use tokens::{Timeline, TokenRow, tokens};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const REVISION: &str = env!("BUILD_REVISION");
const STYLE: &str = include_str!("status/page.css");
const SCRIPT: &str = include_str!("status/page.js");

/// Number of rows up to which a list is shown open.
const FEW_ROWS: usize = 12;

/// The `Content-Security-Policy` of both pages.
///
/// It allows their one style and one script by their hashes. Text that became markup by
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
    filter: TargetFilter,
    groups: Vec<AccountTargets<'a>>,
    accounts: Vec<AccountRow<'a>>,
    problems: Truncated<Problem<'a>>,
    issues: Issues<'a>,
    tokens: Truncated<TokenRow<'a>>,
    timeline: Timeline,
    own: Own<'a>,
    own_problems: Vec<OwnProblem>,
}

/// Counts over all targets.
struct Summary {
    targets: usize,
    /// Number of targets in each state, worst state first.
    by_health: Vec<(Health, usize)>,
    /// Accounts whose targets are not discovered yet.
    unknown: usize,
    /// Targets without a listing, or with one that is too old.
    unlisted: usize,
}

/// Number of targets in one state, which sets the filter.
struct Tile {
    health: Health,
    count: Number,
    /// Whether the filter selects this state only.
    current: bool,
}

impl Tile {
    fn is_empty(&self) -> bool {
        self.count.0 == 0
    }
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

/// Renders the page as of now. The query selects the targets that are visible at first.
///
/// Accounts and targets come from one snapshot of the inventory, which is rendered afterwards.
pub(crate) fn render(inventory: &Inventory, about: &About, query: &str) -> askama::Result<String> {
    let now = inventory.date();
    let seen = inventory.snapshot();
    StatusPage::new(&seen, inventory, about, TargetFilter::parse(query), now).render()
}

impl<'a> StatusPage<'a> {
    fn new(
        seen: &'a [AccountSnapshot],
        inventory: &Inventory,
        about: &'a About,
        filter: TargetFilter,
        now: Timestamp,
    ) -> Self {
        let groups = targets(seen, now, &filter);
        let accounts = accounts(seen, now);
        let rows = || groups.iter().flat_map(|group| &group.rows);
        let (tokens, timeline) = tokens(rows(), now);
        let own = Own::of(inventory, about, now);
        Self {
            about,
            now: Date { at: now, now },
            summary: Summary::of(rows(), &accounts),
            filter,
            problems: problems(&groups, &accounts),
            issues: issues(rows(), now),
            tokens,
            timeline,
            own_problems: own_problems(own.reload.successful, own.web_config_loaded),
            own,
            groups,
            accounts,
        }
    }

    /// Tiles of the states: failing, stale and up always, the others if they occur.
    fn tiles(&self) -> Vec<Tile> {
        let states = self.summary.by_health.iter();
        let shown = states
            .filter(|(health, count)| *count > 0 || health.is_problem() || *health == Health::Up);
        shown
            .map(|(health, count)| Tile {
                health: *health,
                count: Number(*count as u64),
                current: self.filter.state == StateFilter::Only(*health),
            })
            .collect()
    }

    fn first_problems(&self) -> &[Problem<'a>] {
        let rows = &self.problems.rows;
        &rows[..rows.len().min(VISIBLE_PROBLEMS)]
    }

    fn more_problems(&self) -> &[Problem<'a>] {
        &self.problems.rows[self.first_problems().len()..]
    }

    /// Whether the page shows no problem.
    fn is_calm(&self) -> bool {
        let total = self.problems.total + self.issues.list.total + self.own_problems.len();
        total + self.summary.unknown + self.summary.unlisted == 0 && !self.own.standby
    }

    /// Whether nothing is known of some connections.
    fn is_partial(&self) -> bool {
        self.own.standby || self.summary.unlisted + self.summary.unknown > 0
    }

    /// Whether the filter hides all targets.
    fn selects_none(&self) -> bool {
        !self.groups.iter().any(|group| group.selected)
    }

    /// Whether a target's listing comes from the state directory.
    fn has_restored(&self) -> bool {
        self.summary.of_health(Health::Restored) > 0
    }
}

impl Summary {
    /// Counts the rows.
    fn of<'a: 'b, 'b>(
        rows: impl Iterator<Item = &'b TargetRow<'a>>,
        accounts: &[AccountRow<'_>],
    ) -> Self {
        let (mut by_health, mut unlisted) = (Health::ALL.map(|health| (health, 0)), 0);
        for row in rows {
            by_health[row.health.rank()].1 += 1;
            unlisted += usize::from(row.connections.is_none());
        }
        Self {
            targets: by_health.iter().map(|(_, count)| count).sum(),
            by_health: by_health.to_vec(),
            unknown: accounts.iter().filter(|row| row.targets.is_none()).count(),
            unlisted,
        }
    }

    fn of_health(&self, health: Health) -> usize {
        self.by_health[health.rank()].1
    }

    fn targets(&self) -> Number {
        Number(self.targets as u64)
    }

    fn unknown(&self) -> Count {
        Count(self.unknown, "account")
    }

    fn unlisted(&self) -> Count {
        Count(self.unlisted, "target")
    }

    /// Title of the page, which shows the state in a background tab.
    fn title(&self) -> String {
        let up = Number(self.of_health(Health::Up) as u64);
        format!("{up} of {} up", self.targets())
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
