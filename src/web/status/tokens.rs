//! Stored tokens that expire: whether they renew, the nearest ones, and a timeline of 30 days.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::format::{Date, Name, Number};
use super::issues::{MAX_ROWS, Truncated};
use super::targets::{TargetPath, TargetRow};
use crate::model::history::{ConnectionHistory, Second};
use crate::model::listing::{GrantType, Row};

/// Number of days on the timeline.
const DAYS: usize = 30;

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Stored token that expires.
#[derive(Debug)]
pub(super) struct TokenRow<'a> {
    pub(super) token: TokenExpiry,
    pub(super) connection: Name<'a>,
    pub(super) kind: &'static str,
    pub(super) place: TargetPath<'a>,
}

/// Expiry of a stored token, and evidence that it is renewed.
#[derive(Debug, Clone, Copy)]
pub(super) struct TokenExpiry {
    pub(super) at: Date,
    pub(super) renews: Renews,
}

impl TokenExpiry {
    /// Returns the expiry of a connection's token; `None` if none is known.
    pub(super) fn of(
        connection: Row<'_>,
        history: &ConnectionHistory,
        now: Timestamp,
    ) -> Option<Self> {
        let at = connection.expiry?;
        Some(Self {
            at: Date { at, now },
            renews: Renews::of(at, connection, history),
        })
    }

    /// Whether somebody has to replace the token now. The criteria are those of the alerts.
    ///
    /// It expired or expires within a day, and nothing is known to renew it. A token of
    /// [`Renews::Unknown`] is probably one that the next use renews, so it counts only a day after
    /// its expiry.
    pub(super) fn needs_attention(self) -> bool {
        let Date { at, now } = self.at;
        match self.renews {
            Renews::NotSeen => at < now + DAY,
            Renews::Unknown => at < now - DAY,
            _ => false,
        }
    }

    /// Whether somebody has to replace the token by its expiry.
    fn is_unrenewed(self) -> bool {
        self.renews == Renews::NotSeen || self.needs_attention()
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
    /// None of these, but the grant is unknown, and the token was seen less than a day before its
    /// expiry. Tokens of `client_credentials` mostly are that short-lived.
    Unknown,
    /// None of these.
    NotSeen,
}

impl Renews {
    fn of(expiry: Timestamp, connection: Row<'_>, history: &ConnectionHistory) -> Self {
        let seen = history.expiry_seen.map(Second::date);
        let is_short_lived = seen.is_some_and(|seen| expiry < seen + DAY);
        match (connection.renewable, connection.grant_type) {
            _ if history.renewals > 0 => Self::Seen(history.renewals),
            _ if history.renewal.is_some() => Self::SeenBefore,
            (Some(true), _) => Self::Stored,
            (_, Some(GrantType::ClientCredentials)) => Self::ClientCredentials,
            (_, None) if is_short_lived => Self::Unknown,
            _ => Self::NotSeen,
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
            Self::Unknown => f.write_str("not known: short-lived, of an unknown grant"),
            Self::NotSeen => f.write_str("not seen, and no refresh token is stored"),
        }
    }
}

/// Number of tokens that expire in a period.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TokenTally {
    pub(super) total: usize,
    /// Number of those that somebody has to replace: nothing is known to renew them.
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

    fn count(&mut self, token: TokenExpiry) {
        let at = token.at.at;
        let day = |at: Timestamp| at.as_second().div_euclid(86_400);
        let index = usize::try_from(day(at) - day(self.now)).unwrap_or(0);
        let count = match self.days.get_mut(index) {
            _ if at <= self.now => &mut self.expired,
            Some(day) => day,
            None => &mut self.later,
        };
        count.total += 1;
        count.unrenewed += usize::from(token.is_unrenewed());
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

    /// Number of tokens that expired or expire within the days shown, and have to be replaced.
    pub(super) fn to_replace(&self) -> Number {
        Number((self.within().unrenewed + self.expired.unrenewed) as u64)
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
            let date = self.now + SignedDuration::from_hours(24 * ahead);
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
            if let Some(token) = TokenExpiry::of(connection, history, now) {
                timeline.count(token);
                all.push(TokenRow {
                    token,
                    connection: Name(connection.id),
                    kind: connection.kind,
                    place: row.place,
                });
            }
        }
    }
    let total = all.len();
    if total > MAX_ROWS {
        all.select_nth_unstable_by_key(MAX_ROWS, |row| row.token.at.at.duration_since(now).abs());
        all.truncate(MAX_ROWS);
    }
    all.sort_by_key(|row| row.token.at.at);
    (Truncated { rows: all, total }, timeline)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::history::ListingHistory;
    use crate::model::listing::ListingBuilder;

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
            let at = at.parse().unwrap();
            timeline.count(TokenExpiry {
                at: Date { at, now },
                renews,
            });
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

    #[test]
    fn a_short_lived_token_of_an_unknown_grant_counts_a_day_after_its_expiry() {
        let seen: Timestamp = "2026-01-30T00:00:00Z".parse().unwrap();
        let hours = |hours| seen + SignedDuration::from_hours(hours);
        let token = |lifetime, grant_type, renewable, now| {
            let connection = Row {
                id: "a",
                kind: "oauth",
                expiry: Some(hours(lifetime)),
                grant_type,
                renewable,
                ..Row::default()
            };
            let mut listing = ListingBuilder::new("test", 1, 1);
            listing.add_page(vec![connection], true).unwrap();
            let history = ListingHistory::first(&listing.finish(), seen, None);
            let token = TokenExpiry::of(connection, &history.connections[0], hours(now)).unwrap();
            (token.renews, token.needs_attention())
        };
        let code = Some(GrantType::AuthorizationCode);
        let client = Some(GrantType::ClientCredentials);
        for (lifetime, grant, renewable, now, expected) in [
            (2, None, Some(false), 1, (Renews::Unknown, false)),
            (2, None, Some(false), 26, (Renews::Unknown, false)),
            (2, None, None, 27, (Renews::Unknown, true)),
            (2, code, Some(false), 1, (Renews::NotSeen, true)),
            (
                2,
                client,
                Some(false),
                99,
                (Renews::ClientCredentials, false),
            ),
            (2, None, Some(true), 99, (Renews::Stored, false)),
            (24, None, Some(false), 0, (Renews::NotSeen, false)),
            (24, None, Some(false), 1, (Renews::NotSeen, true)),
            (-1, None, Some(false), 1, (Renews::Unknown, false)),
        ] {
            assert_eq!(
                token(lifetime, grant, renewable, now),
                expected,
                "{lifetime} {now}"
            );
        }
    }
}
