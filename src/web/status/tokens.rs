//! Stored tokens that expire: the nearest ones, and a timeline of the next 30 days.

use std::fmt;

use jiff::Timestamp;

use super::format::{Date, Name, Number};
use super::issues::{MAX_ROWS, Truncated};
use super::targets::{TargetPath, TargetRow};
use crate::model::history::ConnectionHistory;
use crate::model::listing::{GrantType, Row};

/// Number of days on the timeline.
const DAYS: usize = 30;

/// Stored token that expires.
#[derive(Debug)]
pub(super) struct TokenRow<'a> {
    pub(super) expires: Date,
    pub(super) connection: Name<'a>,
    pub(super) kind: &'static str,
    pub(super) place: TargetPath<'a>,
    pub(super) renews: Renews,
}

impl TokenRow<'_> {
    /// Whether the token expired or expires within a day, and no renewal is in sight.
    pub(super) fn is_ending(&self) -> bool {
        let day = self.expires.now + jiff::SignedDuration::from_hours(24);
        self.renews == Renews::NotSeen && self.expires.at < day
    }
}

/// Evidence that a token is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renews {
    /// The expiry moved forward this many times since the process started.
    Seen(u64),
    /// The expiry moved forward before the process started.
    SeenBefore,
    /// A refresh token is stored with the token.
    Stored,
    /// The grant needs no refresh token.
    ClientCredentials,
    /// None of these.
    NotSeen,
}

impl Renews {
    pub(super) fn of(connection: Row<'_>, history: &ConnectionHistory) -> Self {
        match (history.renewals, connection.renewable) {
            (1.., _) => Self::Seen(history.renewals),
            _ if history.renewal.is_some() => Self::SeenBefore,
            (0, Some(true)) => Self::Stored,
            _ if connection.grant_type == Some(GrantType::ClientCredentials) => {
                Self::ClientCredentials
            }
            (0, _) => Self::NotSeen,
        }
    }
}

impl fmt::Display for Renews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seen(1) => f.write_str("yes, seen once"),
            Self::Seen(times) => write!(f, "yes, seen {times} times"),
            Self::SeenBefore => f.write_str("yes, seen before the last start"),
            Self::Stored => f.write_str("when used: a refresh token is stored"),
            Self::ClientCredentials => f.write_str("when used: client_credentials"),
            Self::NotSeen => f.write_str("not seen, and no refresh token is stored"),
        }
    }
}

/// Number of tokens that expire in a period.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TokenTally {
    pub(super) total: usize,
    /// Number of those that nothing is known to renew.
    pub(super) unrenewed: usize,
}

/// Number of tokens that expire on each of the next 30 days, in UTC.
#[derive(Debug)]
pub(super) struct Timeline {
    now: Timestamp,
    days: [TokenTally; DAYS],
    pub(super) expired: TokenTally,
    pub(super) later: TokenTally,
}

/// One day of the timeline, with its bar.
#[derive(Debug)]
pub(super) struct TimelineDay {
    pub(super) date: String,
    /// Whether the axis has a label at this day.
    pub(super) labelled: bool,
    pub(super) count: TokenTally,
    /// Left edge and middle of the bar, in percent of the width.
    pub(super) left: String,
    pub(super) middle: String,
    /// Height of the bar, and of its part that nothing renews, in pixels.
    pub(super) height: usize,
    pub(super) unrenewed_height: usize,
}

impl TimelineDay {
    /// Y coordinate of the top of the bar.
    pub(super) fn top(&self) -> usize {
        Timeline::BASE - self.height
    }

    /// Y coordinate of the top of the part that nothing renews.
    pub(super) fn unrenewed_top(&self) -> usize {
        Timeline::BASE - self.unrenewed_height
    }

    /// Y coordinate of the number above the bar.
    pub(super) fn number(&self) -> usize {
        Timeline::BASE - self.height - 4
    }
}

impl Timeline {
    /// Y coordinate of the axis, and height of the highest bar, in pixels.
    pub(super) const BASE: usize = 92;
    const HIGHEST: usize = 72;

    fn new(now: Timestamp) -> Self {
        Self {
            now,
            days: <_>::default(),
            expired: TokenTally::default(),
            later: TokenTally::default(),
        }
    }

    fn count(&mut self, at: Timestamp, renews: Renews) {
        let day = |at: Timestamp| at.as_second().div_euclid(86_400);
        let index = usize::try_from(day(at) - day(self.now)).unwrap_or(0);
        let count = match self.days.get_mut(index) {
            _ if at <= self.now => &mut self.expired,
            Some(day) => day,
            None => &mut self.later,
        };
        count.total += 1;
        count.unrenewed += usize::from(renews == Renews::NotSeen);
    }

    /// Number of tokens that expire within the days shown.
    pub(super) fn within(&self) -> TokenTally {
        let sum = |of: fn(&TokenTally) -> usize| self.days.iter().map(of).sum();
        TokenTally {
            total: sum(|day| day.total),
            unrenewed: sum(|day| day.unrenewed),
        }
    }

    /// Number of tokens that expire within the days shown.
    pub(super) fn expiring(&self) -> Number {
        Number(self.within().total as u64)
    }

    pub(super) fn days(&self) -> impl Iterator<Item = TimelineDay> {
        let most = self.days.iter().map(|day| day.total).max().unwrap_or(0);
        // A bar that is not empty can be seen.
        let height = move |count: usize| match count {
            0 => 0,
            _ => (count * Self::HIGHEST / most.max(1)).max(3),
        };
        let percent = |steps: usize| {
            let thousandths = steps * 100_000 / (2 * DAYS);
            format!("{}.{:03}%", thousandths / 1000, thousandths % 1000)
        };
        self.days.iter().enumerate().map(move |(index, count)| {
            let ahead = i64::try_from(index).unwrap_or_default();
            let date = self.now + jiff::SignedDuration::from_hours(24 * ahead);
            TimelineDay {
                date: date.strftime("%-d %b").to_string(),
                labelled: index.is_multiple_of(5),
                count: *count,
                left: percent(2 * index),
                middle: percent(2 * index + 1),
                height: height(count.total),
                unrenewed_height: height(count.unrenewed),
            }
        })
    }
}

/// Returns the tokens whose expiry, past or future, is nearest to now, in order of expiry, and the
/// timeline of all tokens.
pub(super) fn tokens<'a: 'b, 'b>(
    targets: impl Iterator<Item = &'b TargetRow<'a>>,
    now: Timestamp,
) -> (Truncated<TokenRow<'a>>, Timeline) {
    let mut timeline = Timeline::new(now);
    let mut all = Vec::new();
    for row in targets {
        let Some(last) = row.last_listing else {
            continue;
        };
        for (connection, history) in last.listing.connections().zip(&last.history.connections) {
            if let Some(at) = connection.expiry {
                let renews = Renews::of(connection, history);
                timeline.count(at, renews);
                all.push((at, connection.id, connection.kind, renews, row.place));
            }
        }
    }
    let total = all.len();
    if total > MAX_ROWS {
        all.select_nth_unstable_by_key(MAX_ROWS, |token| token.0.duration_since(now).abs());
        all.truncate(MAX_ROWS);
    }
    all.sort_by_key(|token| token.0);
    let row = |(at, id, kind, renews, place)| TokenRow {
        expires: Date { at, now },
        connection: Name(id),
        kind,
        place,
        renews,
    };
    let rows = all.into_iter().map(row).collect();
    (Truncated { rows, total }, timeline)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_on_the_day_of_its_expiry() {
        let now: Timestamp = "2026-01-30T23:00:00Z".parse().unwrap();
        let mut timeline = Timeline::new(now);
        for (at, renews) in [
            ("2026-01-30T22:59:59Z", Renews::NotSeen),
            ("2026-01-30T23:59:59Z", Renews::Stored),
            ("2026-01-31T00:00:00Z", Renews::NotSeen),
            ("2026-01-31T12:00:00Z", Renews::Stored),
            ("2026-02-28T23:59:59Z", Renews::Stored),
            ("2026-03-01T00:00:00Z", Renews::Stored),
        ] {
            timeline.count(at.parse().unwrap(), renews);
        }
        let tally = |total, unrenewed| TokenTally { total, unrenewed };
        assert_eq!(timeline.expired, tally(1, 1));
        assert_eq!(timeline.later, tally(1, 0));
        assert_eq!(timeline.within(), tally(4, 1));
        let days: Vec<_> = timeline.days().collect();
        let day = |index: usize| (days[index].date.as_str(), days[index].count.total);
        assert_eq!(
            [day(0), day(1), day(29)],
            [("30 Jan", 1), ("31 Jan", 2), ("28 Feb", 1)]
        );
        assert_eq!((days[1].height, days[1].unrenewed_height), (72, 36));
        assert_eq!(
            (days[29].left.as_str(), days[0].middle.as_str()),
            ("96.666%", "1.666%")
        );
    }
}
